"""What the stand-in for OpenAI says in a session: pure, from what was said in it so far. No sockets.

Counts follow from what was said: four characters are a token, 4,800 bytes of sound that are heard (a tenth of a second)
and 2,400 that are spoken (a twentieth). A response reads all that was said, and what the one before it read is cached.
Where the server listens for pauses, silence (sound of nothing but zeros) ends what was said and starts a response. A
response with `"hold": "yes"` in its metadata is not done before it is cancelled.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from callfare.devtools.forms import Json
from callfare.devtools.openai_replies import pieces_of, reply_text, text_in, tokens_of

_HEARD_BYTES, _SPOKEN_BYTES = 4800, 2400
_BYTES_PER_S = 48_000
_PCM = {"type": "audio/pcm", "rate": 24_000}

NewId = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class _Said:
    """Tokens of text and of sound."""

    text: int = 0
    sound: int = 0

    def __add__(self, other: _Said) -> _Said:
        return _Said(self.text + other.text, self.sound + other.sound)

    @property
    def total(self) -> int:
        """All of them."""
        return self.text + self.sound


class Realtime:
    """One realtime session."""

    def __init__(self, model: str, new_id: NewId) -> None:
        self._new_id = new_id
        self._session: Json = {
            "type": "realtime",
            "object": "realtime.session",
            "id": new_id("sess"),
            "model": model,
            "output_modalities": ["audio"],
            "max_output_tokens": "inf",
            "audio": {
                "input": {"format": _PCM, "transcription": None, "turn_detection": {"type": "server_vad"}},
                "output": {"format": _PCM, "voice": "marin"},
            },
        }
        self._said = self._read = _Said()
        self._prompt = ""
        self._buffer = b""
        self._held: tuple[Json, Json] | None = None

    def opening(self) -> Iterator[Json]:
        """Yield what is said first."""
        yield {"type": "session.created", "session": self._session}

    def answer(self, event: Json) -> Iterator[Json]:
        """Yield what is said to an event."""
        match event.get("type"):
            case "session.update":
                self._session = _merged(self._session, event.get("session") or {})
                self._hear_text(str((event.get("session") or {}).get("instructions") or ""))
                yield {"type": "session.updated", "session": self._session}
            case "conversation.item.create":
                yield from self._item(event.get("item") or {})
            case "input_audio_buffer.append":
                yield from self._sound(base64.b64decode(str(event.get("audio") or "")))
            case "input_audio_buffer.commit":
                yield from self._committed()
            case "response.create" if self._held is not None:
                yield self._error(event, "conversation_already_has_active_response")
            case "response.create":
                yield from self._response(event.get("response") or {})
            case "response.cancel" if self._held is not None:
                (response, usage), self._held = self._held, None
                yield {"type": "response.done", "response": response | {"status": "cancelled", "usage": usage}}
            case _:
                yield self._error(event, "unknown_event")

    def _item(self, item: Json) -> Iterator[Json]:
        for part in item.get("content") or []:
            if "audio" in part:
                self._said += _Said(sound=-(-len(base64.b64decode(part["audio"])) // _HEARD_BYTES))
        self._hear_text(text_in(item))
        told = {"id": self._new_id("item"), "object": "realtime.item", "status": "completed"} | item
        yield {"type": "conversation.item.added", "previous_item_id": None, "item": told}

    def _sound(self, sound: bytes) -> Iterator[Json]:
        detection = self._session["audio"]["input"].get("turn_detection")
        if detection is None or any(sound):
            self._buffer += sound
            return
        yield from self._committed()
        yield from self._response({})

    def _committed(self) -> Iterator[Json]:
        item_id, heard = self._new_id("item"), self._buffer
        self._buffer = b""
        tokens = -(-len(heard) // _HEARD_BYTES)
        self._said += _Said(sound=tokens)
        yield {"type": "input_audio_buffer.committed", "previous_item_id": None, "item_id": item_id}
        asked = self._session["audio"]["input"].get("transcription")
        if asked:
            transcript = f"{tokens} tokens of sound"
            usage: Json = {"type": "duration", "seconds": len(heard) / _BYTES_PER_S}
            if asked.get("model") != "whisper-1":
                usage = _usage("input_token_details", _Said(sound=tokens), _Said(text=tokens_of(transcript)))
                usage |= {"type": "tokens"}
                del usage["output_token_details"]
            yield {
                "type": "conversation.item.input_audio_transcription.completed",
                "item_id": item_id,
                "content_index": 0,
                "transcript": transcript,
                "usage": usage,
            }

    def _response(self, asked: Json) -> Iterator[Json]:
        modes = asked.get("output_modalities") or self._session["output_modalities"]
        limit = asked.get("max_output_tokens", self._session["max_output_tokens"])
        self._hear_text(str(asked.get("instructions") or ""))
        text = reply_text(self._prompt)
        if isinstance(limit, int):
            text = text[: limit * 4 if modes == ["text"] else limit * 2]
        pieces = pieces_of(text)
        spoken = len(pieces) if "audio" in modes else 0
        if isinstance(limit, int) and spoken:
            spoken = min(spoken, limit - tokens_of(text))
        written = _Said(tokens_of(text), spoken)
        usage = _usage("input_token_details", self._said, written)
        usage["input_token_details"] |= _cached(self._read)
        self._read = self._said
        self._said += written
        response_id = self._new_id("resp")
        response: Json = {"object": "realtime.response", "id": response_id, "status": "in_progress", "output": []}
        response |= {"output_modalities": modes, "max_output_tokens": limit, "usage": None}
        yield {"type": "response.created", "response": response}
        place: Json = {"response_id": response_id, "item_id": self._new_id("item")}
        place |= {"output_index": 0, "content_index": 0}
        kind = "response.output_audio_transcript.delta" if spoken else "response.output_text.delta"
        for number, piece in enumerate(pieces):
            yield {"type": kind, "delta": piece, **place}
            if number < spoken:
                sound = base64.b64encode(b"\1" * _SPOKEN_BYTES).decode()
                yield {"type": "response.output_audio.delta", "delta": sound, **place}
        if (asked.get("metadata") or {}).get("hold"):
            self._held = response, usage
            return
        is_cut = isinstance(limit, int) and written.total >= limit
        done = {"status": "incomplete" if is_cut else "completed", "usage": usage}
        yield {"type": "response.done", "response": response | done}

    def _hear_text(self, text: str) -> None:
        self._prompt += text
        self._said += _Said(text=tokens_of(text))

    @staticmethod
    def _error(event: Json, code: str) -> Json:
        error = {"type": "invalid_request_error", "code": code, "message": f"The stand-in says {code}."}
        return {"type": "error", "error": error | {"event_id": event.get("event_id"), "param": None}}


def _usage(name: str, heard: _Said, written: _Said) -> Json:
    return {
        "total_tokens": heard.total + written.total,
        "input_tokens": heard.total,
        "output_tokens": written.total,
        name: {"text_tokens": heard.text, "audio_tokens": heard.sound, "image_tokens": 0},
        "output_token_details": {"text_tokens": written.text, "audio_tokens": written.sound},
    }


def _cached(read: _Said) -> Json:
    kinds = {"text_tokens": read.text, "audio_tokens": read.sound, "image_tokens": 0}
    return {"cached_tokens": read.total, "cached_tokens_details": kinds}


def _merged(old: Json, new: Json) -> Json:
    both: dict[str, Any] = dict(old)
    for name, value in new.items():
        former = both.get(name)
        both[name] = _merged(former or {}, value) if isinstance(value, dict) else value
    return both
