"""Readings: what a provider's reply says was used, whatever object it comes as.

A reply is read by mapping or by attribute, so that SDK objects of any major and plain dictionaries are the same.
Refuses to raise: the call is over and must be recorded, so what cannot be read makes the reading `incomplete`. Refuses
to keep prompts and outputs: `raw` has the provider's counts and ids and nothing else.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from fractions import Fraction
from functools import lru_cache
from numbers import Real
from types import MappingProxyType
from typing import Any

from msgspec import Struct

from callfare.errors import InvalidInput
from callfare.usage.fields import Reader, field_of, label_of, members_of
from callfare.usage.meters import LINEAGE, METERS
from callfare.usage.openai import READERS, read_nothing
from callfare.usage.quantities import (
    QUANTITY_MAX,
    Quantity,
    check_attributes,
    check_usage,
    leaves,
    quantity_text,
)

_NOTHING: Mapping[str, object] = MappingProxyType({})
_RAW_DEPTH_MAX = 5
_RAW_FIELDS_MAX = 100
_RAW_NUMBER_MAX = 10**15
# Identifiers and labels, never sentences: no spaces, and short.
_LABEL = re.compile(r"[\w.:/+=@-]{1,128}", re.ASCII)
# Meters of one kind of content, which cached tokens may be counted under as well.
_KINDS = frozenset(f"{state}input_{kind}_tokens" for kind in ("audio", "image", "video") for state in ("", "cached_"))
_IDENTITY = (
    "id",
    "model",
    "service_tier",
    "status",
    "seconds",
    "size",
    "quality",
    "duration",
    "remixed_from_video_id",
    "usage",
    "usage_metadata",
    "usageMetadata",
    "usage_info",
    "model_version",
    "modelVersion",
    "response_id",
    "responseId",
    "done",
    "tool_usage",
    "svg_usage",
)
_TOLD_ATTRIBUTES = ("service_tier", "size", "quality", "background", "output_format")


class Reading(Struct, frozen=True, kw_only=True):
    """What one reply says was used.

    usage: meter → quantity as the provider totals it, parts included in their wholes and never above them. Empty when
    nothing is known.
    attributes: what selects among rates: size, quality, service_tier, as served rather than as asked.
    response_id: the provider's id of the reply, or of the job; empty when it gave none.
    raw: the provider's own usage object with its ids, as plain JSON; never text of a prompt or an output.
    incomplete: the reply did not tell all that its kind of call is billed by.
    """

    model: str
    usage: Mapping[str, Quantity]
    attributes: Mapping[str, str]
    response_id: str
    raw: Mapping[str, object]
    incomplete: bool


def read(
    operation: str,
    reply: object,
    *,
    model: str,
    usage: Mapping[str, Quantity] = MappingProxyType({}),
    attributes: Mapping[str, str] = MappingProxyType({}),
    reader: Reader | None = None,
) -> Reading:
    """Return what a reply says was used. Never raises.

    operation: chat, responses, embedding, speech, transcription, image or video.
    reader: how the provider counts; None for the shapes of OpenAI's API, which tell by their operation.
    reply: the reply, or the last event of its stream; an object, a mapping, or text for a transcript without usage.
    model, usage, attributes: what the request fixed; they stand where the reply says nothing else.
    """
    try:
        reply = _unwrapped(reply)
        counted = (reader or READERS.get(operation, read_nothing))(reply, usage)
        sound, is_damaged = _sound(counted.usage)
        if is_damaged:
            # The most that may be written says nothing of how much was.
            fixed = [name for name in counted.needed if name in usage and name != "output_tokens"]
            sound = with_estimates(sound, {name: usage[name] for name in fixed})
        members = members_of(reply)
        return Reading(
            model=label_of(counted.model or members.get("model")) or model,
            usage=sound,
            attributes=_attributes_of(members, attributes, counted.attributes),
            response_id=label_of(counted.response_id or members.get("id")),
            raw=_raw_of(members),
            incomplete=is_damaged or counted.is_partial or not counted.usage.keys() >= set(counted.needed),
        )
    except Exception:  # noqa: BLE001 - whatever a reply does when it is read, its call must be recorded
        return Reading(
            model=model, usage={}, attributes=dict(attributes), response_id="", raw=dict(_NOTHING), incomplete=True
        )


def with_estimates(reported: Mapping[str, Quantity], estimated: Mapping[str, Quantity]) -> dict[str, Quantity]:
    """Return what was reported, and the estimates of the rest: none of them is below its reported parts together.

    reported: the usage of a reading.
    """
    missing = [name for name in estimated if name not in reported]
    parts = leaves(reported) if missing else {}
    least = {name: sum(parts[part] for part in parts if name in LINEAGE[part]) for name in missing}
    return {name: max(estimated[name], least[name]) for name in missing} | dict(reported)


def _sound(counted: Mapping[str, object]) -> tuple[dict[str, Quantity], bool]:
    """Return the counts that can be true, and whether any could not.

    Parts that exceed their whole are left out and the whole is kept: it is what the provider bills by. So are parts
    that no whole could hold, where it is not told.
    """
    if not counted:
        return {}, False
    try:
        usage, is_damaged = check_usage(counted), False
    except InvalidInput:
        usage, is_damaged = _each_sound(counted), True
    usage = _placed(usage) if usage.get("cached_input_tokens") and not usage.keys().isdisjoint(_KINDS) else usage
    try:
        is_believable = sum(leaves(usage).values()) <= QUANTITY_MAX
    except InvalidInput:
        is_believable = False
    if is_believable:
        return usage, is_damaged
    believed = _believed(usage)
    return believed, is_damaged or len(believed) < len(usage)


def _believed(usage: Mapping[str, Quantity]) -> dict[str, Quantity]:
    """Return the counts without those that cannot be true, judging what goes in apart from what comes out."""
    believed: dict[str, Quantity] = {}
    for root in dict.fromkeys(LINEAGE[name][-1] for name in usage):
        tree = {name: quantity for name, quantity in usage.items() if LINEAGE[name][-1] == root}
        try:
            disjoint = leaves(tree)
        except InvalidInput:
            disjoint = tree = {name: tree[name] for name in tree if tree.keys().isdisjoint(LINEAGE[name][1:])}
        if sum(disjoint.values()) <= QUANTITY_MAX:
            believed |= tree
    return believed


def _each_sound(counted: Mapping[str, object]) -> dict[str, Quantity]:
    usage: dict[str, Quantity] = {}
    for name, count in counted.items():
        try:
            usage |= check_usage({name: count})
        except InvalidInput:
            continue
    return usage


def _placed(usage: Mapping[str, Quantity]) -> dict[str, Quantity]:
    """Return the counts with no cached token in two places: cached audio and images stand under their own kind.

    A provider that does not tell them apart may report more cached, audio and image tokens than there is input; the
    excess is then what must have been both, and is taken as cached audio before cached images.
    """
    placed = dict(usage)
    kinds = [kind for kind in ("audio", "image", "video") if f"input_{kind}_tokens" in usage]
    told = sum(usage.get(f"cached_input_{kind}_tokens", 0) for kind in kinds)
    if told:
        placed["cached_input_tokens"] = max(usage["cached_input_tokens"] - told, 0)
        return placed
    parts = sum(usage[name] for name in usage if METERS[name].parent == "input_tokens")
    excess = parts - usage.get("input_tokens", parts)
    for kind in kinds:
        both = min(excess, usage[f"input_{kind}_tokens"], placed["cached_input_tokens"])
        if both > 0:
            placed[f"cached_input_{kind}_tokens"] = both
            placed["cached_input_tokens"] -= both
            excess -= both
    return placed


# Attributes, identity and the raw counts


def _attributes_of(
    members: Mapping[str, object], asked: Mapping[str, str], beside: Mapping[str, object]
) -> dict[str, str]:
    """Return the attributes as served where the reply tells them, as asked for otherwise.

    beside: those that it tells elsewhere than in its own members.
    """
    told = {name: members[name] for name in _TOLD_ATTRIBUTES if members.get(name) is not None}
    if beside:
        told |= beside
    return {**asked, **_sound_attributes(told)} if told else dict(asked)


def _sound_attributes(told: Mapping[str, object]) -> dict[str, str]:
    attributes: dict[str, str] = {}
    for name, value in told.items():
        if isinstance(value, str) and value not in ("", "auto"):
            try:
                attributes |= check_attributes({name: value})
            except InvalidInput:
                continue
    return attributes


def _raw_of(members: Mapping[str, object]) -> dict[str, object]:
    """Return what a reply's members say of itself and of its usage, reduced to counts and labels."""
    raw: dict[str, object] = {}
    for name in _IDENTITY:
        value = members.get(name)
        if value is not None and (plain := _plain(value, 0)) is not None:
            raw[name] = plain
    output = members.get("output")
    calls = Counter(_tool_calls_in(output)) if output else None
    return raw | {"tool_calls": dict(calls)} if calls else raw


