"""What was probably meant by a name that has no price: names like it that have one, or that its seller must be named.

Asked only once a price was refused. Refuses to guess: each name it tells has a price where the other one had none.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from callfare.errors import UnpricedModel
from callfare.pricing.book import PriceBook
from callfare.pricing.layer import ANY_MODEL

_ADD = "add a rate for it to a price book"
_LIKENESS = 0.75
_NEAR_MAX = 3
_LOOKED_AT_MAX = 8
_NAME_LENGTH_MAX = 128
_SELLERS_TOLD_MAX = 5


def unpriced(
    book: PriceBook, model: str, *, provider: str | None, at_us: int, reason: str, host: str = ""
) -> UnpricedModel:
    """Return the refusal of a model that has no price at an instant, with what was probably meant.

    provider: whose price was asked for; None where nobody was named. reason: why it has none.
    host: where nobody is known to answer, so that the provider is no more than the maker of the SDK; empty elsewhere.
    """
    if len(model) > _NAME_LENGTH_MAX:
        return UnpricedModel(model, reason=reason)
    sellers = next(filter(None, (layer.sellers(model, provider) for layer in book.layers)), ())
    if len(sellers) > 1:
        return UnpricedModel(model, reason=reason, step="name one as provider", param="provider")
    if sellers and sellers[0].model != ANY_MODEL:
        # It is named, and what it lacks is a rate.
        return UnpricedModel(model, reason=reason)
    selling = sorted({seller for seller, name in _names(book, None) if name.casefold() == model.casefold()})
    if selling and not sellers and not host:
        step = f"{_ADD}; it is sold by {_listed(selling)}"
        return UnpricedModel(model, reason=reason, step=step, param="provider")
    found = _near(book, model, provider, at_us)
    step = f"{_ADD}, or say whose server {host} is with fare.wrap(…, provider=…)" if host and not found else ""
    return UnpricedModel(model, reason=reason, near=found, step=step)


def _near(book: PriceBook, model: str, provider: str | None, at_us: int) -> list[str]:
    """Return the names most like one that have a price, the likest first."""
    sold: dict[str, tuple[str, str]] = {}
    for seller, name in _names(book, provider):
        sold.setdefault(name.casefold(), (provider or seller, name))
    like = difflib.get_close_matches(model.casefold(), sold, n=_LOOKED_AT_MAX, cutoff=_LIKENESS)
    found = [sold[name] for name in like]
    return [name for seller, name in found if _has_price(book, name, seller, at_us)][:_NEAR_MAX]


def _has_price(book: PriceBook, name: str, seller: str, at_us: int) -> bool:
    entry = book.entry(name, provider=seller, at_us=at_us)
    return entry is not None and entry.model != ANY_MODEL


def _names(book: PriceBook, provider: str | None) -> Iterator[tuple[str, str]]:
    """Yield who sells what under which name: all of it, or what one provider sells."""
    for layer in book.layers:
        sold_as = None if provider is None else layer.sold_as(provider)
        for seller, name in layer.names:
            if name != ANY_MODEL and (sold_as is None or seller.casefold() in sold_as):
                yield seller, name


def _listed(sellers: list[str]) -> str:
    if len(sellers) > _SELLERS_TOLD_MAX:
        return f"{', '.join(sellers[:_SELLERS_TOLD_MAX])} and others"
    return " and ".join(filter(None, [", ".join(sellers[:-1]), sellers[-1]]))
