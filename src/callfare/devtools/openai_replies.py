"""What the stand-in for OpenAI answers: pure functions from a request's fields to a reply. No sockets, no state.

Every count follows from the request's text alone, so a test can write the expected numbers out: four characters are a
token, rounded up; each message adds three. A quarter of the input is cached; a reasoning model thinks 64 tokens first.
A response that may search the web does so twice before it answers.
"""

from __future__ import annotations

import base64
import json
import math
import wave
import zlib
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from io import BytesIO

from callfare.devtools.forms import Json

SNAPSHOTS = {
    "gpt-5-mini": "gpt-5-mini-2025-08-07",
    "gpt-5": "gpt-5-2025-08-07",
    "gpt-4o-mini": "gpt-4o-mini-2024-07-18",
    "gpt-4o": "gpt-4o-2024-08-06",
}
"""The dated name a reply carries when the family's name was asked for."""

CREATED = 1_790_000_000
"""The moment every reply claims to be made at, in seconds since 1970."""

_REASONING_TOKENS = 64
_MESSAGE_TOKENS = 3
_CHARACTERS_PER_TOKEN = 4
_SENTENCE = (
    "the river carries small boats past quiet towns where people trade stories for bread and every lamp on the "
    "bridge counts one more traveller home before the first snow of the year"
)
_IMAGE_TOKENS = {
    ("1024x1024", "low"): 272,
    ("1024x1024", "medium"): 1056,
    ("1024x1024", "high"): 4160,
    ("1024x1536", "low"): 408,
    ("1024x1536", "medium"): 1584,
    ("1024x1536", "high"): 6240,
    ("1536x1024", "low"): 400,
    ("1536x1024", "medium"): 1568,
    ("1536x1024", "high"): 6208,
}
_PIXEL_PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
)


def tokens_of(text: str) -> int:
    """Return how many tokens the stand-in counts for a text: a quarter of its characters, rounded up."""
    return math.ceil(len(text) / _CHARACTERS_PER_TOKEN)


def served_model(model: str) -> str:
    """Return the name a reply carries: the dated snapshot where there is one."""
    return SNAPSHOTS.get(model, model)


def text_in(content: object) -> str:
    """Return all text in a message's content, in an input item or in lists of either."""
    if isinstance(content, str):
        return content
    if isinstance(content, Mapping):
        return "".join(text_in(content.get(field)) for field in ("content", "text", "output"))
    if isinstance(content, Sequence) and not isinstance(content, bytes):
        return "".join(text_in(part) for part in content)
    return ""


def reply_text(prompt: str, schema: Json | None = None) -> str:
    """Return the reply to a prompt: a dozen to four dozen words chosen by its checksum, or JSON that fits a schema."""
    if schema is not None:
        return json.dumps(_example_of(schema))
    words = _SENTENCE.split()
    seed = zlib.crc32(prompt.encode("utf-8", "surrogatepass"))
    count = 12 + seed % 37
    return " ".join(words[(seed + index) % len(words)] for index in range(count)) + "."


def pieces_of(text: str) -> list[str]:
    """Return a text cut into the pieces it is streamed in: a word and the space before it."""
    words = text.split(" ")
    return [words[0], *(f" {word}" for word in words[1:])]


def _example_of(schema: Json) -> object:
    """Return the plainest value that fits a JSON schema."""
    kind = schema.get("type")
    if kind == "object":
        return {name: _example_of(part) for name, part in schema.get("properties", {}).items()}
    if "enum" in schema:
        return schema["enum"][0]
    plain: dict[object, object] = {"string": "text", "integer": 1, "number": 1.5, "boolean": True, "array": []}
    return plain.get(kind)


def _is_reasoning(model: str) -> bool:
    return model.startswith(("gpt-5", "o1", "o3", "o4"))


def _counted(prompt: str, messages: int, reply: str, thought: int) -> tuple[int, int, int]:
    """Return input, cached and output tokens; the output includes what was thought."""
    input_tokens = tokens_of(prompt) + _MESSAGE_TOKENS * messages
    return input_tokens, input_tokens // 4, tokens_of(reply) + thought


def _limited(full: str, model: str, tokens_max: object) -> tuple[str, int, bool]:
    """Return the reply and the tokens of thought that fit a limit together, and whether the reply had to be cut."""
    thought = _REASONING_TOKENS if _is_reasoning(model) else 0
    if not isinstance(tokens_max, int):
        return full, thought, False
    reply = full[: tokens_max * _CHARACTERS_PER_TOKEN]
    return reply, min(thought, tokens_max - tokens_of(reply)), reply != full


