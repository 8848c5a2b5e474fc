"""What the stand-in for Gemini answers to interactions: pure functions from a request's fields to a reply. No state.

Counts follow from the request alone, as elsewhere in Gemini's stand-in: four characters are a token, rounded up; a
picture is 258, sound 32. What was said before (`previous_interaction_id`) is a hundred tokens, all cached. A search
adds 100 tokens of tool input and is counted twice. A model thinks 64 tokens.
"""

from __future__ import annotations

from collections.abc import Iterator

from callfare.devtools.forms import Json
from callfare.devtools.openai_replies import pieces_of, reply_text, tokens_of

_THOUGHT_TOKENS, _TOOL_TOKENS, _BEFORE_TOKENS = 64, 100, 100
_KIND_TOKENS = {"image": 258, "audio": 32, "video": 263}


def interaction(fields: Json, interaction_id: str) -> Json:
    """Return an interaction that is completed."""
    parts = [*_parts_in(fields.get("input"))]
    prompt = str(fields.get("system_instruction") or "") + "".join(str(part.get("text") or "") for part in parts)
    text = reply_text(prompt)
    read = {"text": tokens_of(prompt)} if prompt else {}
    for part in parts:
        kind = str(part.get("type"))
        if kind in _KIND_TOKENS:
            read[kind] = read.get(kind, 0) + _KIND_TOKENS[kind]
    cached = _BEFORE_TOKENS if fields.get("previous_interaction_id") else 0
    if cached:
        read["text"] = read.get("text", 0) + cached
    tools = _TOOL_TOKENS if any(tool.get("type") == "google_search" for tool in fields.get("tools") or []) else 0
    written = tokens_of(text)
    usage: Json = {
        "total_input_tokens": sum(read.values()),
        "input_tokens_by_modality": [{"modality": kind, "tokens": count} for kind, count in read.items()],
        "total_output_tokens": written,
        "output_tokens_by_modality": [{"modality": "text", "tokens": written}],
        "total_thought_tokens": _THOUGHT_TOKENS,
        "total_tool_use_tokens": tools,
        "total_cached_tokens": cached,
        "total_tokens": sum(read.values()) + written + _THOUGHT_TOKENS + tools,
    }
    if tools:
        usage["grounding_tool_count"] = [{"type": "google_search", "count": 2}]
    if cached:
        usage["cached_tokens_by_modality"] = [{"modality": "text", "tokens": cached}]
    return {
        "id": interaction_id,
        "object": "interaction",
        "model": fields.get("model"),
        "agent": fields.get("agent"),
        "status": "completed",
        "created": "2026-11-23T00:00:00Z",
        "updated": "2026-11-23T00:00:00Z",
        "service_tier": fields.get("service_tier") or "standard",
        "steps": [{"type": "model_output", "content": [{"type": "text", "text": text}]}],
        "usage": usage,
    }


def unfinished(reply: Json, status: str) -> Json:
    """Return an interaction as it stands before its end: no output, and no usage."""
    return {name: value for name, value in reply.items() if name not in ("steps", "usage")} | {"status": status}


def interaction_events(reply: Json) -> Iterator[Json]:
    """Yield an interaction as the events of a stream."""
    yield {"event_type": "interaction.created", "interaction": unfinished(reply, "in_progress")}
    yield {"event_type": "step.start", "index": 0, "step": {"type": "model_output"}}
    for piece in pieces_of(reply["steps"][0]["content"][0]["text"]):
        yield {"event_type": "step.delta", "index": 0, "delta": {"type": "text", "text": piece}}
    yield {"event_type": "step.stop", "index": 0}
    yield {"event_type": "interaction.completed", "interaction": reply}


def _parts_in(value: object) -> Iterator[Json]:
    if isinstance(value, str):
        yield {"type": "text", "text": value}
    elif isinstance(value, list):
        for one in value:
            yield from _parts_in(one)
    elif isinstance(value, dict):
        if "content" in value:
            yield from _parts_in(value["content"])
        else:
            yield value
