"""What the stand-in for Gemini says in a live session: pure, from what was said in it so far. No sockets.

Four characters are a token, 1,280 bytes of sound that are heard (a twenty-fifth of a second), and 1,920 that are
spoken; a picture is 258. A turn reads all that was said, and thinks 64 tokens. Text with `turnComplete` begins a turn,
and so does silence: sound of nothing but zeros. Text that says "use a tool" is answered by a call of one, and what the
tool says begins a turn of its own. A count comes with the end of a turn, or, where the text says "count early", twice
before it.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from typing import Any

from callfare.devtools.forms import Json
from callfare.devtools.openai_replies import pieces_of, reply_text, tokens_of

_HEARD_BYTES, _SPOKEN_BYTES = 1280, 1920
_THOUGHT_TOKENS = 64
_PICTURE_TOKENS = 258


class Live:
    """One live session."""

    def __init__(self) -> None:
        self._is_spoken = True
        self._prompt = ""
        self._text = self._sound = self._pictures = 0

    def answer(self, message: Json) -> Iterator[Json]:
        """Yield what is said to a message, whichever way its names are written."""
        message = _camel(message)
        if "setup" in message:
            modes = (message["setup"].get("generationConfig") or {}).get("responseModalities") or ["AUDIO"]
            self._is_spoken = "AUDIO" in modes
            yield {"setupComplete": {"sessionId": "session_1"}}
        elif "clientContent" in message:
            content = message["clientContent"]
            for turn in content.get("turns") or []:
                for part in turn.get("parts") or []:
                    self._hear(part)
            if content.get("turnComplete"):
                yield from self._turn()
        elif "toolResponse" in message:
            self._prompt = str(message["toolResponse"])
            self._text += 10
            yield from self._turn()
        elif "realtimeInput" in message:
            heard = message["realtimeInput"]
            for blob in (heard.get("audio"), *(heard.get("mediaChunks") or [])):
                if blob and not any(base64.b64decode(blob["data"])):
                    yield from self._turn()
                elif blob:
                    self._hear({"inlineData": blob})

    def _hear(self, part: Json) -> None:
        if "text" in part:
            self._prompt = part["text"]
            self._text += tokens_of(part["text"])
        blob = part.get("inlineData") or {}
        if str(blob.get("mimeType")).startswith("audio/"):
            self._sound += -(-len(base64.b64decode(blob["data"])) // _HEARD_BYTES)
        elif blob:
            self._pictures += _PICTURE_TOKENS

    def _turn(self) -> Iterator[Json]:
        if "use a tool" in self._prompt:
            self._prompt = ""
            call = {"functionCalls": [{"id": "call_1", "name": "look", "args": {}}]}
            yield {"toolCall": call, "usageMetadata": self._usage(5, spoken=False)}
            return
        is_early = "count early" in self._prompt
        text = reply_text(self._prompt)
        pieces = pieces_of(text)
        written = len(pieces) if self._is_spoken else tokens_of(text)
        for number, piece in enumerate(pieces):
            sound = {"mimeType": "audio/pcm;rate=24000", "data": base64.b64encode(b"\1" * _SPOKEN_BYTES).decode()}
            part = {"inlineData": sound} if self._is_spoken else {"text": piece}
            told: Json = {"serverContent": {"modelTurn": {"role": "model", "parts": [part]}}}
            if is_early and number in (1, 2):
                told["usageMetadata"] = self._usage(number * 2, spoken=self._is_spoken)
            yield told
        used = self._usage(written, spoken=self._is_spoken)
        yield {"serverContent": {"generationComplete": True}}
        yield {"serverContent": {"turnComplete": True}, "usageMetadata": used}
        self._text += 0 if self._is_spoken else written
        self._sound += written if self._is_spoken else 0

    def _usage(self, written: int, *, spoken: bool) -> Json:
        counts = {"TEXT": self._text, "AUDIO": self._sound, "IMAGE": self._pictures}
        read = sum(counts.values())
        return {
            "promptTokenCount": read,
            "responseTokenCount": written,
            "thoughtsTokenCount": _THOUGHT_TOKENS,
            "totalTokenCount": read + written + _THOUGHT_TOKENS,
            "promptTokensDetails": [{"modality": kind, "tokenCount": count} for kind, count in counts.items() if count],
            "responseTokensDetails": [{"modality": "AUDIO" if spoken else "TEXT", "tokenCount": written}],
        }


def _camel(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Return JSON in which every name is written as Gemini writes it."""
    if isinstance(value, list):
        return [_camel(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {re.sub(r"_(.)", lambda found: found[1].upper(), name): _camel(one) for name, one in value.items()}
