"""Exports: the rows of one kind as CSV or JSON Lines, in the order of their keys, one line each.

Amounts are exact decimal text with their unit in the column's name, times are RFC 3339 in UTC. The same ledger gives
the same bytes from any store. An export that was cut off goes on after its last whole line, which names the row it
tells of. In CSV, text that a spreadsheet would take for a formula has an apostrophe before it.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Protocol, runtime_checkable

import msgspec

from callfare.answers import Exported
from callfare.checks import check_choice, check_user
from callfare.clock import instant_of
from callfare.engine.exported import KINDS, Column, Kind
from callfare.engine.operations import Step, file_of
from callfare.errors import CallfareError, InvalidInput, InvalidTime
from callfare.ledger.rows import Entry, Transfer, User, lowest_key
from callfare.ledger.verify import Scan
from callfare.money import INT64_MAX
from callfare.store.files import unusable
from callfare.store.protocol import Store, UserNamed, UserOf

FORMATS = ("csv", "jsonl")
# What a spreadsheet may take for the beginning of a formula; and the apostrophe itself, so that it can be undone.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")
_LINES_PER_WRITE = 500
_KEY_LENGTH_MAX = 1024
_encode = msgspec.json.Encoder().encode


@runtime_checkable
class Exporter(Protocol):
    """What has somebody else read the rows: a server in front of a ledger."""

    def export_lines(self, export: Export, after: tuple[Any, ...] | None) -> Iterator[bytes]:
        """Yield a line for each row, of those that come after a key."""
        ...


class Export:
    """What is to be exported: a kind of row, in a format, of all users or one, in a window of time or in all.

    Raises InvalidInput, InvalidUser, InvalidTime.
    """

    def __init__(
        self,
        kind: str,
        *,
        format: str = "csv",
        user: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> None:
        self.kind: Kind = KINDS[check_choice(kind, "kind", tuple(KINDS))]
        self.format = check_choice(format, "format", FORMATS)
        self.user = None if user is None else check_user(user)
        self.since, self.until = since, until
        self._since_us = -INT64_MAX if since is None else instant_of(since, "since")
        self._until_us = INT64_MAX if until is None else instant_of(until, "until")
        if self._until_us < self._since_us:
            raise InvalidTime("until lies before since", param="until")

    def lines(self, store: Store, after: tuple[Any, ...] | None = None) -> Iterator[bytes]:
        """Yield a line for each row as the ledger stands now, of those that come after a key."""
        columns = self.kind.columns
        write = _csv_line if self.format == "csv" else _json_line
        with store.one_instant() as scan:
            account_id, user = None, None
            for row in self._rows(store, scan, after):
                if row.account_id != account_id:
                    account_id = row.account_id
                    user = _user_of(store, row)
                yield write(columns, [column.read(row) for column in columns[1:]], user)

    def head(self) -> bytes:
        """Return what stands before the first row."""
        if self.format == "jsonl":
            return b""
        return (",".join(column.name for column in self.kind.columns) + "\n").encode()

    def begin(self) -> bytes:
        """Return what every such export begins with."""
        return self.head() or f'{{"{self.kind.columns[0].name}":'.encode()

    def checked_key(self, text: str) -> tuple[Any, ...]:
        """Return the key that an export goes on after, from its JSON: a list, as `key_of` finds it.

        Raises InvalidInput.
        """
        try:
            found = msgspec.json.decode(text, type=list[int | str])
        except (msgspec.DecodeError, UnicodeEncodeError):
            found = []
        kinds = [kind for _, kind in self.kind.key]
        if [type(part) for part in found] != kinds or any(_is_beyond(part) for part in found):
            raise InvalidInput(f"after is no key of {self.kind.name}; give a list such as [1]", param="after")
        return tuple(found)

    def key_of(self, line: bytes) -> tuple[Any, ...]:
        """Return the key of the row that a line tells of.

        Raises InvalidInput when it is no line of such an export.
        """
        try:
            return tuple(kind(text) for text, kind in self._key_parts(line))
        except (ValueError, TypeError, KeyError, msgspec.DecodeError):
            raise InvalidInput(
                f"the file ends with a line that is none of {self.kind.name} as {self.format}; name another file",
                param="out",
            ) from None

    def _key_parts(self, line: bytes) -> list[tuple[Any, type[int | str]]]:
        names = [column.name for column in self.kind.columns]
        if self.format == "jsonl":
            found = msgspec.json.decode(line, type=dict[str, Any])
            return [(found[name], kind) for name, kind in self.kind.key if len(found) == len(names)] or [("", int)]
        (cells,) = csv.reader(io.StringIO(line.decode(), newline=""))
        found = dict(zip(names, cells, strict=True))
        return [(_without_apostrophe(found[name]), kind) for name, kind in self.kind.key]

    # Which rows

    def _rows(self, store: Store, scan: Scan, after: tuple[Any, ...] | None) -> Iterator[Any]:
        if self.user is None:
            rows = self._scanned(scan, after)
        elif self.kind.table is User:
            named = store.select(UserNamed(user=self.user))
            rows = iter([] if after else named)
        else:
            rows = self._of_user(store, scan, after)
        for row in rows:
            if self._since_us <= getattr(row, self.kind.at) < self._until_us:
                yield row

    def _of_user(self, store: Store, scan: Scan, after: tuple[Any, ...] | None) -> Iterator[Any]:
        for found in store.select(UserNamed(user=self.user or "")):
            assert isinstance(found, User), found
            least = lowest_key(self.kind.table)
            start = after or ((found.account_id, *least[1:]) if len(least) > 1 else (found.account_id - 1,))
            if start[0] not in {found.account_id, found.account_id - 1}:
                raise InvalidInput(f"the file ends with a row of another user than {self.user}", param="out")
            for row in self._scanned(scan, start):
                if row.account_id != found.account_id:
                    return
                yield row

    def _scanned(self, scan: Scan, after: tuple[Any, ...] | None) -> Iterator[Any]:
        table = self.kind.table
        rows = (row for row, _ in scan(table, None if after is None else (table.table, *after)))
        return _postings(rows, scan, after) if table is Entry else rows


class _Posting:
    """An entry with what is told of its transfer."""

    def __init__(self, entry: Entry, transfer: Transfer | None) -> None:
        self.account_id = entry.account_id
        self.seq = entry.seq
        self.position = entry.position
        self.account_kind = entry.account_kind
        self.grant_id = entry.grant_id
        self.amount_nanocredits = entry.amount_nanocredits
        self.kind = None if transfer is None else transfer.kind
        self.run_id = None if transfer is None else transfer.run_id
        self.reference = None if transfer is None else transfer.reference
        self.at_us = 0 if transfer is None else transfer.at_us


def _postings(entries: Iterator[Any], scan: Scan, after: tuple[Any, ...] | None) -> Iterator[_Posting]:
    """Yield entries with their transfers, both read once, side by side."""
    start = None if after is None else (Transfer.table, after[0], max(after[1], 1) - 1)
    transfers = (row for row, _ in scan(Transfer, start))
    transfer = next(transfers, None)
    for entry in entries:
        while transfer is not None and (transfer.account_id, transfer.seq) < (entry.account_id, entry.seq):
            transfer = next(transfers, None)
        is_its = transfer is not None and (transfer.account_id, transfer.seq) == (entry.account_id, entry.seq)
        yield _Posting(entry, transfer if is_its else None)


def _is_beyond(part: int | str) -> bool:
    """Tell whether no row can have this in its key."""
    if isinstance(part, int):
        return not -INT64_MAX <= part <= INT64_MAX
    return len(part) > _KEY_LENGTH_MAX or not part.isprintable()


def _user_of(store: Store, row: Any) -> str | None:  # noqa: ANN401 - any row of an account
    if isinstance(row, User):
        return row.user
    found = store.select(UserOf(account_id=row.account_id))
    return found[0].user if found and isinstance(found[0], User) else None


# One line


def _json_line(columns: tuple[Column, ...], values: list[Any], user: str | None) -> bytes:
    named: dict[str, Any] = {columns[0].name: user}
    for column, value in zip(columns[1:], values, strict=True):
        named[column.name] = msgspec.Raw(_in_one_line(value)) if column.is_json and value is not None else value
    return _encode(named) + b"\n"


def _csv_line(columns: tuple[Column, ...], values: list[Any], user: str | None) -> bytes:
    cells = [_with_apostrophe(user)]
    for column, value in zip(columns[1:], values, strict=True):
        cells.append(_with_apostrophe(value) if column.is_text else value)
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue().encode()


def _in_one_line(text: str) -> bytes:
    return msgspec.json.format(text.encode(), indent=-1) if "\n" in text or "\r" in text else text.encode()


def _with_apostrophe(text: str | None) -> str | None:
    return f"'{text}" if text and text.startswith(_FORMULA) else text


def _without_apostrophe(text: str) -> str:
    return text.removeprefix("'")


# To a file, or to whoever reads


def export_to(stream: BinaryIO, store: Store | Exporter, export: Export, progress: Step | None = None) -> int:
    """Write an export to a stream, and return how many rows it has. Needs memory for a few hundred rows.

    Nothing is written where the ledger cannot be read.
    """
    return _write(stream, export, _lines_of(store, export, None), progress, head=export.head())


def export_file(
    path: str | Path, store: Store | Exporter, export: Export, *, is_resumed: bool = False, progress: Step | None = None
) -> Exported:
    """Write an export to a new file. is_resumed: go on with one that was cut off, where there is one.

    Raises InvalidInput when the file is no such export, Misconfigured when it is there already or cannot be written.
    """
    file = file_of(path)
    try:
        with _opened(file, is_resumed=is_resumed) as stream:
            end, last, before = _cut(stream, export) if is_resumed else (0, b"", 0)
            after = export.key_of(last) if last else None
            stream.seek(end)
            stream.truncate()
            head = b"" if end else export.head()
            added = _write(stream, export, _lines_of(store, export, after), progress, head=head)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise unusable(error, file, "written") from error
    return Exported(
        path=str(file), kind=export.kind.name, format=export.format, row_count=before + added, resumed_after=before
    )


def _lines_of(store: Store | Exporter, export: Export, after: tuple[Any, ...] | None) -> Iterator[bytes]:
    return store.export_lines(export, after) if isinstance(store, Exporter) else export.lines(store, after)


def _write(stream: BinaryIO, export: Export, lines: Iterator[bytes], progress: Step | None, *, head: bytes) -> int:
    count = 0
    parts = _parts(lines)
    part = next(parts, [])
    stream.write(head)
    while part:
        stream.write(b"".join(part))
        # What was written is gone on from, should this process end here.
        stream.flush()
        count += len(part)
        if progress is not None:
            progress("exporting", export.kind.name, count)
        part = next(parts, [])
    return count


def _parts(lines: Iterator[bytes]) -> Iterator[list[bytes]]:
    """Yield lines by the five hundred; also those that have come when the rest cannot be had."""
    part: list[bytes] = []
    try:
        for line in lines:
            part.append(line)
            if len(part) == _LINES_PER_WRITE:
                yield part
                part = []
    except CallfareError:
        if part:
            yield part
        raise
    if part:
        yield part


@contextmanager
def _opened(file: Path, *, is_resumed: bool) -> Iterator[BinaryIO]:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | (0 if is_resumed else os.O_EXCL)
    with os.fdopen(os.open(file, flags, 0o600), "r+b") as stream:
        try:
            yield stream
        except BaseException:
            if not is_resumed and not stream.tell():
                # It was made here and nothing is in it: the next try must not take it for somebody's.
                file.unlink()
            raise


def _cut(stream: BinaryIO, export: Export) -> tuple[int, bytes, int]:
    """Return where the last whole line of a file ends, that line, and how many rows there are up to it."""
    end, last, rows = 0, b"", -1 if export.head() else 0
    for record in records(stream, is_quoted=export.format == "csv"):
        if rows == -1 and record != export.head():
            raise InvalidInput(
                f"the file does not begin as {export.kind.name} as {export.format}; name another file", param="out"
            )
        end += len(record)
        last = record if rows >= 0 else b""
        rows += 1
    if not end:
        # No whole line: what is there must at least be the beginning of one, or the file is somebody's.
        stream.seek(0)
        found = stream.read(len(export.begin()))
        if not export.begin().startswith(found):
            raise InvalidInput("the file is no export that was cut off; name another file", param="out")
    return end, last, max(rows, 0)


def records(lines: Iterable[bytes], *, is_quoted: bool) -> Iterator[bytes]:
    """Yield whole lines, each with its end; a line break in quotation marks ends none, and what has no end is left.

    lines: with their ends, such as a file.
    """
    begun = b""
    for line in lines:
        begun += line
        if line.endswith(b"\n") and not (is_quoted and begun.count(b'"') % 2):
            yield begun
            begun = b""
