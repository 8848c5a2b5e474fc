"""What the stand-in for Gemini answers: pure functions from a request's fields to a reply. No sockets, no state.

Counts follow from the request alone: four characters are a token, rounded up. A picture that is sent is 258 tokens,
sound 32. With cached content a quarter of the input is cached. Models from 2.5 on think 64 tokens. A search tool
searches twice and adds 100 tokens of tool input. A batch answers each request as it would be by itself, in the batch
where the requests stood in it, and in a file of lines besides.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from callfare.devtools.forms import Json
from callfare.devtools.openai_replies import pieces_of, reply_text, tokens_of

_THOUGHT_TOKENS = 64
_TOOL_TOKENS = 100
_KIND_TOKENS = {"image": 258, "audio": 32, "video": 263}


def content(fields: Json, model: str, response_id: str) -> Json:
    """Return a reply with one candidate."""
    prompt = _text_in(fields.get("systemInstruction")) + _text_in(fields.get("contents"))
    text = reply_text(prompt)
    most = (fields.get("generationConfig") or {}).get("maxOutputTokens")
    is_cut = isinstance(most, int) and tokens_of(text) > most
    if is_cut and isinstance(most, int):
        text = text[: most * 4]
    searches = any("googleSearch" in tool for tool in fields.get("tools") or [])
    grounding = {"groundingMetadata": {"webSearchQueries": ["one", "two"]}} if searches else {}
    candidate = {
        "index": 0,
        "content": {"role": "model", "parts": [{"text": text}]},
        "finishReason": "MAX_TOKENS" if is_cut else "STOP",
        **grounding,
    }
    return {
        "candidates": [candidate],
        "usageMetadata": _usage(fields, prompt, tokens_of(text), model, searches=searches),
        "modelVersion": model,
        "responseId": response_id,
    }


def content_chunks(reply: Json) -> Iterator[Json]:
    """Yield the chunks of a streamed reply, each with the count so far; the last one has the end and all of it."""
    [candidate] = reply["candidates"]
    pieces = pieces_of(candidate["content"]["parts"][0]["text"])
    used = reply["usageMetadata"]
    for number, piece in enumerate(pieces):
        is_last = number == len(pieces) - 1
        part = {"index": 0, "content": {"role": "model", "parts": [{"text": piece}]}}
        chunk = reply | {"candidates": [{**candidate, **part} if is_last else part]}
        if not is_last and isinstance(used, dict) and "candidatesTokenCount" in used:
            written = tokens_of("".join(pieces[: number + 1]))
            total = used["totalTokenCount"] - used["candidatesTokenCount"] + written
            chunk["usageMetadata"] = used | {"candidatesTokenCount": written, "totalTokenCount": total}
        yield chunk


def embeddings(fields: Json) -> Json:
    """Return an embedding for each request, and the tokens of all."""
    requests = fields.get("requests") or []
    counted = sum(tokens_of(_text_in(one.get("content"))) for one in requests)
    return {"embeddings": [{"values": [0.5, -0.25]} for _ in requests], "usageMetadata": {"promptTokenCount": counted}}


def pictures(fields: Json) -> Json:
    """Return as many pictures as were asked for."""
    made = (fields.get("parameters") or {}).get("sampleCount") or 1
    return {"predictions": [{"bytesBase64Encoded": "aW1hZ2U=", "mimeType": "image/png"} for _ in range(made)]}


def video(name: str, *, is_done: bool, has_failed: bool) -> Json:
    """Return a video as it is now."""
    if not is_done:
        return {"name": name}
    if has_failed:
        return {"name": name, "done": True, "error": {"code": 13, "message": "The stand-in was told to fail."}}
    made = {"gcsUri": "gs://bucket/video.mp4", "mimeType": "video/mp4"}
    return {"name": name, "done": True, "response": {"videos": [made]}}


def batch(fields: Json, model: str, name: str) -> tuple[Json, bytes]:
    """Return a batch that has succeeded, and the file of its results."""
    asked = fields["batch"]["inputConfig"].get("requests", {}).get("requests", [])
    answered = [_answer(one["request"], model, f"{name}-{number}") for number, one in enumerate(asked)]
    output = {"inlinedResponses": {"inlinedResponses": [{"response": reply} for reply in answered]}}
    told: Json = {"model": f"models/{model}", "state": "BATCH_STATE_SUCCEEDED", "output": output}
    lines = (json.dumps({"key": f"k{n}", "response": reply}).encode() + b"\n" for n, reply in enumerate(answered))
    return {"name": name, "metadata": told, "done": True}, b"".join(lines)


def cancelled(told: Json) -> Json:
    """Return a batch that was cancelled before any request was answered."""
    metadata = {name: value for name, value in told["metadata"].items() if name != "output"}
    return told | {"metadata": metadata | {"state": "BATCH_STATE_CANCELLED"}}


def _answer(request: Json, model: str, response_id: str) -> Json:
    if "contents" in request:
        return content(request, model, response_id)
    tokens = tokens_of(_text_in(request.get("content")))
    return {"embedding": {"values": [0.5, -0.25]}, "tokenCount": tokens}


def count_tokens(fields: Json) -> Json:
    """Return how many tokens contents have."""
    return {"totalTokens": tokens_of(_text_in(fields.get("contents")))}


def _usage(fields: Json, prompt: str, written: int, model: str, *, searches: bool) -> Json:
    kinds = [kind for kind in _kinds_in(fields.get("contents")) if kind in _KIND_TOKENS]
    details: list[Json] = [{"modality": "TEXT", "tokenCount": tokens_of(prompt)}]
    details += [{"modality": kind.upper(), "tokenCount": _KIND_TOKENS[kind]} for kind in kinds]
    asked = sum(detail["tokenCount"] for detail in details)
    thought = _THOUGHT_TOKENS if not model.startswith(("gemini-1", "gemini-2.0")) else 0
    for_tools = _TOOL_TOKENS if searches else 0
    used: Json = {
        "promptTokenCount": asked,
        "candidatesTokenCount": written,
        "totalTokenCount": asked + written + thought + for_tools,
        "promptTokensDetails": details,
    }
    if thought:
        used["thoughtsTokenCount"] = thought
    if for_tools:
        used["toolUsePromptTokenCount"] = for_tools
    if fields.get("cachedContent"):
        used["cachedContentTokenCount"] = asked // 4
        used["cacheTokensDetails"] = [{"modality": "TEXT", "tokenCount": asked // 4}]
    return used


def _parts_in(value: object) -> Iterator[Json]:
    if isinstance(value, list):
        for one in value:
            yield from _parts_in(one)
    elif isinstance(value, dict):
        if "parts" in value:
            yield from _parts_in(value["parts"])
        else:
            yield value


def _text_in(value: object) -> str:
    return "".join(str(part.get("text") or "") for part in _parts_in(value))


def _kinds_in(value: object) -> Iterator[str]:
    for part in _parts_in(value):
        inline = part.get("inlineData") or {}
        yield str(inline.get("mimeType") or inline.get("mime_type") or "").partition("/")[0]
