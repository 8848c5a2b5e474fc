"""Results of batches: each line that was answered is a call of its own, charged at the batch rate when it is read.

What a batch used is known line by line, in the file of its results, and that file can be read more than once, by
several processes. So each line has an id made of its batch's and its own, and is charged once by it. Refuses to fetch
results that nobody asked for, and to charge lines that failed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from functools import partial

from msgspec.structs import replace

from callfare.capture.base import LOGGER, BatchLine, BatchName, Intent, Meter
from callfare.capture.batch_calls import BATCH_FILES
from callfare.capture.dialect import Answered, BatchAsked, Replies, Request
from callfare.capture.settlements import Settlement
from callfare.capture.tallies import Counting, Tally
from callfare.checks import RESPONSE_ID_LENGTH_MAX
from callfare.context import names_somebody
from callfare.usage.extract import read
from callfare.usage.fields import field_of

_LINE_BYTES_MAX = 64 * 1024 * 1024
_HEAD_BYTES = 64


class Results(Settlement, frozen=True, kw_only=True):
    """What the lines of a batch have earned, each with what it was asked for.

    name: what the batch is known by; None where these may be no results.
    """

    lines: tuple[tuple[Intent, Settlement], ...] = ()
    name: BatchName | None = None


@dataclass(frozen=True, slots=True)
class BatchReplies:
    """How results are read: as many replies of the provider's, told by one reply."""

    dialect: Replies
    asked: BatchAsked

    @property
    def takes_bytes(self) -> bool:
        """Whether what is read as bytes is to be shown as they come: it may be of any length."""
        return self.asked.is_file

    def tally_of(self, request: Request) -> Tally:
        """Return an empty tally: of a stream of results, or of a file of them."""
        return _ResultsTally() if request.is_stream else LinesTally(partial(self._lines_of, request), self.asked.mark)

    def settlement_of(self, request: Request, reply: object, *, written_bytes: int | None = None) -> Settlement:
        """Return what the lines have earned that came."""
        earned = reply if isinstance(reply, _Earned) else self._lines_of(request, _results_in(reply, self.asked.mark))
        lines = tuple(earned)
        name = self._name(request.intent)
        is_known = bool(lines) or not self.asked.is_file or len(name.ids) > 1
        return Results("settle", read("batch", None, model=""), lines=lines, name=name if is_known else None)

    def _lines_of(self, request: Request, results: Iterable[object]) -> Iterator[tuple[Intent, Settlement]]:
        """Yield what each of these results has earned that was answered."""
        for result in results:
            try:
                line = self.asked.line_of(result)
                if line is not None:
                    yield self._earned(request, line)
            except Exception:  # noqa: BLE001 - what is wrong with one line is no reason to lose the others
                LOGGER.exception("callfare could not read a result of batch %s", self.asked.batch_id)

    def _name(self, intent: Intent) -> BatchName:
        """Return what the batch is known by: its own id, and that of its file."""
        ids: tuple[str, ...] = (self.asked.batch_id,)
        batch_id = BATCH_FILES.batch_of(intent.base_url, self.asked.batch_id) if self.asked.is_file else None
        if batch_id is not None:
            ids = (batch_id, *ids)
        return BatchName(provider=intent.provider, base_url=intent.base_url, ids=ids)

    def _earned(self, request: Request, line: Answered) -> tuple[Intent, Settlement]:
        intent = replace(request.intent, operation=line.operation, model=self.asked.model)
        earned = self.dialect.settlement_of(replace(request, intent=intent, is_stream=False), line.reply)
        reading = replace(
            earned.reading,
            response_id=_line_name(line.told_as or self.asked.batch_id, line.line_id),
            attributes={**earned.reading.attributes, **self.asked.attributes},
        )
        return intent, replace(earned, reading=reading)


class _ResultsTally(Counting):
    """A stream of results. Each counts by itself, so one that is left has no count that is still to come."""

    __slots__ = ("_results",)

    def __init__(self) -> None:
        super().__init__()
        self._results: list[object] = []
        self.reply = self._results
        self.is_counted = True

    def take(self, event: object) -> bool:
        """Take in a result."""
        self._results.append(event)
        self.written_bytes = len(self._results)
        return False


class _Earned(list[tuple[Intent, Settlement]]):
    """What lines have earned that were read as they came."""


