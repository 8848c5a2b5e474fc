"""Reading Gemini's replies: the usage metadata of a reply, or of the last chunk of a streamed one, as JSON or objects.

Gemini counts thoughts and the prompts of tools beside the candidates and the prompt; here the wholes include them.
Audio, images and video stand under their own kind, cached or not. Refuses to keep any text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from msgspec.structs import replace

from callfare.usage.fields import Counted, field_of, first_of, label_of, list_of, members_of, sum_of
from callfare.usage.quantities import Quantity

_KINDS = ("audio", "image", "video")
_TIERS: Mapping[str, str] = MappingProxyType(
    {
        "ON_DEMAND": "default",
        "ON_DEMAND_PRIORITY": "priority",
        "ON_DEMAND_FLEX": "flex",
        "ON_DEMAND_OFFPEAK": "offpeak",
        "PROVISIONED_THROUGHPUT": "provisioned",
    }
)
_OF_INTERACTIONS: Mapping[str, str] = MappingProxyType(
    {
        "total_input_tokens": "promptTokenCount",
        "total_output_tokens": "candidatesTokenCount",
        "total_thought_tokens": "thoughtsTokenCount",
        "total_tool_use_tokens": "toolUsePromptTokenCount",
        "total_cached_tokens": "cachedContentTokenCount",
        "total_tokens": "totalTokenCount",
    }
)
_BY_MODALITY: Mapping[str, str] = MappingProxyType(
    {
        "input_tokens_by_modality": "promptTokensDetails",
        "output_tokens_by_modality": "candidatesTokensDetails",
        "cached_tokens_by_modality": "cacheTokensDetails",
        "tool_use_tokens_by_modality": "toolUsePromptTokensDetails",
    }
)
# From this generation on each search costs; before it, each request that searched.
_BY_SEARCH_FROM = 3
_GENERATION = re.compile(r"gemini-(\d+)", re.ASCII)


def read_content(reply: object, _fixed: Mapping[str, Quantity]) -> Counted:
    """Return what a reply with candidates reports: tokens by kind, and searches."""
    used = first_of(reply, "usageMetadata", "usage_metadata")
    model = first_of(reply, "modelVersion", "model_version")
    counted = _tokens_in(used)
    if first_of(first_of(reply, "promptFeedback", "prompt_feedback"), "blockReason", "block_reason") is not None:
        # A zero is not told.
        counted.setdefault("output_tokens", 0)
    searches = _searches_in(reply, model)
    if searches:
        counted["web_searches"] = searches
    tier = first_of(used, "trafficType", "traffic_type")
    tier = str(getattr(tier, "value", tier))
    return Counted(
        counted,
        ("input_tokens", "output_tokens"),
        attributes={"service_tier": _TIERS.get(tier)},
        model=model,
        response_id=first_of(reply, "responseId", "response_id"),
    )


def read_embedding(reply: object, _fixed: Mapping[str, Quantity]) -> Counted:
    """Return what a reply with embeddings reports: its input, told at once or for each of them."""
    whole = first_of(first_of(reply, "usageMetadata", "usage_metadata"), "promptTokenCount", "prompt_token_count")
    if whole is not None:
        return Counted({"input_tokens": whole}, ("input_tokens",))
    each = [
        first_of(
            field_of(first_of(made, "embeddings", "embedding"), "statistics") or field_of(made, "statistics"), *names
        )
        for made in list_of(first_of(reply, "predictions", "embeddings"))
        for names in [("token_count", "tokenCount")]
    ]
    told = sum_of(each) if each and None not in each else None
    return Counted({} if told is None else {"input_tokens": told}, ("input_tokens",))


def read_pictures(reply: object, _fixed: Mapping[str, Quantity]) -> Counted:
    """Return how many pictures were made. One that was held back is told as a reason, and is no picture."""
    made = [one for one in list_of(field_of(reply, "predictions")) if not field_of(one, "raiFilteredReason")]
    return Counted({"images": len(made)} if field_of(reply, "predictions") is not None else {}, ("images",))


def _tokens_in(used: object) -> dict[str, object]:
    prompt = first_of(used, "promptTokenCount", "prompt_token_count")
    for_tools = first_of(used, "toolUsePromptTokenCount", "tool_use_prompt_token_count")
    thought = first_of(used, "thoughtsTokenCount", "thoughts_token_count")
    written = first_of(used, "candidatesTokenCount", "candidates_token_count")
    counted: dict[str, object] = {}
    if prompt is not None:
        counted["input_tokens"] = sum_of([prompt, for_tools or 0])
    if written is not None or thought is not None:
        counted["output_tokens"] = _output(used, counted.get("input_tokens"), written or 0, thought or 0)
    if thought:
        counted["reasoning_tokens"] = thought
    cached = first_of(used, "cachedContentTokenCount", "cached_content_token_count")
    into = _by_kind(used, "promptTokensDetails", "prompt_tokens_details")
    of_tools = _by_kind(used, "toolUsePromptTokensDetails", "tool_use_prompt_tokens_details")
    of_cache = _by_kind(used, "cacheTokensDetails", "cache_tokens_details")
    out_of = _by_kind(used, "candidatesTokensDetails", "candidates_tokens_details")
    for kind in _KINDS:
        if kind in into or kind in of_tools:
            counted[f"input_{kind}_tokens"] = sum_of([into.get(kind, 0), of_tools.get(kind, 0)])
        if kind in of_cache:
            # `extract.read` takes it out of the whole of what was cached.
            counted[f"cached_input_{kind}_tokens"] = of_cache[kind]
        if kind in out_of and kind != "video":
            counted[f"output_{kind}_tokens"] = out_of[kind]
    if cached is not None:
        counted["cached_input_tokens"] = cached
    return counted


def _output(used: object, read: object, written: object, thought: object) -> object:
    """Return what came out, thoughts included: some proxies count those among the candidates, which the total tells."""
    total = first_of(used, "totalTokenCount", "total_token_count")
    if type(total) is int and type(read) is int and type(thought) is int and thought and total - read == written:
        return written
    return sum_of([written, thought])


def _by_kind(used: object, *names: str) -> dict[str, object]:
    """Return the counts of the kinds that have meters of their own; text and documents are what remains."""
    found: dict[str, object] = {}
    for part in list_of(first_of(used, *names)):
        modality = field_of(part, "modality")
        kind = str(getattr(modality, "value", modality)).lower()
        count = first_of(part, "tokenCount", "token_count")
        if kind in _KINDS and count is not None:
            found[kind] = sum_of([found.get(kind, 0), count])
    return found


def _searches_in(reply: object, model: object) -> int:
    """Return how many searches are billed: all of them, or one where a request that searched is billed as a whole."""
    queries = 0
    for candidate in list_of(field_of(reply, "candidates")):
        grounding = first_of(candidate, "groundingMetadata", "grounding_metadata")
        queries += len(list_of(first_of(grounding, "webSearchQueries", "web_search_queries")))
    generation = _GENERATION.match(model) if isinstance(model, str) else None
    is_by_search = generation is None or int(generation[1]) >= _BY_SEARCH_FROM
    return queries if is_by_search else min(queries, 1)


def read_live(reply: object, fixed: Mapping[str, Quantity]) -> Counted:
    """Return what a turn of a live session reports. There the candidates are called the response."""
    used = dict(members_of(first_of(reply, "usageMetadata", "usage_metadata")))
    names = {"responseTokenCount": "candidatesTokenCount", "responseTokensDetails": "candidatesTokensDetails"}
    used |= {name: used[told] for told, name in names.items() if used.get(told) is not None}
    return _with_nothing_written(read_content({**members_of(reply), "usageMetadata": used}, fixed), used)


def read_interaction(reply: object, fixed: Mapping[str, Quantity]) -> Counted:
    """Return what an interaction reports, in which everything has other names."""
    told = members_of(first_of(reply, "usage"))
    used: dict[str, object] = {name: told[field] for field, name in _OF_INTERACTIONS.items() if field in told}
    for field, name in _BY_MODALITY.items():
        parts = list_of(told.get(field))
        used[name] = [{"modality": field_of(one, "modality"), "tokenCount": field_of(one, "tokens")} for one in parts]
    counted = _with_nothing_written(read_content({"usageMetadata": used}, fixed), used)
    searches = [
        field_of(one, "count")
        for one in list_of(told.get("grounding_tool_count"))
        if field_of(one, "type") == "google_search"
    ]
    usage = counted.usage | ({"web_searches": sum_of(searches)} if searches else {})
    tier = label_of(first_of(reply, "service_tier"))
    return Counted(
        usage,
        counted.needed,
        attributes={"service_tier": "default" if tier == "standard" else tier},
        model=first_of(reply, "model", "agent"),
        response_id=first_of(reply, "id"),
    )


def _with_nothing_written(counted: Counted, used: Mapping[str, object]) -> Counted:
    """Return what was counted, with an output of none where the total leaves nothing for one: a zero is not told."""
    total = used.get("totalTokenCount")
    if "output_tokens" in counted.usage or total is None or total != counted.usage.get("input_tokens"):
        return counted
    return replace(counted, usage=counted.usage | {"output_tokens": 0})
