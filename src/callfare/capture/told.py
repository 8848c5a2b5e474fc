"""Calls that a framework made and tells of: litellm, LangChain, PydanticAI, OpenTelemetry, a function of one's own.

What is told is read like any reply, and recorded at whoever's cost the call was begun for. Refuses to count a reply
that another layer has metered, and to let a fault of ours into the framework.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from callfare.capture.base import Intent, Meter, Ticket, Unharmed
from callfare.capture.providers import ALIASES
from callfare.capture.recent import RECENT
from callfare.usage.extract import Reading, read
from callfare.usage.fields import Counted
from callfare.usage.quantities import Quantity

_TELLING = Unharmed("record a call it was told of")


@dataclass(frozen=True, slots=True)
class Teller:
    """Records calls that it is told of.

    user: who pays where neither a run nor the context says so.
    """

    meter: Meter
    user: str | None

    def begun(self, *, provider: str, operation: str, model: str, base_url: str = "") -> Ticket | None:
        """Return a ticket for a call that begins now, or None where there can be none."""
        intent = Intent(
            provider=ALIASES.get(provider, provider),
            base_url=base_url,
            operation=operation,
            model=model,
            usage={},
            attributes={},
        )
        with _TELLING:
            return self.meter.accept(intent, user=self.user)
        return None

    def ended(self, ticket: Ticket | None, reading: Reading) -> None:
        """Record what a call used, unless another layer has."""
        with _TELLING:
            if ticket is None:
                return
            if RECENT.claim(reading.response_id):
                ticket.settle(reading, estimated=reading.incomplete)
            else:
                ticket.release()

    async def ended_async(self, ticket: Ticket | None, reading: Reading) -> None:
        """Record what a call used, unless another layer has, without blocking the event loop."""
        with _TELLING:
            if ticket is None:
                return
            if RECENT.claim(reading.response_id):
                await ticket.settle_async(reading, estimated=reading.incomplete)
            else:
                ticket.release()

    def failed(self, ticket: Ticket | None) -> None:
        """Let a call go that failed, or that another layer meters."""
        with _TELLING:
            if ticket is not None:
                ticket.release()

    def told(self, *, provider: str, operation: str, reading: Reading, base_url: str = "") -> None:
        """Record a call that is over, unless another layer has."""
        ticket = self.begun(provider=provider, operation=operation, model=reading.model, base_url=base_url)
        self.ended(ticket, reading)


def reading_of(
    usage: Mapping[str, object],
    *,
    model: str,
    response_id: str = "",
    attributes: Mapping[str, object] | None = None,
    needed: tuple[str, ...] = ("input_tokens", "output_tokens"),
    raw: object = None,
) -> Reading:
    """Return what a framework says was used, checked as a provider's reply is.

    raw: the object it said it in, of which counts and labels are kept.
    """

    def told(_reply: object, _fixed: Mapping[str, Quantity]) -> Counted:
        # A function of the caller's may have returned anything.
        counted = {name: count for name, count in dict(usage).items() if count is not None}
        return Counted(counted, needed, attributes=attributes or {}, response_id=response_id or None)

    reading = read("told", {"model": model or None, "usage": raw}, model=model, reader=told)
    return reading if reading.usage else read("told", None, model=model, usage={"calls": 1})
