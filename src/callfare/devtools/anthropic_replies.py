"""What the stand-in for Anthropic answers: pure functions from a request's fields to a reply. No sockets, no state.

Counts follow from the request alone: four characters are a token, rounded up; each message adds three. Where anything
is marked with `cache_control`, half of the input is read from the cache and a quarter is written to it, for as long as
the first mark says. Thinking costs 64 tokens. A web search tool is used once, and costs 100 tokens of input. A request
to compact its context is answered in two iterations, of which the reply's totals leave out the first. A batch answers
each request as it would be by itself, at the tier of batches; one without a model is refused.
"""

from __future__ import annotations

from collections.abc import Iterator

from callfare.devtools.forms import Json
from callfare.devtools.openai_replies import pieces_of, reply_text, text_in, tokens_of

_THOUGHT_TOKENS = 64
_MESSAGE_TOKENS = 3
_SEARCH_TOKENS = 100
_COMPACTION: Json = {
    "type": "compaction",
    "input_tokens": 100,
    "cache_read_input_tokens": 55_096,
    "cache_creation_input_tokens": 0,
    "output_tokens": 83,
}


def message(fields: Json, message_id: str) -> Json:
    """Return a message."""
    prompt = text_in(fields.get("system")) + text_in(fields.get("messages"))
    text = reply_text(prompt)
    most = fields.get("max_tokens")
    thought = _THOUGHT_TOKENS if (fields.get("thinking") or {}).get("type") in ("enabled", "adaptive") else 0
    is_cut = isinstance(most, int) and tokens_of(text) + thought > most
    if is_cut and isinstance(most, int):
        text = text[: max(most - thought, 1) * 4]
    content: list[Json] = [{"type": "thinking", "thinking": "Let me see.", "signature": "c2ln"}] if thought else []
    return {
        "id": message_id,
        "type": "message",
        "role": "assistant",
        "model": fields.get("model"),
        "content": [*content, {"type": "text", "text": text}],
        "stop_reason": "max_tokens" if is_cut else "end_turn",
        "stop_sequence": None,
        "usage": _usage(fields, prompt, tokens_of(text) + thought, thought),
    }


def batch_results(fields: Json, batch_id: str) -> list[Json]:
    """Return a result for each request of a batch."""
    results: list[Json] = []
    for number, request in enumerate(fields.get("requests") or [], 1):
        params = request["params"]
        reply = message(params, f"msg_{batch_id}_{number}")
        reply["usage"] |= {"service_tier": "batch"}
        error = {"type": "error", "error": {"type": "invalid_request_error", "message": "The model is missing."}}
        told = {"type": "succeeded", "message": reply} if params.get("model") else {"type": "errored", "error": error}
        results.append({"custom_id": request["custom_id"], "result": told})
    return results


def cancelled(results: list[Json]) -> list[Json]:
    """Return the results of a batch that was cancelled before any request was answered."""
    return [result | {"result": {"type": "canceled"}} for result in results]


def batch(batch_id: str, results: list[Json], *, address: str | None) -> Json:
    """Return a batch: ended where its results have an address."""
    succeeded = sum(result["result"]["type"] == "succeeded" for result in results)
    canceled = sum(result["result"]["type"] == "canceled" for result in results)
    errored = len(results) - succeeded - canceled
    ended = {"succeeded": succeeded, "errored": errored, "canceled": canceled, "processing": 0}
    waiting = {"succeeded": 0, "errored": 0, "canceled": 0, "processing": len(results)}
    return {
        "id": batch_id,
        "type": "message_batch",
        "processing_status": "ended" if address else "in_progress",
        "request_counts": (ended if address else waiting) | {"expired": 0},
        "created_at": "2026-11-22T12:00:00Z",
        "expires_at": "2026-11-23T12:00:00Z",
        "ended_at": "2026-11-22T12:01:00Z" if address else None,
        "archived_at": None,
        "cancel_initiated_at": None,
        "results_url": address,
    }


def count_tokens(fields: Json) -> Json:
    """Return how many tokens a request has."""
    prompt = text_in(fields.get("system")) + text_in(fields.get("messages"))
    return {"input_tokens": tokens_of(prompt) + _MESSAGE_TOKENS * len(fields.get("messages") or [])}


def message_events(reply: Json) -> Iterator[Json]:
    """Yield the events that a message is streamed in: its input first, its text by words, its output at the end."""
    used = reply["usage"]
    begun = used if used is None else {**used, "output_tokens": 1, "iterations": None}
    yield {"type": "message_start", "message": {**reply, "content": [], "stop_reason": None, "usage": begun}}
    yield {"type": "ping"}
    for index, block in enumerate(reply["content"]):
        kind = block["type"]
        begin = {"type": "thinking", "thinking": "", "signature": ""} if kind == "thinking" else {**block, "text": ""}
        yield {"type": "content_block_start", "index": index, "content_block": begin}
        for piece in pieces_of(block[kind]):
            yield {"type": "content_block_delta", "index": index, "delta": {"type": f"{kind}_delta", kind: piece}}
        yield {"type": "content_block_stop", "index": index}
    told = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens", "iterations")
    counted = used if used is None else {name: used[name] for name in (*told, "server_tool_use") if name in used}
    ended = {"stop_reason": reply["stop_reason"], "stop_sequence": None}
    yield {"type": "message_delta", "delta": ended, "usage": counted}
    yield {"type": "message_stop"}


def _usage(fields: Json, prompt: str, output_tokens: int, thought: int) -> Json:
    input_tokens = tokens_of(prompt) + _MESSAGE_TOKENS * len(fields.get("messages") or [])
    searches = sum(str(tool.get("type", "")).startswith("web_search") for tool in fields.get("tools") or [])
    input_tokens += searches * _SEARCH_TOKENS
    lifetime = lifetime_in(fields, "cache_control")
    read, written = (input_tokens // 2, input_tokens // 4) if lifetime else (0, 0)
    used: Json = {
        "input_tokens": input_tokens - read - written,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": written,
        "cache_creation": {
            "ephemeral_5m_input_tokens": written if lifetime == "5m" else 0,
            "ephemeral_1h_input_tokens": written if lifetime == "1h" else 0,
        },
        "output_tokens": output_tokens,
        "output_tokens_details": {"thinking_tokens": thought},
        "server_tool_use": {"web_search_requests": searches, "web_fetch_requests": 0} if searches else None,
        "service_tier": "standard",
        "speed": fields.get("speed") or "standard",
        "inference_geo": fields.get("inference_geo") or "not_available",
    }
    if fields.get("context_management"):
        counted = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens")
        used["iterations"] = [_COMPACTION, {"type": "message", **{name: used[name] for name in counted}}]
    return used


def lifetime_in(value: object, mark: str) -> str:
    """Return how long the first mark of this name in a request keeps what it marks, or "" where nothing is marked."""
    if isinstance(value, dict):
        found = value.get(mark)
        if isinstance(found, dict):
            return str(found.get("ttl") or "5m")
        value = list(value.values())
    inner = value if isinstance(value, list) else []
    return next(filter(None, (lifetime_in(part, mark) for part in inner)), "")