# Chat completions


def chat_completion(request: Json, reply_id: str) -> Json:
    """Return the reply of POST /v1/chat/completions."""
    messages = request.get("messages") or []
    prompt = text_in(messages)
    form = request.get("response_format") or {}
    schema = form.get("json_schema", {}).get("schema") if form.get("type") == "json_schema" else None
    model = str(request.get("model"))
    limit = request.get("max_completion_tokens") or request.get("max_tokens")
    reply, reasoning, was_cut = _limited(reply_text(prompt, schema), model, limit)
    choices = request.get("n") or 1
    input_tokens, cached, output = _counted(prompt, len(messages), reply, reasoning)
    return {
        "id": reply_id,
        "object": "chat.completion",
        "created": CREATED,
        "model": served_model(model),
        "service_tier": _served_tier(request),
        "choices": [
            {
                "index": index,
                "finish_reason": "length" if was_cut else "stop",
                "logprobs": None,
                "message": {"role": "assistant", "content": reply, "refusal": None, "annotations": []},
            }
            for index in range(choices)
        ],
        "usage": {
            "prompt_tokens": input_tokens,
            "completion_tokens": output * choices,
            "total_tokens": input_tokens + output * choices,
            "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": reasoning * choices,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        },
    }


def chat_chunks(reply: Json, *, with_usage: bool) -> Iterator[Json]:
    """Yield a chat completion as the chunks of a stream, with the usage chunk at its end when it was asked for."""
    frame = {key: reply[key] for key in ("id", "created", "model", "service_tier")} | {
        "object": "chat.completion.chunk",
    }
    if with_usage:
        frame["usage"] = None
    for choice in reply["choices"]:
        first = {"role": "assistant", "content": "", "refusal": None}
        yield frame | {"choices": [{"index": choice["index"], "delta": first, "finish_reason": None}]}
        for piece in pieces_of(choice["message"]["content"]):
            delta = {"index": choice["index"], "delta": {"content": piece}, "finish_reason": None}
            yield frame | {"choices": [delta]}
        last = {"index": choice["index"], "delta": {}, "finish_reason": choice["finish_reason"]}
        yield frame | {"choices": [last]}
    if with_usage:
        yield frame | {"choices": [], "usage": reply.get("usage")}


def _served_tier(request: Json) -> str:
    asked = request.get("service_tier") or "auto"
    return "default" if asked == "auto" else str(asked)


# Responses


def response(request: Json, reply_id: str) -> Json:
    """Return the reply of POST /v1/responses; a background one is still queued."""
    asked = request.get("input") or ""
    prompt = text_in(request.get("instructions") or "") + text_in(asked)
    form = (request.get("text") or {}).get("format") or {}
    schema = form.get("schema") if form.get("type") == "json_schema" else None
    model = str(request.get("model"))
    reply, reasoning, was_cut = _limited(reply_text(prompt, schema), model, request.get("max_output_tokens"))
    messages = 1 if isinstance(asked, str) else len(asked)
    input_tokens, cached, output = _counted(prompt, messages, reply, reasoning)
    message = {
        "id": f"msg_{reply_id}",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": reply, "annotations": []}],
    }
    return {
        "id": reply_id,
        "object": "response",
        "created_at": CREATED,
        "status": "incomplete" if was_cut else "completed",
        "background": bool(request.get("background")),
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if was_cut else None,
        "instructions": request.get("instructions"),
        "metadata": request.get("metadata") or {},
        "model": served_model(model),
        "output": [*_searches_for(request, reply_id), message],
        "parallel_tool_calls": True,
        "service_tier": _served_tier(request),
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": {
            "input_tokens": input_tokens,
            "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
            "output_tokens": output,
            "output_tokens_details": {"reasoning_tokens": reasoning},
            "total_tokens": input_tokens + output,
        },
    }


def _searches_for(request: Json, reply_id: str) -> list[Json]:
    """Return the calls of the web search that a request's tools allow."""
    if not any(str(tool.get("type", "")).startswith("web_search") for tool in request.get("tools") or []):
        return []
    asked = {"type": "search", "query": "boats", "queries": ["boats"]}
    return [
        {"id": f"ws_{reply_id}_{number}", "type": "web_search_call", "status": "completed", "action": asked}
        for number in (1, 2)
    ]


def unfinished(reply: Json, status: str) -> Json:
    """Return a response as it stands before its end: no output, and no usage."""
    return reply | {"status": status, "output": [], "usage": None, "incomplete_details": None}


