"""Cohere's batches and embedding jobs: admitted when they are made, charged once when they are told to have ended.

Both read a dataset and write one; what they used is told as a whole, by the job itself, so each is one call. It is kept
as a batch of one line is, and belongs to whoever made it, whoever asks about it. Refuses to look into datasets, and
through lists of jobs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

from msgspec.structs import replace

from callfare.capture.base import READING, BatchOutcome, Intent, is_metered
from callfare.capture.batch_calls import BatchNotes, Hearing, Making, noted
from callfare.capture.batches import BatchReplies, Delivered, Results
from callfare.capture.cohere_dialect import CohereDialect
from callfare.capture.dialect import IN_BATCH, Answered, BatchAsked, BatchTold, Request, bare_intent
from callfare.capture.methods import MethodCalls
from callfare.capture.settlements import Ending, Settlement
from callfare.capture.single import SETTLING, send, send_async
from callfare.usage.fields import field_of

JOBS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {"batches": ("create", "retrieve"), "embed_jobs": ("create", "get")}
)
"""The parts of a client that make jobs: by which method, and by which one asks about them."""

# A job is a batch of one line, of this id.
_LINE = "all"
_EMBEDDING = "embed"
_ENDED: Mapping[str, BatchOutcome] = {
    "complete": "completed",
    "BATCH_STATUS_COMPLETED": "completed",
    "failed": "failed",
    "BATCH_STATUS_FAILED": "failed",
    "cancelled": "cancelled",
    "BATCH_STATUS_CANCELED": "cancelled",
}
_DIGITS_MAX = 18


@dataclass(frozen=True, slots=True)
class Told:
    """What was told of a job. used: as the reply to one call tells it, None for nothing; outcome: None till it ends."""

    job_id: str
    model: str
    used: Mapping[str, object] | None
    outcome: BatchOutcome | None


def told_by(part: str, reply: object) -> Told | None:
    """Return what a reply tells of a job, None where it is none."""
    job = field_of(reply, "batch") if part == "batches" else reply
    job_id = field_of(job, "id" if part == "batches" else "job_id")
    if not isinstance(job_id, str) or not job_id:
        return None
    status = field_of(job, "status")
    outcome = _ENDED.get(status) if isinstance(status, str) else None
    used = _used_in(job) if part == "batches" else {"meta": field_of(job, "meta")}
    is_used = outcome == "completed" or (outcome is not None and any(_billed_in(used)))
    return Told(job_id, str(field_of(job, "model") or ""), used if is_used else None, outcome)


def _used_in(batch: object) -> Mapping[str, object]:
    """Return the tokens of a batch as a reply tells them: here they come as text."""
    counts = {name: _count_in(field_of(batch, name)) for name in ("input_tokens", "output_tokens")}
    if operation_of(str(field_of(batch, "model"))) == "embedding":
        del counts["output_tokens"]
    return {"usage": {"billed_units": counts}}


def _count_in(text: object) -> object:
    if isinstance(text, str) and text.isascii() and text.isdecimal() and len(text) <= _DIGITS_MAX:
        return int(text)
    return None


def _billed_in(used: Mapping[str, object]) -> Iterator[object]:
    for told in used.values():
        units = field_of(told, "billed_units")
        for name in ("input_tokens", "output_tokens", "images", "image_tokens"):
            yield field_of(units, name)


def operation_of(model: str) -> str:
    """Return which kind of call a batch of a model's makes: its requests stand in a dataset, and nobody tells."""
    return "embedding" if model.startswith(_EMBEDDING) else "chat"


