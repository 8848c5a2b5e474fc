"""Listening to OpenAI's realtime sessions: `hear = fare.listener("openai_realtime")`, then `hear(event)` for each.

A session speaks over a web socket, which no wrapped client passes; its events tell what each response used, and each
transcript of what was said to it. One listener hears one session, for its events tell the model only once. Refuses
nothing: a session is under way when its events come. Refuses to import the SDK.
"""

from __future__ import annotations

from typing import Any

from callfare.capture.base import Meter, Unharmed
from callfare.capture.told import Teller, reading_of
from callfare.usage.extract import Reading
from callfare.usage.fields import field_of, label_of
from callfare.usage.openai import tokens_in

_HEARING = Unharmed("hear of a realtime session")
_SESSIONS = ("session.created", "session.updated")
RESPONSE_DONE = "response.done"
TRANSCRIPT_DONE = "conversation.item.input_audio_transcription.completed"
_UNDONE = ("failed", "cancelled")


def listener(meter: Meter, *, user: str | None = None) -> RealtimeListener:
    """Return a listener for one session."""
    return RealtimeListener(Teller(meter, user))


class RealtimeListener:
    """Records the responses and the transcripts of one session, from its events: the SDK's objects, or their JSON."""

    __slots__ = ("_events", "_teller")

    def __init__(self, teller: Teller) -> None:
        self._teller = teller
        self._events = RealtimeEvents()

    def __call__(self, event: Any) -> None:
        """Record what an event tells was used. Most events tell nothing. Never raises."""
        with _HEARING:
            told = self._events.read(event)
            if told is not None:
                self._teller.told(provider="openai", operation=told[0], reading=told[1])

    async def hear_async(self, event: Any) -> None:
        """Record what an event tells was used, without blocking the event loop."""
        with _HEARING:
            told = self._events.read(event)
            if told is not None:
                ticket = self._teller.begun(provider="openai", operation=told[0], model=told[1].model)
                await self._teller.ended_async(ticket, told[1])


class RealtimeEvents:
    """What the events of one session tell, one after another: objects of any major of the SDK, or their JSON.

    model, transcriber: what the session speaks with, and what writes down what it hears; empty until they are told.
    """

    __slots__ = ("model", "transcriber")

    def __init__(self, model: str = "") -> None:
        self.model = model
        self.transcriber = ""

    def read(self, event: object) -> tuple[str, Reading] | None:
        """Return which kind of call an event ends and what that used, or None for an event that ends none."""
        kind = field_of(event, "type")
        if kind in _SESSIONS:
            self._learn(field_of(event, "session"))
        elif kind == RESPONSE_DONE:
            response = field_of(event, "response")
            used = field_of(response, "usage")
            if used is None and field_of(response, "status") in _UNDONE:
                return None
            reply_id = label_of(field_of(response, "id"))
            return "chat", reading_of(tokens_in(used), model=self.model, response_id=reply_id, raw=used)
        elif kind == TRANSCRIPT_DONE:
            return "transcription", self._transcript(event)
        return None

    def _learn(self, session: object) -> None:
        """Take over which models a session speaks and listens with. A change tells only what has changed."""
        heard = field_of(field_of(field_of(session, "audio"), "input"), "transcription")
        heard = field_of(session, "input_audio_transcription") if heard is None else heard
        self.model = label_of(field_of(session, "model")) or self.model
        self.transcriber = label_of(field_of(heard, "model")) or self.transcriber

    def _transcript(self, event: object) -> Reading:
        used = field_of(event, "usage")
        counted = tokens_in(used)
        seconds = field_of(used, "seconds")
        if seconds is not None:
            counted["audio_seconds"] = seconds
        item = f"{label_of(field_of(event, 'item_id'))}/{field_of(event, 'content_index')}"
        needed = ("audio_seconds",) if seconds is not None else ("input_tokens", "output_tokens")
        return reading_of(counted, model=self.transcriber, response_id=item, raw=used, needed=needed)