def response_events(reply: Json) -> Iterator[Json]:
    """Yield a response as the events of a stream, from response.created to its end."""
    for sequence_number, event in enumerate(_response_events(reply)):
        yield event | {"sequence_number": sequence_number}


def _response_events(reply: Json) -> Iterator[Json]:
    message = reply["output"][-1]
    part = message["content"][0]
    place = {"item_id": message["id"], "output_index": 0, "content_index": 0}
    yield {"type": "response.created", "response": unfinished(reply, "in_progress")}
    yield {"type": "response.in_progress", "response": unfinished(reply, "in_progress")}
    opening = message | {"status": "in_progress", "content": []}
    yield {"type": "response.output_item.added", "output_index": 0, "item": opening}
    yield {"type": "response.content_part.added", "part": part | {"text": ""}} | place
    for piece in pieces_of(part["text"]):
        yield {"type": "response.output_text.delta", "delta": piece, "logprobs": []} | place
    yield {"type": "response.output_text.done", "text": part["text"], "logprobs": []} | place
    yield {"type": "response.content_part.done", "part": part} | place
    yield {"type": "response.output_item.done", "output_index": 0, "item": message}
    yield {"type": f"response.{reply['status']}", "response": reply}


# Embeddings


def embeddings(request: Json) -> Json:
    """Return the reply of POST /v1/embeddings: a vector of two numbers for each input."""
    asked = request.get("input") or ""
    texts = [asked] if isinstance(asked, str) else [text_in(part) for part in asked]
    tokens = sum(tokens_of(text) for text in texts)
    rows = [{"object": "embedding", "index": index, "embedding": [0.5, -0.5]} for index in range(len(texts))]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": rows, "model": served_model(str(request.get("model"))), "usage": usage}


