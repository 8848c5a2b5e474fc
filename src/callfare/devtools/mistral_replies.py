"""What the stand-in for Mistral answers where its API is its own: pure functions from fields to a reply.

Every count follows from the request: four characters are a token, a connector that a conversation may use is called
once and puts a hundred tokens in, a page is 3,000 bytes of a document, and sound lasts what a WAV's header says.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator

from callfare.devtools import openai_replies as replies
from callfare.devtools.forms import Json

_CONNECTOR_TOKENS = 100
_PAGE_BYTES = 3_000
_AT = "2026-11-20T12:00:00Z"
_CONNECTORS = ("web_search", "web_search_premium", "code_interpreter", "image_generation", "document_library")


def conversation(request: Json, conversation_id: str, model: str, reply_id: str) -> Json:
    """Return the reply to what is said in a conversation: the tools it used, and what it says."""
    prompt = replies.text_in(request.get("inputs")) + str(request.get("instructions") or "")
    said = replies.reply_text(prompt)
    used = [tool["type"] for tool in request.get("tools") or () if tool.get("type") in _CONNECTORS]
    tools = [_tool(name, f"tool_exec_{reply_id}_{number}", model) for number, name in enumerate(used)]
    message = {"type": "message.output", "id": f"msg_{reply_id}", "model": model, "role": "assistant", "content": said}
    read, written, put_in = replies.tokens_of(prompt), replies.tokens_of(said), _CONNECTOR_TOKENS * len(used)
    return {
        "object": "conversation.response",
        "conversation_id": conversation_id,
        "outputs": [*tools, message | {"object": "entry", "created_at": _AT, "completed_at": _AT}],
        "usage": {
            "prompt_tokens": read,
            "completion_tokens": written,
            "total_tokens": read + written + put_in,
            "connector_tokens": put_in or None,
            "connectors": {name: used.count(name) for name in used} or None,
        },
    }


def conversation_events(reply: Json) -> Iterator[Json]:
    """Yield a reply in a conversation as the events of its stream, with the usage in the last one."""
    yield {"type": "conversation.response.started", "conversation_id": reply["conversation_id"], "created_at": _AT}
    for index, entry in enumerate(reply["outputs"]):
        place = {"output_index": index, "id": entry["id"], "model": entry["model"], "created_at": _AT}
        if entry["type"] == "tool.execution":
            told = {"name": entry["name"], "arguments": entry["arguments"]}
            yield place | told | {"type": "tool.execution.started"}
            yield {"type": "tool.execution.done", "id": entry["id"], "output_index": index, "name": entry["name"]}
            continue
        for piece in replies.pieces_of(entry["content"]):
            yield place | {"type": "message.output.delta", "role": "assistant", "content": piece, "content_index": 0}
    yield {"type": "conversation.response.done", "usage": reply["usage"], "created_at": _AT}


def conversation_told(conversation_id: str, model: str) -> Json:
    """Return what a conversation is, when it is asked for."""
    times = {"created_at": _AT, "updated_at": _AT}
    return {"object": "conversation", "id": conversation_id, "model": model} | times


def document(request: Json) -> Json:
    """Return the pages of a document, those that were asked for: a picture has one, a PDF as many as its bytes make."""
    told = request.get("document") or {}
    sent = str(told.get("document_url") or "").encode()
    asked = request.get("pages")
    there = 1 if told.get("type") == "image_url" else max(1, -(-len(sent) // _PAGE_BYTES))
    numbers = asked if isinstance(asked, list) else list(range(there))
    pages: list[Json] = [
        {"index": number, "markdown": "# A page", "images": [], "dimensions": None} for number in numbers
    ]
    reply: Json = {"model": str(request.get("model")), "pages": pages}
    if request.get("document_annotation_format"):
        reply["document_annotation"] = '{"kind": "letter"}'
    return reply | {"usage_info": {"pages_processed": len(pages), "doc_size_bytes": len(sent)}}


def transcript(request: Json, upload: bytes) -> Json:
    """Return the transcript of an upload, or of what an address names, which lasts a minute."""
    full = replies.transcription({"model": "whisper-1"}, upload)
    seconds = -(-int(full["duration"] * 100) // 100) if upload else 60
    written = replies.tokens_of(full["text"])
    counts = {"prompt_tokens": 4, "completion_tokens": written, "total_tokens": 4 + written + seconds * 13}
    return {
        "model": str(request.get("model")),
        "text": full["text"],
        "language": "en",
        "segments": [],
        "usage": counts | {"prompt_audio_seconds": seconds},
    }


def transcript_events(full: Json) -> Iterator[Json]:
    """Yield a transcript as the events of a stream: after three words a segment of 7.5 seconds, last the count."""
    yield {"type": "transcription.language", "audio_language": full["language"]}
    for number, piece in enumerate(replies.pieces_of(full["text"])):
        yield {"type": "transcription.text.delta", "text": piece}
        if number == 2:  # noqa: PLR2004 - as said above
            yield {"type": "transcription.segment", "text": full["text"], "start": 0.0, "end": 7.5}
    yield full | {"type": "transcription.done"}


def speech(request: Json) -> Json:
    """Return speech: sixteen bytes a character, in base64."""
    return {"audio_data": base64.b64encode(replies.speech_bytes(request)).decode("ascii")}


def speech_events(request: Json) -> Iterator[Json]:
    """Yield speech as the events of a stream, with its tokens in the last one."""
    sound = replies.speech_bytes(request)
    for start in range(0, len(sound), 256):
        yield {"type": "speech.audio.delta", "audio_data": base64.b64encode(sound[start : start + 256]).decode("ascii")}
    read = replies.tokens_of(str(request.get("input")))
    counts = {"prompt_tokens": read, "completion_tokens": read * 5, "total_tokens": read * 6}
    yield {"type": "speech.audio.done", "usage": counts}


def classes(request: Json, reply_id: str, *, is_moderation: bool) -> Json:
    """Return the classes of some texts: all are harmless. No usage is told."""
    asked = request.get("input")
    count = len(asked) if isinstance(asked, list) else 1
    one = {"categories": {"violence": False}, "category_scores": {"violence": 0.0}}
    result = one if is_moderation else {"mood": {"scores": {"calm": 1.0}}}
    return {"id": reply_id, "model": str(request.get("model")), "results": [result] * count}


def _tool(name: str, entry_id: str, model: str) -> Json:
    own = {"type": "tool.execution", "id": entry_id, "name": name, "model": model, "arguments": '{"query": "moon"}'}
    return own | {"object": "entry", "created_at": _AT, "completed_at": _AT, "info": {}}
