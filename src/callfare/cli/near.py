"""What to say after a name that has no price: which model was probably meant, or that its seller must be named."""

from __future__ import annotations

import difflib

from callfare.cli import show
from callfare.cli.session import Session
from callfare.errors import UnpricedModel

_LIKENESS = 0.75
_NAME_LENGTH_MAX = 128


def with_near(session: Session, error: UnpricedModel, provider: str | None) -> UnpricedModel:
    """Return the error with a better next step, where there is one.

    provider: whose price was asked for; None where none was named.
    """
    from callfare.engine.price_review import listed

    with session.engine() as engine:
        book = engine.settings.book
        sellers = next(filter(None, (layer.sellers(error.model, None) for layer in book.layers)), ())
        if len(sellers) > 1 and provider is None:
            return UnpricedModel(error.model, reason=error.reason, step="name one with --provider")
        if len(error.model) > _NAME_LENGTH_MAX:
            return error
        found = listed(book)
    selling = sorted({row.provider for row in found if row.model.casefold() == error.model.casefold()})
    if provider is not None and selling and provider.casefold() not in map(str.casefold, selling):
        return UnpricedModel(error.model, reason=error.reason, step=f"it is sold by {show.listed(selling)}")
    if sellers:
        return error
    names = {row.model.casefold(): row.model for row in found}
    near = difflib.get_close_matches(error.model.casefold(), names, n=1, cutoff=_LIKENESS)
    return UnpricedModel(error.model, reason=error.reason, step=f"did you mean {names[near[0]]}?") if near else error