class LinesTally(Counting):
    """A file of results, whole or as its bytes come in. Each line is read when it is whole, and what it says not kept.

    earn: what results have earned. mark: a field that every line of such a file has; one that begins otherwise is of
    something else, and nothing more of it is read. A line too long to be read leaves the file unfinished.
    """

    __slots__ = ("_earn", "_earned", "_is_of_results", "_is_other", "_is_readable", "_is_too_long", "_line", "_mark")

    def __init__(self, earn: Callable[[Iterable[object]], Iterator[tuple[Intent, Settlement]]], mark: str) -> None:
        super().__init__()
        self._earn, self._mark = earn, mark
        self.reply = self._earned = _Earned()
        self._line = bytearray()
        self._is_readable = True
        self._is_of_results = self._is_other = self._is_too_long = False

    def take(self, event: object) -> bool:
        """Take in the next bytes, None for the end of the file, or all of it as the SDK has it."""
        if not isinstance(event, bytes | None):
            self._earned.extend(self._earn(_results_in(event, self._mark)))
            self.written_bytes, self.is_counted = len(self._earned), True
            return False
        *ended, rest = (b"\n" if event is None else event).split(b"\n")
        for end in ended:
            self._lengthen(end)
            self._take_line()
        self._lengthen(rest)
        self.is_counted = event is None and self._is_readable
        return False

    def _lengthen(self, piece: bytes) -> None:
        if self._is_other:
            return
        self._line += piece
        head = b"" if self._is_of_results else bytes(self._line[:_HEAD_BYTES]).strip()
        if head and not head.startswith(b"{"):
            self._is_other = True
        if len(self._line) > _LINE_BYTES_MAX:
            self._is_too_long = True
        if self._is_other or self._is_too_long:
            self._line.clear()

    def _take_line(self) -> None:
        line, self._line = bytes(self._line), bytearray()
        if self._is_too_long:
            LOGGER.warning("a line of a file is too long to be read for what it cost")
            self._is_too_long = self._is_readable = False
            return
        if self._is_other or not line.strip():
            return
        result = _object_in(line)
        if result is not None and self._mark in result:
            self._is_of_results = True
            self._earned.extend(self._earn([result]))
            self.written_bytes = len(self._earned)
        else:
            self._is_other = not self._is_of_results


@dataclass(frozen=True, slots=True)
class Delivered:
    """The ending of results that were read: each line is a call that was made earlier, and is refused no more.

    user: the client's own; None for whoever's run or user it is where they are read. They pay for
    what nobody made here.
    asked_in: the context they were asked for in, which counts where they are read in nobody's: what is left unfinished
    is settled in a thread that has none.
    """

    meter: Meter
    user: str | None
    asked_in: Context = field(default_factory=copy_context, repr=False, compare=False)

    def apply(self, settlement: Settlement) -> None:
        """Charge each line once."""
        name, lines, is_whole = _delivery_of(settlement)
        if name is not None:
            deliver = partial(self.meter.batches.deliver, name, lines, is_whole=is_whole, user=self.user)
            if names_somebody():
                deliver()
            else:
                self.asked_in.copy().run(deliver)

    async def apply_async(self, settlement: Settlement) -> None:
        """Charge each line once, without blocking the event loop; those that wait together share a commit."""
        name, lines, is_whole = _delivery_of(settlement)
        if name is not None:
            await self.meter.batches.deliver_async(name, lines, is_whole=is_whole, user=self.user)


def _delivery_of(settlement: Settlement) -> tuple[BatchName | None, list[BatchLine], bool]:
    """Return the batch, the lines that have earned something, and whether there are no others."""
    assert isinstance(settlement, Results), settlement
    lines = [
        BatchLine(intent=intent, reading=line.reading, estimated=_is_guess(line))
        for intent, line in settlement.lines
        if line.kind != "release"
    ]
    # What was left or broken off is marked as an estimate by whoever watched it.
    return settlement.name, lines, not settlement.estimated


def _is_guess(line: Settlement) -> bool:
    """Whether a line is charged by estimate: without a count, or as a job that is not said to have ended."""
    return line.estimated or line.kind == "pend"


def _results_in(reply: object, mark: str) -> Iterator[object]:
    """Yield the results of a reply: those of a stream, or the lines of a file, unless it is one of something else."""
    if isinstance(reply, list):
        yield from reply
        return
    if isinstance(reply, dict):
        # A file of one line is JSON as a whole.
        yield from [reply] if mark in reply else []
        return
    body = reply if isinstance(reply, str | bytes) else field_of(reply, "content")
    if isinstance(body, str):
        body = body.encode("utf-8", "surrogatepass")
    is_of_results = False
    for line in body.splitlines() if isinstance(body, bytes) else ():
        if not line.strip():
            continue
        result = _object_in(line)
        if result is not None and mark in result:
            is_of_results = True
            yield result
        elif not is_of_results:
            # Most files are none of results, and nothing of those is read beyond their first line.
            return


def _object_in(line: bytes) -> dict[str, object] | None:
    """Return the JSON object in a line, or None for any other line."""
    try:
        result = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return result if isinstance(result, dict) else None


def _line_name(batch_id: str, line_id: str) -> str:
    """Return what a line is known by, the same whenever and wherever it is read."""
    name = f"{batch_id}/{line_id}"
    if len(name) <= RESPONSE_ID_LENGTH_MAX and name.isprintable():
        return name
    return f"{batch_id[:128]}/{hashlib.sha256(line_id.encode('utf-8', 'surrogatepass')).hexdigest()}"
