"""What is said in a realtime session of OpenAI's: which messages ask for a response, which tell what one has used.

The model reads the whole conversation for each response, so a response that is cut off is estimated at what the one
before it read and wrote, what was sent since, and what came of it. Pure. Refuses to keep text or sound: only lengths.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from callfare.capture import realtime
from callfare.capture.base import Intent
from callfare.capture.dialect import bytes_for_model, plausible_usage, text_bytes, tokens_of_bytes, whole
from callfare.capture.messages import Brief, brief_of, message_of, text_of
from callfare.capture.realtime import RealtimeEvents
from callfare.capture.sessions import Message, Spent
from callfare.capture.settlements import Settlement
from callfare.capture.told import reading_of
from callfare.usage.extract import Reading, with_estimates
from callfare.usage.fields import field_of, first_of, label_of, list_of
from callfare.usage.quantities import Quantity

_READ_WHOLE = {
    realtime.RESPONSE_DONE,
    realtime.TRANSCRIPT_DONE,
    "session.created",
    "session.updated",
    "response.created",
    "error",
}
_ASKING = {"response.create", "conversation.item.create", "session.update"}
# As OpenAI counts sound: a token is a tenth of a second that it hears, and a twentieth of one that it speaks.
_HEARD_PER_S, _SPOKEN_PER_S = 10, 20
_WHOLES = ("input_tokens", "output_tokens")
_PCM_BYTES_PER_S, _G711_BYTES_PER_S = 48_000, 8_000


@dataclass(slots=True)
class _Received:
    """What came of a response so far, or what was sent since the last one, in bytes of text and of sound."""

    text: int = 0
    sound: int = 0


class RealtimeTalk:
    """What is said in one session."""

    __slots__ = (
        *("_base_url", "_conversation", "_events", "_heard", "_is_spoken", "_last", "_limit", "_open"),
        *("_provider", "_sent", "_sound_in", "_sound_out", "_waiting"),
    )

    def __init__(self, *, provider: str, base_url: str, model: str) -> None:
        self._provider = provider
        self._base_url = base_url
        self._events = RealtimeEvents(model)
        self._open: dict[str, _Received] = {}
        self._sent = _Received()
        self._last: Mapping[str, Quantity] = {}
        self._heard: Mapping[str, Quantity] = {}
        self._conversation = 0
        self._limit: int | None = None
        self._waiting = 0
        self._is_spoken = True
        self._sound_in = self._sound_out = _PCM_BYTES_PER_S

    def opening(self) -> Intent:
        """Return what is known before the socket opens: the model, unless it is a call's that is joined."""
        return self._intent("chat", self._events.model, {})

    def standing(self) -> Intent | None:
        """Return the next response or transcript, as much as the last one: the server starts them when it hears."""
        if self._events.model:
            return self._intent("chat", self._events.model, self._last)
        return self._intent("transcription", self._events.transcriber, self._heard)

    def asked(self, message: Message) -> Intent | None:
        """Return the response that a message asks for, with a bound of its tokens, or None."""
        brief = brief_of(message)
        if brief.type == "input_audio_buffer.append":
            self._sent.sound += brief.sound_bytes(brief.audio)
        if brief.type not in _ASKING:
            return None
        event = message_of(message)
        if brief.type != "response.create":
            self._take_sent(field_of(event, "item") or field_of(event, "session"))
            return None
        wanted = field_of(event, "response")
        self._waiting += 1
        return self._intent("chat", self._events.model, self._bound(wanted))

    def unasked(self, message: Message) -> None:
        """Forget the response that a message asked for, which was not sent."""
        self._waiting = max(self._waiting - 1, 0)

    def heard(self, message: Message) -> Sequence[Spent]:
        """Return what a message from the server says was used: by a response, or by a transcript."""
        brief = brief_of(message)
        if brief.type.endswith(".delta"):
            self._take_piece(brief)
        if brief.type not in _READ_WHOLE:
            return ()
        event = message_of(message)
        told = self._events.read(event)
        match brief.type:
            case realtime.RESPONSE_DONE:
                return [self._turn(field_of(event, "response"), told[1] if told else None)]
            case "response.created":
                self._waiting = max(self._waiting - 1, 0)
                self._open[label_of(field_of(field_of(event, "response"), "id"))] = _Received()
            case "error" if self._waiting:
                # The response that was asked for will not be made.
                self._waiting -= 1
                return [Spent(self.opening(), Settlement("release", self._nothing()))]
            case "session.created" | "session.updated":
                self._learn(field_of(event, "session"))
            case _:
                return [self._transcript(told[1])] if told else ()
        return ()

    def unfinished(self) -> Sequence[Spent]:
        """Return estimates of the responses that were begun and will not be finished."""
        left, self._open = self._open, {}
        return [self._cut(response_id, received) for response_id, received in left.items()]

    # What was used

    def _turn(self, response: object, told: Reading | None) -> Spent:
        response_id = label_of(field_of(response, "id"))
        received = self._open.pop(response_id, _Received())
        if told is None:
            # It failed or was cancelled, and nothing was counted.
            is_begun = received.text or received.sound
            return self._cut(response_id, received) if is_begun else self._free(response_id)
        is_counted = "calls" not in told.usage
        if is_counted and not told.incomplete:
            self._remember(told.usage)
            return Spent(self.opening(), Settlement("settle", told))
        counted = told.usage if is_counted else {}
        told = replace(told, usage=with_estimates(counted, self._estimate(received)))
        self._remember(told.usage)
        return Spent(self.opening(), Settlement("settle", told, estimated=True))

    def _cut(self, response_id: str, received: _Received) -> Spent:
        usage = self._estimate(received)
        reading = replace(self._nothing(response_id), usage=usage)
        self._remember(usage)
        return Spent(self.opening(), Settlement("settle", reading, estimated=True))

    def _free(self, response_id: str) -> Spent:
        return Spent(self.opening(), Settlement("release", self._nothing(response_id)))

    def _transcript(self, reading: Reading) -> Spent:
        intent = self._intent("transcription", reading.model, {})
        self._heard = reading.usage
        is_turn = not self._events.model
        return Spent(intent, Settlement("settle", reading, estimated=reading.incomplete), is_turn=is_turn)

    def _remember(self, usage: Mapping[str, Quantity]) -> None:
        self._last = usage
        self._conversation = int(usage.get("input_tokens", 0) + usage.get("output_tokens", 0))
        self._sent = _Received()

    # What may be used

    def _estimate(self, received: _Received) -> dict[str, Quantity]:
        spoken = -(-received.sound * _SPOKEN_PER_S // self._sound_out)
        return plausible_usage(
            self._input()
            | {"output_tokens": tokens_of_bytes(received.text) + spoken}
            | ({"output_audio_tokens": spoken} if spoken else {})
        )

    def _input(self) -> dict[str, object]:
        heard = -(-self._sent.sound * _HEARD_PER_S // self._sound_in)
        whole_input = self._conversation + tokens_of_bytes(self._sent.text) + heard
        told: dict[str, object] = {"input_tokens": whole_input}
        return told | {"input_audio_tokens": heard} if heard else told

    def _bound(self, wanted: object) -> dict[str, Quantity]:
        """Return the most that a response may use, where it can be told: it reads at least what the last one read."""
        self._sent.text += bytes_for_model([field_of(wanted, "instructions"), field_of(wanted, "input")])
        bound = plausible_usage(self._input())
        limit = whole(first_of(wanted, "max_output_tokens", "max_response_output_tokens")) or self._limit
        modes = first_of(wanted, "output_modalities", "modalities")
        is_spoken = self._is_spoken if modes is None else "audio" in list_of(modes)
        if limit is not None:
            bound |= plausible_usage({"output_tokens": limit} | ({"output_audio_tokens": limit} if is_spoken else {}))
        most = {name: max(bound.get(name, 0), self._last.get(name, 0)) for name in (*bound, *self._last)}
        wholes = {name: quantity for name, quantity in most.items() if name in _WHOLES}
        return with_estimates({name: most[name] for name in most if name not in _WHOLES}, wholes)

    def _intent(self, operation: str, model: str, usage: Mapping[str, Quantity]) -> Intent:
        return Intent(
            provider=self._provider,
            base_url=self._base_url,
            operation=operation,
            model=model,
            usage=usage,
            attributes={},
        )

    def _nothing(self, response_id: str = "") -> Reading:
        return reading_of({}, model=self._events.model, response_id=response_id)

    # What is said

    def _take_piece(self, brief: Brief) -> None:
        received = self._open.get(brief.response_id)
        if received is None:
            return
        if brief.type.endswith("audio.delta"):
            received.sound += brief.sound_bytes(brief.delta)
        else:
            received.text += text_bytes(text_of(brief.delta))

    def _take_sent(self, said: object) -> None:
        """Count what was put into the conversation."""
        for part in list_of(field_of(said, "content")):
            sound = field_of(part, "audio")
            if isinstance(sound, str):
                self._sent.sound += len(sound) * 3 // 4
            else:
                self._sent.text += bytes_for_model(part)
        self._sent.text += bytes_for_model([field_of(said, name) for name in ("instructions", "tools", "output")])

    def _learn(self, session: object) -> None:
        """Take over what a session is set to, as far as it is told."""
        sound = field_of(session, "audio")
        spoken = field_of(field_of(sound, "output"), "format") or field_of(session, "output_audio_format")
        listened = field_of(field_of(sound, "input"), "format") or field_of(session, "input_audio_format")
        self._sound_out = _bytes_per_s(spoken, self._sound_out)
        self._sound_in = _bytes_per_s(listened, self._sound_in)
        limit = first_of(session, "max_output_tokens", "max_response_output_tokens")
        if limit is not None:
            self._limit = whole(limit)
        modes = first_of(session, "output_modalities", "modalities")
        if modes is not None:
            self._is_spoken = "audio" in list_of(modes)


def _bytes_per_s(form: object, before: int) -> int:
    """Return how many bytes a second of sound has in this form; as before where none is told."""
    name = label_of(field_of(form, "type") or form)
    if not name:
        return before
    return _G711_BYTES_PER_S if name in ("audio/pcmu", "audio/pcma", "g711_ulaw", "g711_alaw") else _PCM_BYTES_PER_S
