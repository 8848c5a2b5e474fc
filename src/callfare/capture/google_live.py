"""Live sessions of Gemini's, which its SDK opens over web sockets: what is said in them, and where they begin.

Each turn is a call of its own: it reads the whole conversation again, and its count says so. A count that repeats the
prompt of the one before it in a turn, and no less output, is the same count gone on; another one is another call of the
model within the turn, as after a tool. Refuses to import the SDK, and to keep text or sound: only lengths.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import wraps
from typing import Any

from msgspec.structs import replace

from callfare.capture.base import LOGGER, Intent, Meter, Unharmed, is_metered
from callfare.capture.dialect import bytes_for_model, plausible_usage, tokens_of_bytes
from callfare.capture.messages import message_of
from callfare.capture.sessions import Message, Session, Spent, Whose, carry_out, carry_out_async
from callfare.capture.settlements import Settlement
from callfare.capture.sockets import AsyncMeteredSocket
from callfare.usage.extract import Reading, read, with_estimates
from callfare.usage.fields import field_of, first_of, label_of, list_of, members_of
from callfare.usage.google import read_live
from callfare.usage.quantities import Quantity

_OPERATION = "chat"
_SOCKET = "_ws"
# As Gemini counts sound: 25 tokens a second. It hears 16 kHz and speaks 24 kHz, two bytes each.
_TOKENS_PER_S = 25
_HEARD_BYTES_PER_S, _SPOKEN_BYTES_PER_S = 32_000, 48_000
_ENDS = ("turnComplete", "toolCall")


class LiveTalk:
    """What is said in one session."""

    __slots__ = (
        *("_base_url", "_conversation", "_has_ended", "_last", "_model", "_provider", "_searches"),
        *("_sent_sound", "_sent_text", "_sound", "_text", "_used"),
    )

    def __init__(self, *, provider: str, base_url: str, model: str) -> None:
        self._provider = provider
        self._base_url = base_url
        self._model = model.rpartition("/")[2]
        self._last: Mapping[str, Quantity] = {}
        self._conversation = 0
        self._sent_text = self._sent_sound = 0
        self._used: dict[str, object] | None = None
        self._searches: dict[int, None] = {}
        self._text = self._sound = 0
        self._has_ended = False

    def opening(self) -> Intent:
        """Return what is known before the socket opens."""
        return self._intent({})

    def standing(self) -> Intent | None:
        """Return the next turn, as much as the last one: the server begins it when it hears a pause."""
        return self._intent(self._last)

    def asked(self, message: Message) -> Intent | None:
        """Return None: whatever is said to the server may begin a turn, and one is stood for already."""
        # The SDK writes some names as Python has them, and some as JSON has.
        said = message_of(message)
        content = first_of(said, "client_content", "clientContent")
        answer = first_of(said, "tool_response", "toolResponse")
        self._sent_text += bytes_for_model([field_of(content, "turns"), answer])
        heard = first_of(said, "realtime_input", "realtimeInput")
        self._sent_text += bytes_for_model(field_of(heard, "text"))
        blobs = [field_of(heard, "audio"), *list_of(first_of(heard, "media_chunks", "mediaChunks"))]
        self._sent_sound += sum(_sound_bytes(blob) for blob in blobs)
        return None

    def unasked(self, message: Message) -> None:
        """Do nothing: nothing is asked for by itself."""

    def heard(self, message: Message) -> Sequence[Spent]:
        """Return what a message from the server says was used: by the turn that it ends."""
        event = members_of(message_of(message))
        content = members_of(event.get("serverContent"))
        spent: list[Spent] = []
        if content.get("modelTurn") is not None and self._has_ended and self._used is None:
            # The turn before this one ended, and was never counted.
            spent += self._cut()
            self._begin()
        self._take(content)
        used = members_of(event.get("usageMetadata"))
        if used:
            if self._used is not None and not _goes_on(self._used, used):
                spent.append(self._turn())
            self._used = dict(used)
        if content.get("turnComplete") or event.get("toolCall") is not None:
            self._has_ended = True
        if self._has_ended and self._used is not None:
            spent.append(self._turn())
        return spent

    def unfinished(self) -> Sequence[Spent]:
        """Return an estimate of the turn that was begun and will not be finished."""
        return self._cut()

    # What was used

    def _turn(self) -> Spent:
        reading = self._reading()
        if reading.incomplete:
            reading = replace(reading, usage=with_estimates(reading.usage, self._estimate()))
        settlement = Settlement("settle", reading, estimated=reading.incomplete)
        self._remember(reading)
        return Spent(self._intent({}), settlement)

    def _cut(self) -> list[Spent]:
        if self._used is None and not self._text and not self._sound:
            return []
        reading = self._reading()
        reading = replace(reading, usage=with_estimates(reading.usage, self._estimate()))
        self._remember(reading)
        return [Spent(self._intent({}), Settlement("settle", reading, estimated=True))]

    def _reading(self) -> Reading:
        searches = {"groundingMetadata": {"webSearchQueries": [str(number) for number in self._searches]}}
        told = {"usageMetadata": self._used or {}, "modelVersion": self._model, "candidates": [searches]}
        return read(_OPERATION, told, model=self._model, reader=read_live)

    def _estimate(self) -> dict[str, Quantity]:
        heard = -(-self._sent_sound * _TOKENS_PER_S // _HEARD_BYTES_PER_S)
        spoken = -(-self._sound * _TOKENS_PER_S // _SPOKEN_BYTES_PER_S)
        told = {
            "input_tokens": self._conversation + tokens_of_bytes(self._sent_text) + heard,
            "input_audio_tokens": heard,
            "output_tokens": tokens_of_bytes(self._text) + spoken,
            "output_audio_tokens": spoken,
        }
        return plausible_usage(
            {name: count for name, count in told.items() if count or not name.endswith("audio_tokens")}
        )

    def _remember(self, reading: Reading) -> None:
        self._last = reading.usage
        self._conversation = int(reading.usage.get("input_tokens", 0) + reading.usage.get("output_tokens", 0))
        self._sent_text = self._sent_sound = 0
        self._begin()

    def _begin(self) -> None:
        self._used, self._searches = None, {}
        self._text = self._sound = 0
        self._has_ended = False

    def _take(self, content: Mapping[str, object]) -> None:
        for part in list_of(field_of(content.get("modelTurn"), "parts")):
            self._sound += _sound_bytes(field_of(part, "inlineData"))
            self._text += bytes_for_model(field_of(part, "text"))
        for query in list_of(field_of(content.get("groundingMetadata"), "webSearchQueries")):
            # Told again in every message of a turn; only their number is kept.
            self._searches[hash(str(query))] = None

    def _intent(self, usage: Mapping[str, Quantity]) -> Intent:
        return Intent(
            provider=self._provider,
            base_url=self._base_url,
            operation=_OPERATION,
            model=self._model,
            usage=usage,
            attributes={},
        )


def _goes_on(before: Mapping[str, object], used: Mapping[str, object]) -> bool:
    """Whether a count is the one before it, gone on."""
    written, now = before.get("responseTokenCount") or 0, used.get("responseTokenCount") or 0
    is_no_less = type(written) is int and type(now) is int and now >= written
    return before.get("promptTokenCount") == used.get("promptTokenCount") and is_no_less


def _sound_bytes(blob: object) -> int:
    """Return how many bytes of sound a blob has, in base64."""
    content = field_of(blob, "data")
    is_sound = label_of(first_of(blob, "mimeType", "mime_type")).startswith("audio/")
    return len(content) * 3 // 4 if is_sound and isinstance(content, str) else 0


def metered_connect(
    theirs: Callable[..., AbstractAsyncContextManager[Any]],
    meter: Meter,
    *,
    user: str | None,
    provider: str,
    base_url: str,
) -> Callable[..., AbstractAsyncContextManager[Any]]:
    """Return the SDK's `connect`, by which sessions are metered."""

    @wraps(theirs)
    def connect(*arguments: Any, **options: Any) -> AbstractAsyncContextManager[Any]:
        opened = theirs(*arguments, **options)
        if is_metered():
            return opened
        asked = inspect.signature(theirs).bind(*arguments, **options).arguments
        talk = LiveTalk(provider=provider, base_url=base_url, model=label_of(asked.get("model")))
        return _metered(opened, Session(talk), Whose(meter, user))

    return connect


@asynccontextmanager
async def _metered(opened: AbstractAsyncContextManager[Any], session: Session, whose: Whose) -> AsyncIterator[Any]:
    await carry_out_async(session.opening(), whose)
    try:
        async with opened as live:
            socket = getattr(live, _SOCKET, None)
            if socket is None:
                LOGGER.error("callfare does not know this kind of session: %s is not metered", type(live).__name__)
                yield live
                return
            metered = AsyncMeteredSocket(socket, session, whose)
            setattr(live, _SOCKET, metered)
            try:
                yield live
            finally:
                with Unharmed("close a session"):
                    await metered.close()
    finally:
        # Where the socket was closed this does nothing; where none was opened it does not wait.
        carry_out(session.ending(), whose)
