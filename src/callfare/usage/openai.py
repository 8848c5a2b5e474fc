"""Reading the replies of OpenAI's API, which many providers speak: tokens, seconds, characters, images, calls of tools.

What a reply counts is reported as it stands; `extract.py` checks it. Refuses to keep any text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Context, Decimal
from numbers import Real
from types import MappingProxyType
from typing import Any

from callfare.usage.fields import Counted, Reader, field_of, list_of, members_of, sum_of
from callfare.usage.quantities import Quantity
from callfare.usage.xai import ticks_in

_NOTHING: Mapping[str, Any] = MappingProxyType({})
# Dollars of two counts, whatever the context of the thread that adds them.
_EXACT = Context(prec=80)
_INTO = {
    "cached_input_tokens": "cached_tokens",
    "cache_write_input_tokens": "cache_write_tokens",
    "input_audio_tokens": "audio_tokens",
    "input_image_tokens": "image_tokens",
    "input_video_tokens": "video_tokens",
}
_OF_CACHED = {"cached_input_audio_tokens": "audio_tokens", "cached_input_image_tokens": "image_tokens"}
_LIFETIMES = {"cache_write_30m_input_tokens": "ttl_30m_tokens", "cache_write_12h_input_tokens": "ttl_12h_tokens"}
_OUT_OF = {
    "reasoning_tokens": "reasoning_tokens",
    "output_audio_tokens": "audio_tokens",
    "output_image_tokens": "image_tokens",
}
# What a search does besides searching is not billed: it opens pages and looks for words in them.
_SEARCHES = (None, "search")
# Calls of tools that the provider runs itself and bills by the call, as they stand among a response's output.
_TOOLS = {
    "web_search_call": "web_searches",
    "file_search_call": "file_searches",
    "code_interpreter_call": "code_executions",
}


def _read_text(reply: object, _fixed: Mapping[str, Quantity]) -> Counted:
    """Chat completions and Responses: tokens. What was cached or thought is a part of the totals."""
    counted = tokens_in(field_of(reply, "usage"))
    items = list_of(field_of(reply, "output"))
    for item in items:
        meter = _TOOLS.get(field_of(item, "type"))
        if meter is not None and (meter != "web_searches" or field_of(field_of(item, "action"), "type") in _SEARCHES):
            counted[meter] = sum_of([counted.get(meter, 0), 1])
    tools = field_of(reply, "tool_usage")
    searches = field_of(field_of(tools, "web_search"), "num_requests")
    if searches is not None:
        # Some searches are free, and only this knows them.
        counted["web_searches"] = searches
    # Pictures that a model has drawn on its way are another model's work, told apart from its own tokens.
    has_pictures = any(field_of(item, "type") == "image_generation_call" for item in items)
    is_partial = has_pictures or bool(field_of(field_of(tools, "image_gen"), "total_tokens"))
    return Counted(counted, ("input_tokens", "output_tokens"), is_partial=is_partial)


def _read_input(reply: object, _fixed: Mapping[str, Quantity]) -> Counted:
    """Embeddings and reranking: input tokens alone."""
    return Counted(tokens_in(field_of(reply, "usage")), ("input_tokens",))


def _read_speech(reply: object, fixed: Mapping[str, Quantity]) -> Counted:
    """Speech: the characters of the request, and the tokens that the last event of a stream reports beside them."""
    tokens = tokens_in(field_of(reply, "usage"))
    if "output_tokens" in tokens:
        tokens.setdefault("output_audio_tokens", tokens["output_tokens"])
    return Counted(tokens | dict(fixed), ("characters",))


def _read_transcription(reply: object, fixed: Mapping[str, Quantity]) -> Counted:
    """Transcripts: seconds or tokens. Text forms carry neither; then the duration measured in the upload stands."""
    used = field_of(reply, "usage")
    counted = tokens_in(used)
    for seconds in (field_of(used, "seconds"), field_of(reply, "duration")):
        if seconds is not None:
            counted.setdefault("audio_seconds", seconds)
    if not counted:
        counted = dict(fixed)
    return Counted(counted, ("input_tokens", "output_tokens") if "input_tokens" in counted else ("audio_seconds",))


def _read_images(reply: object, fixed: Mapping[str, Quantity]) -> Counted:
    """Images: how many were made, and the tokens beside them. Output that is not told apart is image tokens."""
    used = field_of(reply, "usage")
    counted = tokens_in(used)
    if "output_tokens" in counted and field_of(used, "output_tokens_details") is None:
        counted["output_image_tokens"] = counted["output_tokens"]
    made = field_of(reply, "data")
    if isinstance(made, Sequence) and not isinstance(made, str):
        counted["images"] = len(made)
    # Drawings in SVG are written by another model, whose tokens are told apart.
    return Counted(
        dict(fixed) | counted, ("images",), is_partial=bool(field_of(field_of(reply, "svg_usage"), "total_tokens"))
    )


def _read_video(reply: object, fixed: Mapping[str, Quantity]) -> Counted:
    """Video jobs: their seconds, which the API writes as text."""
    seconds = field_of(reply, "seconds")
    return Counted(dict(fixed) if seconds is None else {"video_seconds": seconds}, ("video_seconds",))


def read_nothing(_reply: object, fixed: Mapping[str, Quantity]) -> Counted:
    """Return what the request fixed: nobody knows how to read such a reply."""
    return Counted(dict(fixed), ("calls",))


READERS: Mapping[str, Reader] = {
    "chat": _read_text,
    "responses": _read_text,
    "embedding": _read_input,
    "rerank": _read_input,
    "speech": _read_speech,
    "transcription": _read_transcription,
    "image": _read_images,
    "video": _read_video,
}
"""How each kind of call is read."""


def tokens_in(used: object) -> dict[str, object]:
    """Return the token counts of a usage object under our meters, under whichever names it has them."""
    told = members_of(used)
    if not told:
        return {}
    into = _part(told, "prompt_tokens_details", "input_tokens_details", "input_token_details")
    out_of = _part(told, "completion_tokens_details", "output_tokens_details", "output_token_details")
    read, written = told.get("prompt_tokens"), told.get("completion_tokens")
    counted = {
        "input_tokens": told.get("input_tokens") if read is None else read,
        "output_tokens": told.get("output_tokens") if written is None else written,
    }
    for name, field in _INTO.items():
        if field in into:
            counted[name] = into[field]
    of_cached = members_of(into.get("cached_tokens_details"))
    for name, field in _OF_CACHED.items():
        if field in of_cached:
            counted[name] = of_cached[field]
    lifetimes = members_of(into.get("cache_write_tokens_details"))
    for name, field in _LIFETIMES.items():
        if field in lifetimes:
            counted[name] = lifetimes[field]
    for name, field in _OUT_OF.items():
        if field in out_of:
            counted[name] = out_of[field]
    counted["billed_usd"] = _billed_in(told)
    return {name: count for name, count in counted.items() if count is not None}


def _billed_in(told: Mapping[str, Any]) -> object:
    """Return the dollars that a provider says it charged; None where it does not say all of it."""
    cost = told.get("cost")
    if cost is None and "cost_in_usd_ticks" in told:
        return ticks_in(told)
    if cost is not None and not isinstance(cost, Real | str):
        # Perplexity tells its parts beside it, and a total of zero as long as a reply is not complete.
        cost = field_of(cost, "total_cost") or None
    if cost is None or isinstance(cost, bool) or not isinstance(cost, Real | str):
        return None
    # With a key of one's own OpenRouter charges for itself alone, and the model's maker charges besides.
    return _with_makers(cost, told.get("cost_details")) if told.get("is_byok") is True else cost


def _with_makers(cost: object, details: object) -> Decimal | None:
    try:
        return _EXACT.add(Decimal(str(cost)), Decimal(str(field_of(details, "upstream_inference_cost"))))
    except ArithmeticError:
        return None


def _part(told: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    for name in names:
        part = told.get(name)
        if part is not None:
            return members_of(part)
    return _NOTHING
