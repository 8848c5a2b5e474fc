"""What is said over a web socket that speaks Responses: requests as they are posted, and the events of their streams.

The server starts nothing by itself, so each response is admitted as one that is posted. Requests of one lane are
answered in their order, lanes among each other in any. Refuses to keep text: only its length.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from callfare.capture.base import Intent
from callfare.capture.dialect import Dialect, Request
from callfare.capture.messages import brief_of, message_of
from callfare.capture.sessions import Message, Spent
from callfare.capture.tallies import Tally
from callfare.usage.fields import members_of

_PATH = "/responses"
_OPERATION = "responses"
# What is a part of the message and not of the request.
_AROUND = ("type", "event_id", "stream_id")


@dataclass(slots=True)
class _Lane:
    """What was asked for in a lane and has not begun, and the response that has."""

    waiting: deque[Request] = field(default_factory=deque)
    open: tuple[Request, Tally] | None = None


class ResponsesTalk:
    """What is said over one socket."""

    __slots__ = ("_base_url", "_dialect", "_lanes")

    def __init__(self, *, dialect: Dialect, base_url: str) -> None:
        self._dialect = dialect
        self._base_url = base_url
        self._lanes: dict[str | None, _Lane] = {}

    def opening(self) -> Intent:
        """Return what is known before the socket opens: each request tells its own model."""
        return self._bare().intent

    def standing(self) -> Intent | None:
        """Return None: the server starts nothing by itself."""
        return None

    def asked(self, message: Message) -> Intent | None:
        """Return the response that a message asks for, or None."""
        brief = brief_of(message)
        if brief.type != "response.create":
            return None
        fields = dict(members_of(message_of(message)))
        body = {name: value for name, value in fields.items() if name not in _AROUND}
        request = self._dialect.request_of(
            _PATH, operation=_OPERATION, base_url=self._base_url, body=body, options={}, is_stream=True
        )
        self._lane(brief.stream_id).waiting.append(request)
        return request.intent

    def unasked(self, message: Message) -> None:
        """Forget the response that a message asked for: it was not sent."""
        waiting = self._lane(brief_of(message).stream_id).waiting
        if waiting:
            waiting.pop()

    def heard(self, message: Message) -> Sequence[Spent]:
        """Return what a message from the server says was used: by the response that it ends."""
        brief = brief_of(message)
        lane = self._lane(brief.stream_id)
        event = message_of(message)
        if brief.type == "error":
            return self._refused(lane)
        if not brief.type.startswith("response."):
            return ()
        if brief.type in ("response.created", "response.queued") and lane.open is None:
            # A response that nobody asked for here goes on from one that was steered.
            request = lane.waiting.popleft() if lane.waiting else self._bare()
            lane.open = request, self._dialect.tally_of(request)
        if lane.open is None:
            return ()
        tally = lane.open[1]
        tally.take(event)
        if not tally.is_final:
            return ()
        return [self._ended(lane)]

    def unfinished(self) -> Sequence[Spent]:
        """Return estimates of the responses that were begun and will not be finished."""
        return [self._ended(lane) for lane in self._lanes.values() if lane.open is not None]

    def _refused(self, lane: _Lane) -> Sequence[Spent]:
        if lane.open is not None:
            return [self._ended(lane)]
        if not lane.waiting:
            return ()
        request = lane.waiting.popleft()
        nothing = self._dialect.settlement_of(request, None, written_bytes=0)
        return [Spent(request.intent, replace(nothing, kind="release"))]

    def _ended(self, lane: _Lane) -> Spent:
        assert lane.open is not None
        (request, tally), lane.open = lane.open, None
        settlement = self._dialect.settlement_of(request, tally.reply, written_bytes=tally.written_bytes)
        is_estimate = settlement.kind == "settle" and not tally.is_final
        return Spent(request.intent, replace(settlement, estimated=True) if is_estimate else settlement)

    def _lane(self, stream_id: str | None) -> _Lane:
        return self._lanes.setdefault(stream_id, _Lane())

    def _bare(self) -> Request:
        nothing: Mapping[str, object] = {}
        return self._dialect.bare_request(
            _OPERATION, base_url=self._base_url, body=None, options=nothing, is_stream=True
        )
