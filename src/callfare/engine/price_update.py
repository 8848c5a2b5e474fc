"""A newer catalogue: made from the genai-prices that is installed, and written down once a person accepts it.

Importing this module imports genai-prices; nothing else of the product does.
"""

from __future__ import annotations

import os
from pathlib import Path

from callfare.clock import moment_of
from callfare.engine.engine import Engine
from callfare.errors import InvalidInput
from callfare.pricing.catalog import compiled
from callfare.pricing.edition import Catalogue, Unsaved
from callfare.pricing.shipped import NO_CATALOGUE, accepted_beside
from callfare.store.files import new_file
from callfare.store.sqlite import SqliteStore


def candidate(engine: Engine) -> Catalogue:
    """Return the catalogue that the installed genai-prices makes today."""
    return Catalogue(Unsaved(compiled(checked=moment_of(engine.clock.now_us()).date()).text))


def place_of_catalogue(engine: Engine, file: Path | None) -> Path:
    """Return where the accepted catalogue of a ledger stands, or will.

    Raises InvalidInput for a ledger without a file of its own where nothing names one.
    """
    named = file or os.environ.get("CALLFARE_CATALOGUE") or ""
    if str(named) == NO_CATALOGUE:
        raise InvalidInput("CALLFARE_CATALOGUE says that there is no catalogue; name a file with --file", param="file")
    if named:
        return Path(named)
    if isinstance(engine.store, SqliteStore):
        return accepted_beside(engine.store.file.path)
    raise InvalidInput("this ledger is in no file; name one with --file, and in CALLFARE_CATALOGUE", param="file")


def accept(catalogue: Catalogue, place: Path) -> None:
    """Write a catalogue down; who opens the ledger from now on prices by it.

    Raises Misconfigured when the file cannot be written.
    """
    with new_file(place, replaces=True) as file:
        file.write(catalogue.text)
