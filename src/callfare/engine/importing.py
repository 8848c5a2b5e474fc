"""Recording the usage events of a file: in its order, many to a commit, and what became of each row told.

An import that ended early is begun again from the first row: what was recorded is found under its key. With the file of
fates it goes on after the last row that has one. Refuses a file of fates that is another import's.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, BinaryIO, TypeAlias

import msgspec

from callfare.answers import Charge
from callfare.engine.imported_rows import Import
from callfare.engine.on_behalf import Told
from callfare.engine.operations import Step, file_of
from callfare.errors import CallfareError, InvalidInput, LedgerNotFound, LedgerUnavailable
from callfare.money import Credits, Usd
from callfare.store.files import unusable

_ROWS_PER_COMMIT = 500
_REFUSALS_TOLD = 20

# Takes calls, and returns a charge or a refusal for each.
Recorder: TypeAlias = Callable[[Sequence[Told | CallfareError]], Awaitable[list[Charge | CallfareError]]]

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedRow:
    """A row of an import that was not taken, and why. row: its place among the rows; line: where it begins; from 1."""

    row: int
    line: int
    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What became of the rows of a file that were read now; resumed_after: how many were passed over before.

    repeated: how many the ledger had already. spooled: how many wait for a ledger that is away. unpriced: how many of
    those taken have no price. credits, cost: of what was recorded or spooled now. refusals: the first few.
    """

    path: str
    row_count: int
    resumed_after: int
    recorded: int
    repeated: int
    spooled: int
    refused: int
    unpriced: int
    credits: Credits
    cost: Usd
    refusals: Sequence[RefusedRow]


@dataclass(slots=True)
class Count:
    """What became of the rows so far."""

    resumed_after: int = 0
    recorded: int = 0
    repeated: int = 0
    spooled: int = 0
    unpriced: int = 0
    refused: int = 0
    nanocredits: int = 0
    picousd: int = 0
    refusals: list[RefusedRow] = field(default_factory=list)

    def add(self, number: int, line: int, found: Charge | CallfareError) -> dict[str, Any]:
        """Count a row, and return its fate as it is written down."""
        if isinstance(found, CallfareError):
            self.refused += 1
            if len(self.refusals) < _REFUSALS_TOLD:
                self.refusals.append(RefusedRow(row=number, line=line, code=found.code, message=found.message))
            return {"row": number, "line": line, "fate": "refused", "error": found.facts()}
        fate = "spooled" if found.is_spooled else "repeated" if found.is_replay else "recorded"
        setattr(self, fate, getattr(self, fate) + 1)
        self.unpriced += found.status == "unpriced"
        if fate != "repeated":
            self.nanocredits += found.credits.nanocredits
            self.picousd += found.cost.picousd
        amounts = {"credits": str(found.credits), "cost_usd": str(found.cost)}
        return {"row": number, "line": line, "fate": fate, "charge": found.id, "status": found.status, **amounts}

    def answer(self, path: str) -> Imported:
        """Return what became of all rows."""
        return Imported(
            path=path,
            row_count=self.recorded + self.repeated + self.spooled + self.refused,
            resumed_after=self.resumed_after,
            recorded=self.recorded,
            repeated=self.repeated,
            spooled=self.spooled,
            refused=self.refused,
            unpriced=self.unpriced,
            credits=Credits.of_units(self.nanocredits),
            cost=Usd.of_units(self.picousd),
            refusals=tuple(self.refusals),
        )


class Fates:
    """The file that says what became of each row, a line of JSON for each, in their order."""

    def __init__(self, stream: BinaryIO, row_count: int) -> None:
        self._stream = stream
        self.row_count = row_count

    def add(self, fates: Sequence[dict[str, Any]]) -> None:
        """Write down what became of some rows."""
        self._stream.write(b"".join(_encode(fate) + b"\n" for fate in fates))
        # What was written is gone on from, should this process end here.
        self._stream.flush()
        self.row_count += len(fates)


async def import_rows(
    file: BinaryIO, wanted: Import, record: Recorder, *, fates: Fates | None, progress: Step | None
) -> Imported:
    """Record the rows of a file, in their order, many to a commit, and return what became of them.

    record: takes calls and returns a charge or a refusal for each. fates: where each row's is written, after its
    commit; rows that have theirs already are passed over.

    Raises InvalidInput for a header that cannot be used, LedgerNotFound, LedgerUnavailable; what was recorded stands.
    """
    count = Count(resumed_after=0 if fates is None else fates.row_count)
    rows = enumerate(wanted.rows(file), start=1)
    passed_over = sum(1 for _ in islice(rows, count.resumed_after))
    if passed_over < count.resumed_after:
        raise InvalidInput(
            f"the fates of {count.resumed_after} rows stand there, and the file has {passed_over}", param="fates"
        )
    while part := list(islice(rows, _ROWS_PER_COMMIT)):
        found = await record([wanted.told(placed) for _, placed in part])
        for one in found:
            if isinstance(one, LedgerNotFound | LedgerUnavailable):
                # That is no fate of a row: the next import finds it as it was.
                raise one
        told = [count.add(number, placed.line, one) for (number, placed), one in zip(part, found, strict=True)]
        if fates is not None:
            fates.add(told)
        if progress is not None:
            progress("importing", wanted.path, part[-1][0])
    return count.answer(wanted.path)


@contextmanager
def fates_in(path: str, *, is_resumed: bool) -> Iterator[Fates]:
    """Open a new file for fates, or go on with one that was cut off, for as long as the block lasts.

    Raises InvalidInput when the file holds something else, Misconfigured when it is there already or cannot be written.
    """
    file = file_of(path)
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | (0 if is_resumed else os.O_EXCL)
    try:
        stream = os.fdopen(os.open(file, flags, 0o600), "r+b")
    except OSError as error:
        raise unusable(error, file, "written") from error
    with stream:
        end = rows = 0
        for line in stream:
            if not line.endswith(b"\n"):
                break
            rows += 1
            _check_fate(line, rows)
            end += len(line)
        stream.seek(end)
        stream.truncate()
        yield Fates(stream, rows)


def _check_fate(line: bytes, number: int) -> None:
    try:
        is_next = _decode(line).get("row") == number
    except msgspec.MsgspecError:
        is_next = False
    if not is_next:
        raise InvalidInput(
            f"line {number} of the file is not the fate of row {number}; name another file", param="fates"
        )
