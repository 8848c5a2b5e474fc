"""Routes of the API and what their handlers are given; lists, cut into pages by cursors, and what is expanded in place.

Source: Stripe's pages "Pagination" and "Expanding responses".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from callfare.devtools.fake_stripe.refusals import Json, invalid
from callfare.devtools.fake_stripe.schema import Schema
from callfare.devtools.fake_stripe.world import World

_PAGE_MAX: Final = 100
_DEEPEST: Final = 4


@dataclass(frozen=True, slots=True)
class Call:
    """One request to the API: its typed parameters, and the ids in its path by name."""

    path: str
    params: Json = field(default_factory=dict)
    ids: Mapping[str, str] = field(default_factory=dict)

    def id(self, name: str = "id") -> str:
        """Return an id from the path."""
        return self.ids[name]


Handler = Callable[[World, Call], Json]


@dataclass(frozen=True)
class Route:
    """What answers a method and a path; `params` names the SDK's class of the request, "" where it has none."""

    method: str
    path: str
    params: str
    handler: Handler

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """What a path must match."""
        return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", self.path))


def page(call: Call, found: Iterable[Json]) -> Json:
    """Return one page of objects that come newest first.

    Raises Refusal when a cursor names nothing in the list or the limit is out of bounds.
    """
    params = call.params
    limit = params.get("limit", 10)
    if not 1 <= limit <= _PAGE_MAX:
        raise invalid(f"Invalid integer: limit must be between 1 and {_PAGE_MAX}", param="limit")
    items = [each for each in found if _is_within(each.get("created"), params.get("created"))]
    if "starting_after" in params and "ending_before" in params:
        raise invalid("You may only specify one of these parameters: ending_before, starting_after.")
    if "starting_after" in params:
        items = items[_place(items, params["starting_after"], "starting_after") + 1 :]
    if "ending_before" in params:
        items = items[: _place(items, params["ending_before"], "ending_before")]
        return _list(call.path, items[-limit:], has_more=len(items) > limit)
    return _list(call.path, items[:limit], has_more=len(items) > limit)


def whole(url: str, items: list[Json]) -> Json:
    """Return a list that is not cut, as objects carry them."""
    return _list(url, items, has_more=False)


def _list(url: str, items: list[Json], *, has_more: bool) -> Json:
    return {"object": "list", "data": items, "has_more": has_more, "url": url}


def _place(items: list[Json], id: str, param: str) -> int:
    for number, each in enumerate(items):
        if each["id"] == id:
            return number
    raise invalid(f"No such object: '{id}'", param=param, code="resource_missing")


def _is_within(moment: int | None, bounds: object) -> bool:
    if moment is None or bounds is None:
        return True
    if isinstance(bounds, int):
        return moment == bounds
    assert isinstance(bounds, dict)
    is_after = moment > int(bounds.get("gt", -1)) and moment >= int(bounds.get("gte", 0))
    return is_after and moment < int(bounds.get("lt", moment + 1)) and moment <= int(bounds.get("lte", moment))


# What an object shows only when asked: (kind, field) → what makes it.
Inclusion = Callable[[World, Json], Json | list[Json]]


def expanded(world: World, found: Json, paths: list[str], inclusions: Mapping[tuple[str, str], Inclusion]) -> Json:
    """Return a copy of an answer with what was asked for put in place of its ids.

    Raises Refusal for a path that cannot be expanded.
    """
    copied = deepcopy(found)
    for path in paths:
        steps = path.split(".")
        if len(steps) - (steps[0] == "data") > _DEEPEST:
            raise invalid("You cannot expand more than 4 levels of a property.", param="expand[0]")
        _expand(world, copied, steps, path, inclusions)
    return copied


def _expand(
    world: World, found: Json, steps: list[str], path: str, inclusions: Mapping[tuple[str, str], Inclusion]
) -> None:
    name, rest = steps[0], steps[1:]
    if found.get("object") == "list" and name == "data":
        for each in found["data"]:
            _expand(world, each, rest, path, inclusions)
        return
    if (found.get("object"), name) in inclusions and not isinstance(found.get(name), dict | list):
        found[name] = deepcopy(inclusions[str(found["object"]), name](world, found))
    elif not _is_expandable(world, found, name):
        raise invalid(f"This property cannot be expanded ({path}).", param="expand", code="property_not_expandable")
    value = found.get(name)
    if isinstance(value, str) and value in world.objects:
        value = found[name] = deepcopy(world.objects[value])
    for inner in value if isinstance(value, list) else [value]:
        if isinstance(inner, dict) and rest:
            _expand(world, inner, rest, path, inclusions)


def _is_expandable(world: World, found: Json, name: str) -> bool:
    """Tell whether the SDK types a field as an id or the object in its place, or as something that holds such."""
    if "object" not in found or found["object"] == "list":
        return True
    schema = world.types.resolve(world.types.of_object(found["object"])).get("properties", {}).get(name)
    if schema is None:
        return False
    choices: list[Schema] = [world.types.resolve(each) for each in schema.get("anyOf", [schema])]
    return any(each.get("type") in {"object", "array"} for each in choices)