def decision(request: Json) -> Json:
    """Return the reply of POST /v1/decisions, Perplexity's too: a token for each answer."""
    questions = request.get("questions") or []
    read = tokens_of(text_in(request.get("input") or request.get("state")))
    answers = [{"type": "predicate", "name": None, "answer": True, "confidence": 0.5} for _ in questions]
    used = {"input_tokens": read, "output_tokens": len(answers), "total_tokens": read + len(answers)}
    details = {
        "input_tokens_details": {"cached_tokens": read // 4, "cache_write_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    }
    return {"answers": answers, "model": served_model(str(request.get("model"))), "usage": used | details}


def ranking(request: Json) -> Json:
    """Return the reply of POST /v1/rerank: the documents in their order."""
    documents = request.get("documents") or []
    read = sum(tokens_of(text_in(part)) for part in (request.get("query"), *documents))
    rows = [{"index": index, "relevance_score": 0.5, "document": {"text": ""}} for index in range(len(documents))]
    used = {"prompt_tokens": read, "completion_tokens": 0, "total_tokens": read}
    return {"object": "rerank", "id": "rerank_1", "model": request.get("model"), "results": rows, "usage": used}


# Audio


def speech_bytes(request: Json) -> bytes:
    """Return the sound of POST /v1/audio/speech: sixteen bytes a character. Nobody should listen to it."""
    text = str(request.get("input"))
    return (text.encode("utf-8", "surrogatepass") or b"\0") * 16


def speech_events(request: Json) -> Iterator[Json]:
    """Yield speech as the events of stream_format=sse, with the token usage at its end."""
    sound = speech_bytes(request)
    for start in range(0, len(sound), 4096):
        audio = base64.b64encode(sound[start : start + 4096]).decode("ascii")
        yield {"type": "speech.audio.delta", "audio": audio}
    text_tokens = tokens_of(str(request.get("input")))
    usage = {"input_tokens": text_tokens, "output_tokens": text_tokens * 5, "total_tokens": text_tokens * 6}
    yield {"type": "speech.audio.done", "usage": usage}


def transcription(request: Json, upload: bytes) -> Json:
    """Return the transcript of an uploaded sound in the fullest form; a WAV lasts what its header says."""
    seconds = _seconds_of(upload)
    text = reply_text(f"{len(upload)} bytes")
    model = str(request.get("model"))
    full: Json = {"task": "transcribe", "language": "english", "duration": seconds, "text": text}
    full["segments"] = [{"id": 0, "seek": 0, "start": 0.0, "end": seconds, "text": text, "tokens": []}]
    if model.startswith("whisper"):
        full["usage"] = {"type": "duration", "seconds": seconds}
        return full
    audio_tokens = math.ceil(seconds * 10)
    prompt_tokens = tokens_of(str(request.get("prompt") or ""))
    output_tokens = tokens_of(text)
    full["usage"] = {
        "type": "tokens",
        "input_tokens": audio_tokens + prompt_tokens,
        "input_token_details": {"audio_tokens": audio_tokens, "text_tokens": prompt_tokens},
        "output_tokens": output_tokens,
        "total_tokens": audio_tokens + prompt_tokens + output_tokens,
    }
    return full


def transcription_events(full: Json) -> Iterator[Json]:
    """Yield a transcript as the events of a stream, with its usage in the last one."""
    for piece in pieces_of(full["text"]):
        yield {"type": "transcript.text.delta", "delta": piece}
    yield {"type": "transcript.text.done", "text": full["text"], "usage": full.get("usage")}


def transcript_in(full: Json, form: str) -> str | Json:
    """Return a transcript in the form asked for; text, srt and vtt carry no usage."""
    text = full["text"]
    if form == "verbose_json":
        return full
    if form == "text":
        return f"{text}\n"
    if form == "srt":
        return f"1\n00:00:00,000 --> 00:00:01,000\n{text}\n"
    if form == "vtt":
        return f"WEBVTT\n\n00:00:00.000 --> 00:00:01.000\n{text}\n"
    return {key: full[key] for key in ("text", "usage") if key in full}


def _seconds_of(upload: bytes) -> float:
    try:
        with wave.open(BytesIO(upload)) as sound:
            seconds = Decimal(sound.getnframes()) / sound.getframerate()
    except (wave.Error, EOFError):
        seconds = Decimal(len(upload)) / 16_000
    return float(round(seconds, 2))


# Images


def images(request: Json) -> Json:
    """Return the reply of POST /v1/images/generations; what was left to the model is told as it decided."""
    size = _decided(request.get("size"), "1024x1024")
    quality = _decided(request.get("quality"), "medium")
    count = int(request.get("n") or 1)
    text_tokens = tokens_of(str(request.get("prompt")))
    image_tokens = int(request.get("uploads") or 0) * 323
    output_tokens = _IMAGE_TOKENS.get((size, quality), 1056) * count
    return {
        "created": CREATED,
        "background": "opaque",
        "output_format": "png",
        "quality": quality,
        "size": size,
        "data": [{"b64_json": base64.b64encode(_PIXEL_PNG).decode("ascii")} for _ in range(count)],
        "usage": {
            "input_tokens": text_tokens + image_tokens,
            "input_tokens_details": {"text_tokens": text_tokens, "image_tokens": image_tokens},
            "output_tokens": output_tokens,
            "total_tokens": text_tokens + image_tokens + output_tokens,
        },
    }


def image_events(reply: Json, kind: str) -> Iterator[Json]:
    """Yield images as the events of a stream: one partial picture, then each finished one; usage with the last."""
    frame = {key: reply[key] for key in ("background", "output_format", "quality", "size")} | {"created_at": CREATED}
    yield frame | {"type": f"{kind}.partial_image", "partial_image_index": 0, "b64_json": reply["data"][0]["b64_json"]}
    for image in reply["data"]:
        yield frame | {"type": f"{kind}.completed", "b64_json": image["b64_json"], "usage": reply.get("usage")}


def _decided(asked: object, otherwise: str) -> str:
    return otherwise if asked in (None, "", "auto") else str(asked)


# Videos


def video(request: Json, reply_id: str) -> Json:
    """Return a video job as it is accepted: queued, nothing made yet."""
    return {
        "id": reply_id,
        "object": "video",
        "created_at": CREATED,
        "completed_at": None,
        "error": None,
        "expires_at": None,
        "model": str(request.get("model") or "sora-2"),
        "progress": 0,
        "prompt": None,
        "remixed_from_video_id": None,
        "seconds": str(request.get("seconds") or "4"),
        "size": str(request.get("size") or "720x1280"),
        "status": "queued",
    }


def video_after(job: Json, polls: int, *, polls_needed: int, outcome: str) -> Json:
    """Return a video job as the n-th poll sees it; it ends with the poll that was needed."""
    if polls < polls_needed:
        return job | {"status": "in_progress", "progress": polls * 100 // polls_needed}
    if outcome == "failed":
        error = {"code": "moderation_blocked", "message": "The stand-in was told to fail."}
        return job | {"status": "failed", "error": error}
    return job | {"status": "completed", "progress": 100, "completed_at": CREATED + 60}


def video_bytes(job: Json) -> bytes:
    """Return the film of a finished job: a kilobyte for each second."""
    return b"\0film..." * (128 * int(job["seconds"]))
