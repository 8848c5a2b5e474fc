"""Fields of replies: read by key or by attribute, so that SDK objects of any major and plain dictionaries are the same.

Refuses to ask an SDK's object for what it does not have: that raises within, and costs more than all the rest of a
reading.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Literal

from msgspec import Struct

from callfare.checks import RESPONSE_ID_LENGTH_MAX
from callfare.usage.quantities import Quantity

_NOTHING: Mapping[str, object] = MappingProxyType({})
# Where pydantic's objects keep the fields that their class does not name.
_EXTRA = "__pydantic_extra__"
# Some gateways write counts as text.
_DIGITS = re.compile(r"[0-9]{1,13}", re.ASCII)


class Counted(Struct, frozen=True):
    """What a reply reported, unchecked.

    needed: the meters without which it is incomplete.
    attributes: what it says selects among rates, where that stands elsewhere than in the reply itself.
    model, response_id: where they have other names than model and id.
    is_partial: not all that was used could be told.
    """

    usage: dict[str, object]
    needed: tuple[str, ...]
    attributes: Mapping[str, object] = {}
    model: object = None
    response_id: object = None
    is_partial: bool = False


Reader = Callable[[object, Mapping[str, Quantity]], Counted]
"""Reads one kind of reply, beside what its request fixed."""


@lru_cache(maxsize=1024)
def _nature_of(kind: type) -> Literal["nothing", "mapping", "model", "object"]:
    """Return how the fields of a type's instances are reached."""
    if kind is type(None) or issubclass(kind, str):
        return "nothing"
    if issubclass(kind, Mapping):
        return "mapping"
    return "model" if hasattr(kind, _EXTRA) else "object"


def field_of(source: Any, name: str) -> Any:  # noqa: ANN401 - whatever a provider sent
    """Return a field of a mapping or an attribute of an object, or None when it is not there."""
    kind = type(source)
    if kind is dict:
        return source.get(name)
    nature = _nature_of(kind)  # type: ignore[arg-type]  # a type is hashable
    if nature == "nothing":
        return None
    own = getattr(source, "__dict__", _NOTHING)
    if name in own:
        return own[name]
    if nature == "mapping":
        return source.get(name)
    if nature == "model":
        unknown = getattr(source, _EXTRA, None)
        return unknown.get(name) if unknown else None
    return getattr(source, name, None)


def members_of(source: Any) -> Mapping[Any, Any]:  # noqa: ANN401 - whatever a provider sent
    """Return what a mapping or an object holds, with the fields that the SDK's class does not know."""
    kind = type(source)
    if kind is dict:
        return source  # type: ignore[no-any-return]
    nature = _nature_of(kind)  # type: ignore[arg-type]  # a type is hashable
    if nature == "mapping":
        return source  # type: ignore[no-any-return]
    own: Mapping[Any, Any] = getattr(source, "__dict__", _NOTHING)
    unknown = getattr(source, _EXTRA, None) if nature == "model" else None
    return {**own, **unknown} if unknown else own


def first_of(source: object, *names: str) -> Any:  # noqa: ANN401 - whatever a provider sent
    """Return the first of these fields that is there."""
    for name in names:
        value = field_of(source, name)
        if value is not None:
            return value
    return None


def list_of(value: object) -> list[Any]:
    """Return a list, or an empty one for anything else."""
    return value if isinstance(value, list) else []


def sum_of(counts: list[object]) -> object:
    """Return the sum of whole numbers, or what is none, such as a negative: it will be refused under its own name."""
    total = 0
    for count in counts:
        number = whole_of(count)
        if number is None:
            return count
        total += number
    return total


def whole_of(count: object) -> int | None:
    """Return a count of things, or None for what is none, such as a negative."""
    if type(count) is int:
        return count if count >= 0 else None
    return int(count) if isinstance(count, str) and _DIGITS.fullmatch(count) else None


def label_of(value: object) -> str:
    """Return an id or a name, or "" for anything that does not look like one."""
    is_label = isinstance(value, str) and len(value) <= RESPONSE_ID_LENGTH_MAX and value.isprintable()
    return value if is_label and isinstance(value, str) else ""
