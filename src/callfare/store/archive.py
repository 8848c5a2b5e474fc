"""Backups: every row of a ledger in one file that any store can be filled from.

A backup is gzip'd JSON Lines: a header; for each table a line with its columns, then a line `[row, seal]` for each
row in the order of the key; and a footer with the number of rows and a digest of all lines before it. A file that is
torn or altered has another digest, and is refused. Knows rows only: what they mean is not checked here.
"""

from __future__ import annotations

import gzip
import zlib
from collections import defaultdict
from contextlib import contextmanager
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import msgspec

from callfare.errors import BackupInvalid, Misconfigured
from callfare.ledger.rows import TABLES, Row
from callfare.store.files import new_file, unusable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from callfare.ledger.verify import Scan

FORMAT = 1
_DIGEST_BYTES = 32
_LINES_PER_WRITE = 500
_COMPRESSION = 4
_LINE_BYTES_MAX = 64 * 1024 * 1024
_BY_NAME = {table.table: table for table in TABLES}
_encode = msgspec.json.Encoder().encode
_T = TypeVar("_T")

Progress: TypeAlias = "Callable[[str, int], None]"


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup says of itself. taken_at: when it began, in RFC 3339; ledger: its address, without a password."""

    callfare_backup: int
    schema: int
    taken_at: str
    engine: str
    ledger: str


class Footer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a backup ends. digest: over all lines before this one, as hexadecimal digits."""

    rows: dict[str, int]
    digest: str


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What stands before the rows of a table."""

    table: str
    columns: list[str]


def write_archive(path: Path, header: Header, scan: Scan, progress: Progress | None = None) -> Footer:
    """Put all rows that a scan sees into a file, which is there when it is whole and on the disk, and not before.

    Raises Misconfigured when the file is there already or cannot be written.
    """
    with new_file(path) as file, gzip.GzipFile("", "wb", _COMPRESSION, file, mtime=0) as packed:
        digest = blake2b(digest_size=_DIGEST_BYTES)

        def write(lines: list[bytes]) -> None:
            text = b"".join(lines)
            digest.update(text)
            packed.write(text)

        write([_encode(header) + b"\n"])
        rows = {table.table: _write_table(table, scan, write, progress) for table in TABLES}
        footer = Footer(rows=rows, digest=digest.hexdigest())
        packed.write(_encode(footer) + b"\n")
    return footer


def _write_table(table: type[Row], scan: Scan, write: Callable[[list[bytes]], None], progress: Progress | None) -> int:
    write([_encode(_Section(table=table.table, columns=list(table.__struct_fields__))) + b"\n"])
    lines: list[bytes] = []
    count = 0
    for row, seal in scan(table):
        lines.append(b"[%b,%d]\n" % (_encode(row), seal))
        if len(lines) == _LINES_PER_WRITE:
            write(lines)
            count += len(lines)
            lines.clear()
            if progress is not None:
                progress(table.table, count)
    write(lines)
    if progress is not None:
        progress(table.table, count + len(lines))
    return count + len(lines)


class Archive:
    """A backup in a file. Opens it anew for each reading, and reads it at bounded memory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def check(self, progress: Progress | None = None) -> tuple[Header, Footer]:
        """Read the file to its end, and return its header and footer when it is whole.

        Raises BackupInvalid, Misconfigured when it cannot be read or a newer callfare has written it.
        """
        with self._opened() as lines:
            header = self._header(next(lines))
            # Before the digest is compared, a line may say anything.
            counts: defaultdict[str, int] = defaultdict(int)
            name = ""
            for line in lines:
                if line.startswith(b"["):
                    counts[name] += 1
                    if progress is not None and not counts[name] % _LINES_PER_WRITE:
                        progress(name, counts[name])
                elif line.startswith(b'{"table"'):
                    name = self._section(line).table
                    counts[name] += 0
            footer = lines.footer
        if footer.rows != counts:
            raise self._invalid("it has not the rows that its end tells of")
        return header, footer

    def rows(self) -> Iterator[tuple[Row, int]]:
        """Yield all rows with their seals, in the order in which they stand.

        Raises BackupInvalid when the file ends before its end, or is not what was written.
        """
        with self._opened() as lines:
            decode: msgspec.json.Decoder[Any] | None = None
            self._header(next(lines))
            for line in lines:
                if line.startswith(b"{"):
                    table = _BY_NAME[self._section(line).table]
                    decode = msgspec.json.Decoder(tuple[table, int])  # type: ignore[valid-type]  # one of ours
                elif decode is not None:
                    yield self._decoded(decode, line)

    @contextmanager
    def _opened(self) -> Iterator[_Lines]:
        try:
            with gzip.open(self.path) as packed:
                yield _Lines(packed, self)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise self._invalid(f"it is damaged, or was cut off: {error}") from error
        except OSError as error:
            raise unusable(error, self.path, "read") from error

    def _header(self, line: bytes) -> Header:
        try:
            header = msgspec.json.decode(line, type=Header)
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            raise self._invalid("it does not begin as one") from error
        if header.callfare_backup > FORMAT:
            raise Misconfigured(
                f"{self.path} is a backup of format {header.callfare_backup}, "
                f"this callfare knows {FORMAT}; upgrade callfare",
                param="file",
            )
        return header

    def _section(self, line: bytes) -> _Section:
        section = self._decoded(msgspec.json.Decoder(_Section), line)
        table = _BY_NAME.get(section.table)
        if table is None or section.columns != list(table.__struct_fields__):
            raise self._invalid(f"this callfare has no such table {section.table} with these columns")
        return section

    def _decoded(self, decoder: msgspec.json.Decoder[_T], line: bytes) -> _T:
        try:
            return decoder.decode(line)
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            raise self._invalid(f"a line of it cannot be read: {error}") from error

    def _invalid(self, reason: str) -> BackupInvalid:
        return BackupInvalid(f"{self.path} is no whole backup: {reason}; use another one", param="file")


class _Lines:
    """The lines of a backup up to its footer, which must have their digest."""

    def __init__(self, packed: gzip.GzipFile, archive: Archive) -> None:
        self._packed = packed
        self._archive = archive
        self._digest = blake2b(digest_size=_DIGEST_BYTES)
        self.footer: Footer

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> bytes:
        line = self._packed.readline(_LINE_BYTES_MAX)
        if not line.endswith(b"\n"):
            raise self._archive._invalid("it was cut off")  # noqa: SLF001 - of this file
        if line.startswith(b'{"rows"'):
            self._end(line)
            raise StopIteration
        self._digest.update(line)
        return line

    def _end(self, line: bytes) -> None:
        self.footer = self._archive._decoded(msgspec.json.Decoder(Footer), line)  # noqa: SLF001 - of this file
        if self.footer.digest != self._digest.hexdigest():
            raise self._archive._invalid("it was altered: its digest is another")  # noqa: SLF001 - of this file
        if self._packed.read(1):
            raise self._archive._invalid("something stands after its end")  # noqa: SLF001 - of this file
