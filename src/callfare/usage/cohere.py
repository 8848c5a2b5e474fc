"""Reading what Cohere counts: billed units, of whichever kind a call is billed by.

Beside them a reply tells the tokens that the model saw and wrote, with those that Cohere added and does not bill for.
Tokens of images are billed beside those of text; here the whole is the sum. Refuses to keep any text.
"""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from types import MappingProxyType

from callfare.usage.fields import Counted, field_of, first_of, sum_of
from callfare.usage.quantities import Quantity

_UNITS: Mapping[str, str] = MappingProxyType(
    {
        "output_tokens": "output_tokens",
        "search_units": "search_units",
        "classifications": "classifications",
        "images": "input_images",
        "pages": "pages",
    }
)
_TOKENS = ("input_tokens", "output_tokens")


def read_chat(reply: object, _fixed: Mapping[str, Quantity]) -> Counted:
    """Return what a reply with text in it reports: what is billed; or what the model saw and wrote, as a doubt."""
    used = first_of(reply, "usage", "meta")
    counted, is_doubtful = _billed_in(used)
    if counted:
        return Counted(counted, _TOKENS, is_partial=is_doubtful)
    tokens = field_of(used, "tokens")
    seen = {name: _whole(field_of(tokens, name)) for name in _TOKENS}
    return Counted({name: count for name, count in seen.items() if count is not None}, _TOKENS, is_partial=True)


def read_other(reply: object, fixed: Mapping[str, Quantity]) -> Counted:
    """Return what any other reply reports. It is billed by one kind of unit, which the model decides."""
    counted, is_doubtful = _billed_in(first_of(reply, "usage", "meta"))
    return Counted(counted, tuple(counted) or tuple(fixed) or ("calls",), is_partial=is_doubtful)


def _billed_in(used: object) -> tuple[dict[str, object], bool]:
    """Return the units that are billed, and whether they contradict each other."""
    billed = field_of(used, "billed_units")
    told = {meter: _whole(field_of(billed, name)) for name, meter in _UNITS.items()}
    counted = {meter: count for meter, count in told.items() if count is not None}
    whole, text, images = (_whole(field_of(billed, name)) for name in ("input_tokens", "text_tokens", "image_tokens"))
    if images is not None:
        counted["input_image_tokens"] = images
    parts = [count for count in (whole if text is None else text, images) if count is not None]
    if parts:
        counted["input_tokens"] = sum_of(parts)
    is_doubtful = text is not None and whole not in (None, text, counted["input_tokens"])
    return counted, is_doubtful


def _whole(count: object) -> object:
    """Return a count as a whole number where it is one: Cohere's types allow for fractions, and it sends none."""
    if isinstance(count, int) or not isinstance(count, Real):
        return count
    # What is endless, or no number, has no difference of nothing to itself.
    floor = count.__floor__() if count - count == 0 else None
    return floor if floor == count else count
