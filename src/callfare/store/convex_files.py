"""Where the Convex functions of this callfare lie, and how they come into somebody's project."""

from __future__ import annotations

from pathlib import Path

from callfare.errors import Misconfigured

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