def _tool_calls_in(output: object) -> Iterable[str]:
    """Yield the kind of each call to a tool that the provider ran itself, and may bill for."""
    for item in output if isinstance(output, list) else ():
        kind = label_of(field_of(item, "type"))
        if kind.endswith("_call") and kind not in ("function_call", "custom_tool_call"):
            yield kind


def _plain(value: object, depth: int) -> object:
    """Return a value as plain JSON without prose: numbers, labels, and what holds them. None for anything else."""
    if type(value) is int:
        return value if _is_count(value) else None
    if value is None or depth == _RAW_DEPTH_MAX:
        return None
    if isinstance(value, str):
        return value if _LABEL.fullmatch(value) else None
    if isinstance(value, list | tuple):
        return [_plain(part, depth + 1) for part in value[:_RAW_FIELDS_MAX]]
    # Asking for the tower of numbers is slow, and none of them but a few have fields.
    if isinstance(value, int) or (not hasattr(value, "__dict__") and isinstance(value, Real)):
        return _plain_number(value)
    return _plain_members(members_of(value), depth) or None


def _plain_members(members: Mapping[object, object], depth: int) -> dict[str, object]:
    """Return the members that are plain, under names that are labels."""
    plain: dict[str, object] = {}
    told = members.items()
    for name, part in told if len(told) <= _RAW_FIELDS_MAX else list(told)[:_RAW_FIELDS_MAX]:
        if part is None or not isinstance(name, str) or not _is_name(name):
            continue
        # Nearly every member of a usage object is a count or a table of counts.
        inner: object
        if type(part) is int:
            inner = part if _is_count(part) else None
        elif hasattr(part, "__pydantic_extra__"):
            inner = _plain_members(members_of(part), depth + 1) or None if depth + 1 < _RAW_DEPTH_MAX else None
        else:
            inner = _plain(part, depth + 1)
        if inner is not None:
            plain[name] = inner
    return plain


def _is_count(number: int) -> bool:
    return -_RAW_NUMBER_MAX < number < _RAW_NUMBER_MAX


def _plain_number(number: Any) -> object:  # noqa: ANN401 - the tower of numbers has no common type to compare by
    """Return a number of a size that counts have, or None. NaN is neither above nor below anything."""
    if isinstance(number, Fraction):
        return quantity_text(number)
    return number if -_RAW_NUMBER_MAX < number < _RAW_NUMBER_MAX else None


@lru_cache(maxsize=1024)
def _is_name(text: str) -> bool:
    return _LABEL.fullmatch(text) is not None


def _unwrapped(reply: object) -> object:
    """Return the response that an event carries, such as response.completed, or what was given."""
    kind = field_of(reply, "type")
    if isinstance(kind, str) and kind.startswith("response."):
        return field_of(reply, "response") or reply
    return reply
