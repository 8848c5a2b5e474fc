"""Where the Convex functions of this callfare lie, and how they come into somebody's project."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from callfare.errors import Misconfigured
from callfare.store.files import unusable

# In a wheel they lie inside the package; in a checkout beside `src`.
_PACKED = Path(__file__).parents[1] / "convex_functions"
_CHECKOUT = Path(__file__).parents[3] / "convex"


def functions_folder() -> Path:
    """Return the folder with the schema and the functions.

    Raises Misconfigured when this installation has none.
    """
    for folder in (_PACKED, _CHECKOUT):
        if (folder / "callfare").is_dir():
            return folder
    raise Misconfigured("this installation of callfare has no Convex functions; install it again")


class Copied(NamedTuple):
    """What was written into a folder, and what was there and is kept, by their names in it."""

    written: list[str]
    kept: list[str]


def copy_functions(folder: Path) -> Copied:
    """Write the functions into a project's folder; its schema and settings stay its own where it has some.

    Raises Misconfigured when the folder cannot be written to.
    """
    source = functions_folder()
    written, kept = [], []
    try:
        (folder / "callfare").mkdir(parents=True, exist_ok=True)
        for file in sorted((source / "callfare").glob("*.ts")):
            (folder / "callfare" / file.name).write_bytes(file.read_bytes())
            written.append(f"callfare/{file.name}")
        for name in ("schema.ts", "tsconfig.json"):
            if (folder / name).exists():
                kept.append(name)
            else:
                (folder / name).write_bytes((source / name).read_bytes())
                written.append(name)
    except OSError as error:
        raise unusable(error, folder, "written to") from error
    return Copied(written, kept)


def suite_folder() -> Path:
    """Return the folder `tests` of the suite of all stores. Raises Misconfigured when this installation has none."""
    for folder in (_PACKED.parent / "suite" / "tests", _CHECKOUT.parent / "tests"):
        if (folder / "conformance").is_dir():
            return folder
    raise Misconfigured("this installation of callfare has no suite; install it again")
