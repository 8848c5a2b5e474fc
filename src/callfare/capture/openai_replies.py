"""What follows from OpenAI's replies: which settlement a call has earned. Decides, and leaves the doing to the caller.

A reply with a count is charged by it; one without is charged by what can be seen of it, flagged as estimated. A job is
pending until its end is seen. Refuses to charge what the provider says it failed to do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from callfare.capture.base import Meter, Ticket
from callfare.capture.openai_requests import Request, text_bytes, tokens_of_bytes
from callfare.usage.extract import Reading, field_of, members_of, read, with_estimates
from callfare.usage.quantities import Quantity

_TEXTS = frozenset({"content", "refusal", "reasoning_content"})


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a call has earned: to be settled, to stay pending as a job, or to be released.

    is_job: the call is a job, whose end is told under its id.
    """

    kind: Literal["settle", "pend", "release"]
    reading: Reading
    estimated: bool = False
    is_job: bool = False


class Ending(Protocol):
    """Where a settlement goes."""

    def apply(self, settlement: Settlement) -> None:
        """Carry it out."""
        ...

    async def apply_async(self, settlement: Settlement) -> None:
        """Carry it out without blocking the event loop."""
        ...


@dataclass(frozen=True, slots=True)
class Ticketed:
    """The ending of a call that was admitted."""

    ticket: Ticket

    def apply(self, settlement: Settlement) -> None:
        """Settle, pend or release the ticket."""
        reading = settlement.reading
        if settlement.kind == "pend":
            self.ticket.pend(reading.response_id, reading)
        elif settlement.kind == "release":
            self.ticket.release()
        else:
            self.ticket.settle(reading, estimated=settlement.estimated)

    async def apply_async(self, settlement: Settlement) -> None:
        """Settle, pend or release the ticket without blocking the event loop."""
        reading = settlement.reading
        if settlement.kind == "pend":
            await self.ticket.pend_async(reading.response_id, reading)
        elif settlement.kind == "release":
            self.ticket.release()
        else:
            await self.ticket.settle_async(reading, estimated=settlement.estimated)


@dataclass(frozen=True, slots=True)
class Retold:
    """The ending of a call that was made earlier, perhaps elsewhere: its job ends, or its count is told again.

    user: the client's own, whose call it may have been.
    """

    meter: Meter
    provider: str
    base_url: str
    job_id: str
    user: str | None

    def apply(self, settlement: Settlement) -> None:
        """Settle the job, or let the meter compare the count with what it knows."""
        provider, base_url, reading = self.provider, self.base_url, settlement.reading
        if settlement.kind == "pend" or settlement.estimated:
            return
        if settlement.is_job:
            outcome: Literal["completed", "failed"] = "failed" if settlement.kind == "release" else "completed"
            self.meter.settle_job(
                provider=provider, base_url=base_url, job_id=self.job_id, outcome=outcome, reading=_retold(settlement)
            )
        elif settlement.kind == "settle":
            self.meter.observe(provider=provider, base_url=base_url, reading=reading, user=self.user)

    async def apply_async(self, settlement: Settlement) -> None:
        """As `apply`, without blocking the event loop."""
        provider, base_url, reading = self.provider, self.base_url, settlement.reading
        if settlement.kind == "pend" or settlement.estimated:
            return
        if settlement.is_job:
            outcome: Literal["completed", "failed"] = "failed" if settlement.kind == "release" else "completed"
            await self.meter.settle_job_async(
                provider=provider, base_url=base_url, job_id=self.job_id, outcome=outcome, reading=_retold(settlement)
            )
        elif settlement.kind == "settle":
            await self.meter.observe_async(provider=provider, base_url=base_url, reading=reading, user=self.user)


def _retold(settlement: Settlement) -> Reading | None:
    """Return the count a job's end tells: tokens, where there are any.

    Seconds were told when the job was accepted, and the end of an extended video tells those of the whole film.
    """
    is_counted = settlement.kind == "settle" and "video_seconds" not in settlement.reading.usage
    return settlement.reading if is_counted else None


def settlement_of(request: Request, reply: object, *, written_bytes: int | None = None) -> Settlement:
    """Return what a whole reply, or all that came of one, has earned.

    written_bytes: the text received in a stream; None to count the text in the reply.
    """
    intent = request.intent
    reading = read(intent.operation, reply, model=intent.model, usage=intent.usage, attributes=intent.attributes)
    if intent.operation == "video":
        return _settlement_of_video(request, reading, field_of(reply, "status"))
    is_job = intent.operation == "responses" and bool(field_of(reply, "background"))
    if not reading.incomplete:
        return Settlement("settle", reading, is_job=is_job)
    written = sum(text_bytes(text) for text in texts_in(reply)) if written_bytes is None else written_bytes
    status = field_of(reply, "status") if intent.operation == "responses" else None
    estimate = replace(reading, usage=_estimated_usage(request, reading, written))
    if is_job and status in ("queued", "in_progress") and reading.response_id:
        return Settlement("pend", estimate, is_job=True)
    if status in ("failed", "cancelled") and not written and not reading.usage:
        return Settlement("release", reading, is_job=is_job)
    return Settlement("settle", estimate, estimated=True, is_job=is_job)


def released(request: Request) -> Settlement:
    """Return the settlement of a call that failed before it used anything."""
    return Settlement("release", read(request.intent.operation, None, model=request.intent.model))


def texts_in(reply: object) -> Iterator[object]:
    """Yield the texts of a chat reply, of a chunk of one, or of a response."""
    for choice in _list_of(field_of(reply, "choices")):
        yield from texts_of_choice(members_of(choice))
    for item in _list_of(field_of(reply, "output")):
        yield field_of(item, "arguments")
        for part in (*_list_of(field_of(item, "content")), *_list_of(field_of(item, "summary"))):
            yield field_of(part, "text")
            yield field_of(part, "refusal")


def texts_of_choice(choice: Mapping[str, object]) -> list[object]:
    """Return the texts of one choice of a chat reply, or of a chunk of one."""
    message = choice.get("delta") or choice.get("message")
    if message is None:
        return [choice.get("text")]
    texts: list[object] = []
    for name, part in members_of(message).items():
        if not part or name == "role":
            continue
        if name in _TEXTS:
            texts.append(part)
        elif name in ("function_call", "audio"):
            texts.append(field_of(part, "arguments") or field_of(part, "transcript"))
        elif name == "tool_calls":
            texts += [field_of(field_of(call, "function"), "arguments") for call in _list_of(part)]
    return texts


def _list_of(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _settlement_of_video(request: Request, reading: Reading, status: object) -> Settlement:
    if request.keeps_quantity:
        reading = replace(reading, usage=dict(request.intent.usage))
    if status == "failed":
        return Settlement("release", reading, is_job=True)
    if status == "completed":
        return Settlement("settle", reading, is_job=True)
    if reading.response_id:
        return Settlement("pend", reading, is_job=True)
    return Settlement("settle", reading, estimated=True)


def _estimated_usage(request: Request, reading: Reading, written_bytes: int) -> dict[str, Quantity]:
    """Return what the reply counted, and for the rest what the request fixed and the text that came."""
    fixed = dict(request.intent.usage)
    if request.intent.operation in ("chat", "responses"):
        fixed["output_tokens"] = tokens_of_bytes(written_bytes)
    return with_estimates(reading.usage, fixed)