@dataclass(frozen=True, slots=True)
class JobCalls:
    """One part of a client that makes jobs."""

    calls: MethodCalls
    dialect: CohereDialect
    part: str

    def make(self, below: Callable[..., Any], /, *rest: Any, **fields: Any) -> Any:
        """Make a job as the SDK does, admitted before and bound after. Raises Refused."""
        if is_metered():
            return below(*rest, **fields)
        request, intents = self._making(fields)
        intent = request.intent
        ticket = self.calls.meter.batches.admit(intents, provider=intent.provider, user=self.calls.user)
        ending = Making(ticket, intent.provider, intent.base_url)
        return send(request, self.calls, ending, partial(below, *rest, **fields))

    async def make_async(self, below: Callable[..., Awaitable[Any]], /, *rest: Any, **fields: Any) -> Any:
        """As `make`, without blocking the event loop."""
        if is_metered():
            return await below(*rest, **fields)
        request, intents = self._making(fields)
        intent = request.intent
        ticket = await self.calls.meter.batches.admit_async(intents, provider=intent.provider, user=self.calls.user)
        ending = Making(ticket, intent.provider, intent.base_url)
        return await send_async(request, self.calls, ending, partial(below, *rest, **fields))

    def ask(self, below: Callable[..., Any], /, *rest: Any, **fields: Any) -> Any:
        """Ask about a job as the SDK does; that it ended, and what it used, is noticed."""
        reply = below(*rest, **fields)
        with SETTLING:
            for ending, settlement in self._news(self.calls.content_of(reply)):
                ending.apply(settlement)
        return reply

    async def ask_async(self, below: Callable[..., Awaitable[Any]], /, *rest: Any, **fields: Any) -> Any:
        """As `ask`, without blocking the event loop."""
        reply = await below(*rest, **fields)
        with SETTLING:
            for ending, settlement in self._news(self.calls.content_of(reply)):
                await ending.apply_async(settlement)
        return reply

    def _making(self, fields: Mapping[str, Any]) -> tuple[Request, list[Intent]]:
        """Return the request that makes a job, and the call it is, of which nothing is known but its model."""
        request = replace(self._request("batch"), dialect=BatchNotes(self.dialect, self._made))
        with READING:
            asked = fields.get("request") if self.part == "batches" else fields
            model = str(field_of(asked, "model") or "")
            intent = self._request(self._operation(model)).intent
            return request, [replace(intent, model=model, attributes=self._attributes)]
        return request, []

    def _made(self, reply: object) -> BatchTold | None:
        told = told_by(self.part, reply)
        return None if told is None else BatchTold((told.job_id,))

    def _news(self, reply: object) -> Iterator[tuple[Ending, Settlement]]:
        """Yield what a reply tells of a job that has ended."""
        told = told_by(self.part, reply)
        if told is None or told.outcome is None:
            return
        request = self._request("batch")
        if told.used is not None:
            yield Delivered(self.calls.meter, self.calls.user), self._earned(request, told)
            return
        intent = request.intent
        hearing = Hearing(self.calls.meter, intent.provider, intent.base_url)
        yield hearing, noted(BatchTold((told.job_id,), told.outcome))

    def _earned(self, request: Request, told: Told) -> Results:
        """Return what a job has earned. Whether one that ended before its end is paid for nobody tells."""

        def line_of(used: object) -> Answered:
            return Answered(_LINE, self._operation(told.model), used)

        asked = BatchAsked(
            batch_id=told.job_id, mark="", line_of=line_of, model=told.model, attributes=self._attributes
        )
        results = BatchReplies(self.dialect, asked).settlement_of(request, [told.used])
        assert isinstance(results, Results), results
        if told.outcome == "completed":
            return results
        return replace(results, lines=tuple((intent, replace(line, estimated=True)) for intent, line in results.lines))

    def _operation(self, model: str) -> str:
        return operation_of(model) if self.part == "batches" else "embedding"

    @property
    def _attributes(self) -> Mapping[str, str]:
        """What selects the rates: an embedding job is sold as embeddings are."""
        return IN_BATCH if self.part == "batches" else {}

    def _request(self, operation: str) -> Request:
        base_url = str(self.calls.given._client_wrapper.get_base_url())
        return Request(
            intent=bare_intent(self.dialect.provider_at(base_url), operation, base_url), dialect=self.dialect
        )
