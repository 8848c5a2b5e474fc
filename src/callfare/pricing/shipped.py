"""The prices that stand below one's own books: the seed's table, what the catalogue lacks, and the catalogue."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from callfare.pricing.book import PriceBook
from callfare.pricing.edition import NAME, Catalogue, shipped_catalogue
from callfare.pricing.layer import Layer
from callfare.pricing.load import media_layer, seed_book

NO_CATALOGUE = "none"
"""In place of a catalogue's file: none, and no rates beside it either."""


def shipped_layers(*, has_seed: bool, catalogue: str | Path | None) -> list[Layer]:
    """Return the layers below one's own, the seed's first.

    catalogue: a file that was accepted; None for the one that came with callfare, "none" for no catalogue.

    Raises PriceBookInvalid.
    """
    layers = [*seed_book().layers] if has_seed else []
    if catalogue is None:
        return [*layers, media_layer(), shipped_catalogue()]
    if str(catalogue) == NO_CATALOGUE:
        return layers
    return [*layers, media_layer(), Catalogue(Path(catalogue))]


def is_catalogue(layer: Layer) -> bool:
    """Tell whether a layer is the catalogue, or stands beside it: thousands of models that nobody wrote down here."""
    return layer.name in {"media", NAME}


@cache
def shipped_book() -> PriceBook:
    """Return all that came with callfare, as one book."""
    return PriceBook(shipped_layers(has_seed=True, catalogue=None))


def accepted_beside(file: Path) -> Path:
    """Return where the catalogue lies that was accepted for the ledger in a file."""
    return file.with_name(f"{file.name}.catalogue")
