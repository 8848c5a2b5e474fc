"""Counting while a stream of OpenAI's comes in: what was received so far, and whether the provider's own count is in.

One tally for each kind of stream; events are objects or dictionaries. Pure. Refuses to keep any text: only its length.
"""

from __future__ import annotations

from typing import Any

from callfare.capture.dialect import Request, text_bytes
from callfare.capture.openai_replies import texts_in, texts_of_choice
from callfare.capture.tallies import Counting, ReplyTally, Tally
from callfare.usage.fields import field_of, members_of

_ENDS_OF_RESPONSES = {"response.completed", "response.incomplete", "response.failed", "response.cancelled"}
# What a delta was made of that is a word and nothing else.
_A_WORD = {"content"}
_TOLD = ("id", "model", "service_tier", "usage")
_PIECES_OF_RESPONSES = {
    "response.output_text.delta",
    "response.function_call_arguments.delta",
    "response.reasoning_text.delta",
    "response.reasoning_summary_text.delta",
}
_BEGINNINGS_OF_RESPONSES = {"response.created", "response.queued", "response.in_progress"}


class ChatTally(Counting):
    """Chunks of chat completions. The count comes last, without choices, and only where it was asked for."""

    __slots__ = ("_choices", "_ended", "_hides", "_told")

    def __init__(self, request: Request) -> None:
        super().__init__()
        self._choices = request.choices
        self._hides = request.hides_usage
        self._ended: set[object] = set()
        self._told: dict[str, object] = {}

    def takes_lightly(self, event: Any) -> bool:
        """Take in a chunk with a word of one choice and nothing else."""
        choices = event.choices
        if event.usage is not None or len(choices) != 1 or not self._told:
            return False
        choice = choices[0]
        delta = choice.delta
        text = delta.content
        if type(text) is not str or not text.isascii() or choice.finish_reason is not None:
            return False
        if delta.__pydantic_fields_set__ != _A_WORD and (
            delta.tool_calls is not None
            or delta.refusal is not None
            or delta.function_call is not None
            or delta.__pydantic_extra__
        ):
            return False
        self.written_bytes += len(text)
        return True

    def take(self, event: object) -> bool:
        """Take in a chunk."""
        chunk = members_of(event)
        used = chunk.get("usage")
        if used is None and "x_groq" in chunk:
            # Groq counts in a place of its own, and in the usual one only where it was asked to.
            used = field_of(chunk["x_groq"], "usage")
        choices = chunk.get("choices")
        if used is not None or not self._told:
            self._told |= {name: chunk[name] for name in _TOLD if chunk.get(name) is not None}
            self._told |= {} if used is None else {"usage": used}
            self.reply = self._told
        if choices:
            self._take_choices(choices)
        has_ended = len(self._ended) >= self._choices
        if used is not None:
            self.is_counted = True
            # Some providers count in every chunk; such a count is the whole one when all choices have ended.
            self.is_final = not choices or has_ended
        self.awaits_count = has_ended and not self.is_final
        return self._hides and not choices and (used is not None or has_ended)

    def _take_choices(self, choices: object) -> None:
        for choice in choices if isinstance(choices, list) else ():
            members = members_of(choice)
            if members.get("finish_reason") is not None:
                self._ended.add(members.get("index"))
            for text in texts_of_choice(members):
                self.written_bytes += text_bytes(text)


class ResponseTally(Counting):
    """Events of a response. The last one carries all of it."""

    __slots__ = ()

    def takes_lightly(self, event: Any) -> bool:
        """Take in an event with a piece of text."""
        if event.type not in _PIECES_OF_RESPONSES:
            return False
        text = event.delta
        if not text.isascii():
            return False
        self.written_bytes += len(text)
        return True

    def take(self, event: object) -> bool:
        """Take in an event."""
        kind = str(field_of(event, "type") or "")
        if kind in _ENDS_OF_RESPONSES:
            self.end(field_of(event, "response"))
        elif kind in _BEGINNINGS_OF_RESPONSES:
            self.reply = field_of(event, "response")
        elif kind.endswith(".delta") and not kind.endswith("audio.delta"):
            self.written_bytes += text_bytes(field_of(event, "delta"))
        return False


class SoundTally(Counting):
    """Events of a transcript or of speech. The last one carries the tokens."""

    __slots__ = ()

    def take(self, event: object) -> bool:
        """Take in an event."""
        if field_of(event, "type") in ("transcript.text.done", "speech.audio.done"):
            self.end({"usage": field_of(event, "usage")})
        return False


class ImageTally(Counting):
    """Events of images. Each finished one counts; the usage comes with the last."""

    __slots__ = ("_images", "_told")

    def __init__(self, request: Request) -> None:
        super().__init__()
        self._images = request.choices
        self._told: dict[str, object] = {}

    def take(self, event: object) -> bool:
        """Take in an event."""
        if not str(field_of(event, "type") or "").endswith(".completed"):
            return False
        told = {name: field_of(event, name) for name in ("usage", "size", "quality", "background", "output_format")}
        made = self._told.get("data", ())
        assert isinstance(made, tuple)
        self._told |= {name: value for name, value in told.items() if value is not None} | {"data": (*made, None)}
        self.reply = self._told
        self.is_counted = True
        self.is_final = len(made) + 1 >= self._images
        return False


def tally_of(request: Request) -> Tally:
    """Return an empty tally for the kind of reply a request will get."""
    if not request.is_evented:
        return ReplyTally(_written_in)
    match request.intent.operation:
        case "chat":
            return ChatTally(request)
        case "image":
            return ImageTally(request)
        case "transcription" | "speech":
            return SoundTally()
        case _:
            return ResponseTally()


def _written_in(reply: object) -> int:
    return sum(text_bytes(text) for text in texts_in(reply))
