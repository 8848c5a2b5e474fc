"""What the stand-in for Amazon Bedrock answers: pure functions from a request's fields to a reply. No sockets.

Counts follow from the request alone: four characters are a token, rounded up; each message adds three. Where a cache
point stands, half of the input is read from the cache and a quarter is written to it, for as long as it says; Bedrock
counts the rest as the input. Behind InvokeModel each maker's models speak their own API: Anthropic's, Nova's, Titan's,
Llama's, the chat completions of others; Mistral's and Cohere's count nothing but in the headers.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from zlib import crc32

from callfare.devtools import anthropic_replies, openai_replies
from callfare.devtools.forms import Json
from callfare.devtools.openai_replies import pieces_of, reply_text, text_in, tokens_of

_MESSAGE_TOKENS = 3
METRICS = "amazon-bedrock-invocationMetrics"


def converse(fields: Json) -> Json:
    """Return the reply of Converse."""
    prompt = text_in(fields.get("system")) + text_in(fields.get("messages"))
    most = (fields.get("inferenceConfig") or {}).get("maxTokens")
    text, is_cut = _limited(reply_text(prompt), most)
    reply: Json = {
        "output": {"message": {"role": "assistant", "content": [{"text": text}]}},
        "stopReason": "max_tokens" if is_cut else "end_turn",
        "usage": _usage(fields, prompt, tokens_of(text)),
        "metrics": {"latencyMs": 321},
    }
    asked = {name: fields[name] for name in ("serviceTier", "performanceConfig") if name in fields}
    return reply | asked


def converse_events(reply: Json) -> Iterator[tuple[str, Json]]:
    """Yield the events that a reply is streamed in: its text by words, its count after its end."""
    yield "messageStart", {"role": "assistant"}
    for piece in pieces_of(reply["output"]["message"]["content"][0]["text"]):
        yield "contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": piece}}
    yield "contentBlockStop", {"contentBlockIndex": 0}
    yield "messageStop", {"stopReason": reply["stopReason"]}
    told = ("usage", "metrics", "serviceTier", "performanceConfig")
    yield "metadata", {name: reply[name] for name in told if name in reply}


def invoke(model: str, fields: Json, reply_id: str) -> tuple[Json, Json]:
    """Return the reply of InvokeModel in the words of the model's own API, and the counts of its headers."""
    if "anthropic." in model:
        reply = anthropic_replies.message(fields | {"model": model.rpartition("anthropic.")[2]}, reply_id)
        return reply, _counts(reply["usage"]["input_tokens"], reply["usage"]["output_tokens"])
    if "embed" in model:
        texts = fields.get("texts") or [fields.get("inputText")]
        read = tokens_of(text_in(texts))
        told: Json = {"embedding": [0.5, 0.25], "inputTextTokenCount": read}
        return ({"embeddings": [[0.5]], "id": reply_id} if "cohere." in model else told), _counts(read, 0)
    if "canvas" in model or "image" in model:
        wanted = (fields.get("imageGenerationConfig") or {}).get("numberOfImages", 1)
        return {"images": ["aQ=="] * wanted}, {}
    return _written_by(model, fields, reply_id)


def invoke_events(model: str, reply: Json, counts: Json) -> Iterator[Json]:
    """Yield the events of InvokeModelWithResponseStream; the last one carries the counts of any model."""
    events = list(_events_of(model, reply))
    metrics = counts | {"invocationLatency": 321, "firstByteLatency": 32}
    yield from events[:-1]
    yield events[-1] | {METRICS: metrics}


def frame(kind: str, payload: Json, *, message_type: str = "event") -> bytes:
    """Return an event as AWS's binary streams have it: lengths and a checksum, headers, payload, a checksum of all."""
    name = ":event-type" if message_type == "event" else ":exception-type"
    told = {name: kind, ":content-type": "application/json", ":message-type": message_type}
    headers = b"".join(
        struct.pack("!B", len(key)) + key.encode() + struct.pack("!BH", 7, len(value)) + value.encode()
        for key, value in told.items()
    )
    body = json.dumps(payload).encode()
    prelude = struct.pack("!II", len(headers) + len(body) + 16, len(headers))
    message = prelude + struct.pack("!I", crc32(prelude)) + headers + body
    return message + struct.pack("!I", crc32(message))


def chunk(event: Json) -> Json:
    """Return an event of a model's own API as the payload of a chunk."""
    return {"bytes": base64.b64encode(json.dumps(event).encode()).decode()}


def _written_by(model: str, fields: Json, reply_id: str) -> tuple[Json, Json]:
    prompt = text_in(fields.get("system")) + text_in(fields.get("messages"))
    prompt += text_in(fields.get("inputText")) + text_in(fields.get("prompt"))
    text = reply_text(prompt)
    read, written = tokens_of(prompt) + _MESSAGE_TOKENS * len(fields.get("messages") or []), tokens_of(text)
    counts = _counts(read, written)
    if "nova" in model:
        return converse(fields), counts
    if "titan" in model:
        result = {"tokenCount": written, "outputText": text, "completionReason": "FINISH"}
        return {"inputTextTokenCount": read, "results": [result]}, counts
    if "llama" in model:
        told = {"prompt_token_count": read, "generation_token_count": written, "stop_reason": "stop"}
        return {"generation": text} | told, counts
    if "mistral." in model:
        return {"outputs": [{"text": text, "stop_reason": "stop"}]}, counts
    return openai_replies.chat_completion(fields | {"model": model}, reply_id), counts


def _events_of(model: str, reply: Json) -> Iterator[Json]:
    if "anthropic." in model:
        yield from anthropic_replies.message_events(reply)
    elif "nova" in model:
        yield from ({name: payload} for name, payload in converse_events(reply))
    elif "titan" in model:
        for piece in pieces_of(reply["results"][0]["outputText"]):
            yield {"outputText": piece, "index": 0}
        yield {"outputText": "", "totalOutputTextTokenCount": 0, "completionReason": "FINISH"}
    elif "llama" in model:
        for piece in pieces_of(reply["generation"]):
            yield {"generation": piece, "stop_reason": None}
        yield {"generation": "", "stop_reason": "stop"}
    else:
        yield from openai_replies.chat_chunks(reply, with_usage=False)


def _usage(fields: Json, prompt: str, written: int) -> Json:
    input_tokens = tokens_of(prompt) + _MESSAGE_TOKENS * len(fields.get("messages") or [])
    lifetime = anthropic_replies.lifetime_in(
        [fields.get("system"), fields.get("messages"), fields.get("toolConfig")], "cachePoint"
    )
    read, kept = (input_tokens // 2, input_tokens // 4) if lifetime else (0, 0)
    used: Json = {
        "inputTokens": input_tokens - read - kept,
        "outputTokens": written,
        "totalTokens": input_tokens + written,
    }
    if lifetime:
        used |= {"cacheReadInputTokens": read, "cacheWriteInputTokens": kept}
        used["cacheDetails"] = [{"inputTokens": kept, "ttl": lifetime}]
    return used


def _limited(text: str, most: object) -> tuple[str, bool]:
    is_cut = isinstance(most, int) and tokens_of(text) > most
    return (text[: most * 4], True) if is_cut and isinstance(most, int) else (text, False)


def _counts(read: int, written: int) -> Json:
    return {"inputTokenCount": read, "outputTokenCount": written}
