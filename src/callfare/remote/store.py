"""The ledger behind a server, as the committer and the delivery see one: commands in, answers out, many at a time.

Reads no rows: what a server tells, it tells in answers, and those are read in reports.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing
from typing import Any, NoReturn, TypeVar

import msgspec

from callfare.engine.exporting import Export, records
from callfare.errors import CallfareError, Denied, LedgerUnavailable, Misconfigured, OnlyLocal
from callfare.finished import Kept
from callfare.ledger.commands import CloseRun, Command
from callfare.ledger.receipts import Receipt
from callfare.ledger.rows import Pk, Row
from callfare.ledger.verify import Scan
from callfare.remote.client import Client, lines_in
from callfare.remote.heard import answer_of
from callfare.remote.sent import facts_of
from callfare.store.protocol import Look, Query, Seen, Snapshot, StoreFacts
from callfare.store.upkeep import Upkeep

R = TypeVar("R", bound=Row)
Answer = Receipt | CallfareError

# A server takes a mebibyte; a batch that is smaller shares it with nobody's long wait.
_BYTES_MAX = 512 << 10
# What has happened already goes to the spool when the server is slow to take it: nobody has to wait for that.
_KEPT_WITHIN_S = 3.0
_encode = msgspec.json.Encoder().encode


class RemoteStore:
    """A store whose transactions happen behind a server."""

    max_batch = 500

    def __init__(self, client: Client) -> None:
        self._client = client

    def create(self) -> bool:
        """Return False: a server has its ledger from its own start on."""
        return False

    def apply(self, commands: Sequence[Command]) -> list[Answer]:
        """Have a server carry out commands in their order, and return an answer for each.

        Raises LedgerUnavailable and whatever else the server says of all of them, when none is known to be done.
        """
        answers: list[Answer] = []
        for batch in _batches(commands):
            try:
                answers += self._asked(batch)
            except CallfareError as error:
                if not answers:
                    raise
                # What came before was answered, and stands.
                return answers + [error for _ in commands[len(answers) :]]
        return answers

    def _asked(self, batch: Sequence[_Said]) -> list[Answer]:
        is_kept = all(isinstance(one.command, Kept) for one in batch)
        body = b"[" + b",".join(one.text for one in batch) + b"]"
        try:
            results = self._client.post_text("/commands", body, within_s=_KEPT_WITHIN_S if is_kept else None)["results"]
            answers = [answer_of(result) for result in results]
        except (Denied, Misconfigured) as error:
            if is_kept:
                raise _not_taken(error) from error
            raise
        except (KeyError, TypeError, ValueError) as fault:
            raise LedgerUnavailable(
                f"{self._client.address.shown} answers what cannot be understood: {fault!r}"
            ) from None
        if len(answers) != len(batch):
            raise LedgerUnavailable(f"{self._client.address.shown} answers {len(answers)} of {len(batch)} commands")
        return [_for(one.command, answer) for one, answer in zip(batch, answers, strict=True)]

    def close(self) -> None:
        """Give the connections back. Closing twice is harmless."""
        self._client.close()

    def export_lines(self, export: Export, after: tuple[Any, ...] | None) -> Iterator[bytes]:
        """Yield the rows that a server exports, after a key. One that is cut off is gone on with after its last row.

        Raises its refusal, LedgerUnavailable when it is cut off and no row came since it was the last time.
        """
        asked = {
            "userId": export.user,
            "format": export.format,
            "since": None if export.since is None else export.since.isoformat(),
            "until": None if export.until is None else export.until.isoformat(),
        }
        path = f"/export/{export.kind.name}"
        last = b""
        while True:
            key = export.key_of(last) if last else after
            before = last
            try:
                with closing(self._client.flow("GET", path, asked | {"after": _key_text(key)})) as parts:
                    lines = records(lines_in(parts), is_quoted=export.format == "csv")
                    if key is None and export.head() and next(lines, b"") != export.head():
                        raise Misconfigured(
                            "the server exports other columns than are known here; give both one version"
                        )
                    for last in lines:
                        yield last
            except LedgerUnavailable:
                if last == before:
                    raise
            else:
                return

    # What needs the ledger itself

    def snapshot(self, user: str) -> Snapshot | None:
        """Raise OnlyLocal."""
        del user
        self._refuse()

    def look(self, asked: Sequence[Look]) -> list[Seen]:
        """Raise OnlyLocal."""
        del asked
        self._refuse()

    def select(self, query: Query) -> list[Row]:
        """Raise OnlyLocal."""
        del query
        self._refuse()

    def select_all(self, queries: Sequence[Query]) -> list[list[Row]]:
        """Raise OnlyLocal."""
        del queries
        self._refuse()

    def scan(self, table: type[R], after: Pk | None = None) -> Iterator[tuple[R, int]]:
        """Raise OnlyLocal."""
        del table, after
        self._refuse()

    def one_instant(self) -> AbstractContextManager[Scan]:
        """Raise OnlyLocal."""
        self._refuse()

    def upkeep(self) -> Upkeep:
        """Raise OnlyLocal."""
        self._refuse()

    def facts(self) -> StoreFacts:
        """Raise OnlyLocal."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise OnlyLocal(
            f"that needs the ledger itself, and {self._client.address.shown} is a server in front of it; "
            "do it on the server's machine, with --db",
            param="url",
        )


class _Said:
    """A command with its text."""

    __slots__ = ("command", "text")

    def __init__(self, command: Command) -> None:
        self.command = command
        self.text = _encode(facts_of(command))


def _batches(commands: Sequence[Command]) -> Iterator[list[_Said]]:
    """Yield commands in requests that a server takes."""
    batch: list[_Said] = []
    size = 0
    for said in map(_Said, commands):
        # The end of a run whose account is not known is for a server that knows its beginning.
        is_blind = isinstance(said.command, CloseRun) and said.command.account_id is None
        if batch and (is_blind or size + len(said.text) > _BYTES_MAX):
            yield batch
            batch, size = [], 0
        batch.append(said)
        size += len(said.text)
    if batch:
        yield batch


def _key_text(key: tuple[Any, ...] | None) -> str | None:
    return None if key is None else _encode(key).decode()


def _for(command: Command, answer: Receipt | Exception) -> Answer:
    if isinstance(command, Kept) and isinstance(answer, Denied | Misconfigured):
        return _not_taken(answer)
    assert isinstance(answer, Receipt | CallfareError), answer
    return answer


def _not_taken(error: CallfareError) -> LedgerUnavailable:
    """Return what a finished call is told when the server takes none: it waits until that is put right."""
    return LedgerUnavailable(f"the server takes no usage from here ({error.code}): {error.message}")
