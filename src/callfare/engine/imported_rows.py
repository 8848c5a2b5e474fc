"""Usage events from a file, CSV or JSON Lines: each row is recorded once, however often its file is read.

A row stands under its `key`, its `response_id`, or its `step` with its `ordinal`; one that has none of them under the
import's name and the line of the file that it begins on, so that a row put right moves no other. A row that cannot be
taken is refused by itself, with its reason. Refuses columns that nothing here knows, and text that is not UTF-8.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Annotated, Any, BinaryIO, NamedTuple

import msgspec

from callfare.checks import check_choice, check_text
from callfare.engine.on_behalf import Told
from callfare.engine.requests import Call
from callfare.errors import CallfareError, InvalidInput
from callfare.usage.meters import METERS

FORMATS = ("csv", "jsonl")
_ROW_BYTES_MAX = 1 << 20
_ATTRIBUTE = "attributes."
_OBJECTS = ("usage", "attributes", "metadata")


class Row(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A usage event as a file tells it; what is not told stands as None."""

    model: str
    usage: dict[str, Any]
    user: str | None = None
    run_id: str | None = None
    attributes: dict[str, str] | None = None
    operation: str | None = None
    provider: str | None = None
    response_id: str | None = None
    step: str | None = None
    ordinal: int = 1
    key: str | None = None
    metadata: dict[str, Any] | None = None
    at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class Placed(NamedTuple):
    """A row, or its refusal, and the line of the file that it begins on, from 1."""

    line: int
    row: Row | InvalidInput


_FIELDS = {part.name for part in msgspec.structs.fields(Row)}
_decode = msgspec.json.Decoder(Row, float_hook=Decimal).decode
_decode_object = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """What is to be read. user: of rows that name none. name: stands in the keys of rows that have none of their own.

    Raises InvalidInput for another format, and a name that is no text of 1 to 128 characters.
    """

    path: str
    format: str
    name: str
    user: str | None = None

    def __post_init__(self) -> None:
        check_choice(self.format, "format", FORMATS)
        check_text(self.name, "name", length_max=128)

    def rows(self, file: BinaryIO) -> Iterator[Placed]:
        """Yield the rows of a file with the lines they begin on, one that cannot be understood as its refusal.

        Raises InvalidInput for a header that cannot be used.
        """
        return _lines(file) if self.format == "jsonl" else _records(file)

    def told(self, placed: Placed) -> Told | CallfareError:
        """Return a row as the call that it tells of."""
        row = placed.row
        if isinstance(row, InvalidInput):
            return row
        user = row.user if row.user is not None else self.user if row.run_id is None else None
        if user is None and row.run_id is None:
            return InvalidInput("the row names neither its user nor its run_id; give one of them", param="user")
        is_named = row.key is not None or row.step is not None or bool(row.response_id)
        call = Call(
            model=row.model,
            usage=row.usage,
            operation=row.operation or "",
            attributes=row.attributes,
            provider=row.provider or "",
            response_id=row.response_id,
            step=row.step,
            ordinal=row.ordinal,
            key=row.key if is_named else f"import:{self.name}:{placed.line}",
            metadata=row.metadata,
            at=row.at,
        )
        return Told(call=call, user=user, run_id=row.run_id)


def format_of(path: str, given: str | None) -> str:
    """Return the format of a file: as given, else by the end of its name.

    Raises InvalidInput where neither tells.
    """
    if given is not None:
        return check_choice(given, "format", FORMATS)
    found = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}.get(Path(path).suffix.lower())
    if found is None:
        raise InvalidInput(f"{path[:255]!r} does not say its format by its name; give --format", param="format")
    return found


# Reading


def _lines(file: BinaryIO) -> Iterator[Placed]:
    lines = _Lines(file)
    while True:
        try:
            text = next(lines).strip()
        except StopIteration:
            return
        except _TooLong as error:
            yield Placed(lines.count, InvalidInput(str(error), param="row"))
        else:
            if text:
                yield Placed(lines.count, _understood(_decode, text))


def _records(file: BinaryIO) -> Iterator[Placed]:
    csv.field_size_limit(_ROW_BYTES_MAX)
    lines = _Lines(file)
    # A byte that is no UTF-8 becomes half a character, which no name or quantity may hold.
    texts = map(partial(bytes.decode, encoding="utf-8", errors="surrogateescape"), lines)
    records = _read(csv.reader(texts, strict=True), lines)
    _, header = next(records, (1, []))
    if isinstance(header, InvalidInput):
        raise header
    _check_header(header)
    for line, record in records:
        if isinstance(record, InvalidInput):
            yield Placed(line, record)
        elif record and len(record) != len(header):
            refusal = InvalidInput(f"the row has {len(record)} cells and the header {len(header)}", param="row")
            yield Placed(line, refusal)
        elif record:
            yield Placed(line, _understood(lambda cells: _row_of(dict(zip(header, cells, strict=True))), record))


class _TooLong(csv.Error):
    """A line is too long to be read; the next is not."""


class _Lines:
    """The lines of a file, without the marks of UTF-8 that begin them. count: how many there were so far."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.count = 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        """Return the next line. Raises _TooLong, after which the next can be asked for."""
        line = self._file.readline(_ROW_BYTES_MAX)
        if not line:
            raise StopIteration
        self.count += 1
        if len(line) == _ROW_BYTES_MAX and not line.endswith(b"\n"):
            while (rest := self._file.readline(_ROW_BYTES_MAX)) and not rest.endswith(b"\n"):
                pass
            raise _TooLong(f"the line takes more than {_ROW_BYTES_MAX} bytes")
        return line.removeprefix(b"\xef\xbb\xbf")


def _read(reader: Iterator[list[str]], lines: _Lines) -> Iterator[tuple[int, list[str] | InvalidInput]]:
    """Yield records with the lines they begin on."""
    while True:
        line = lines.count + 1
        try:
            yield line, next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            last = lines.count
            where = f", up to line {last}" if last > line else ""
            said = _CARRIAGE_RETURN if "new-line character" in str(error) else str(error)
            yield line, InvalidInput(f"the row is no CSV{where}: {said}", param="row")


_CARRIAGE_RETURN = "a carriage return stands where a line feed ends lines"


def _check_header(header: list[str]) -> None:
    """Raise InvalidInput for a column that is given twice, or that nothing here knows."""
    if len(set(header)) != len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise InvalidInput(f"the column {twice[:64]!r} is there twice", param="header")
    for name in header:
        if "\0" in name or not name.isprintable():
            raise InvalidInput(f"the header is no text in UTF-8: {name[:64]!a}; save the file as UTF-8", param="header")
        if name not in _FIELDS and name not in METERS and not name.startswith(_ATTRIBUTE):
            raise InvalidInput(
                f"the column {name[:64]!r} is not known; a column is a meter, such as input_tokens, "
                f"attributes.NAME, or one of {', '.join(sorted(_FIELDS))}",
                param="header",
            )


def _row_of(cells: dict[str, str]) -> Row:
    given = {name: text for name, text in cells.items() if text}
    objects = {name: _decode_object(given.pop(name)) for name in _OBJECTS if name in given}
    usage = {name: given.pop(name) for name in list(given) if name in METERS}
    attributes = {name.removeprefix(_ATTRIBUTE): given.pop(name) for name in list(given) if name.startswith(_ATTRIBUTE)}
    if usage or "usage" not in objects:
        objects["usage"] = objects.get("usage", {}) | usage
    if attributes:
        objects["attributes"] = objects.get("attributes", {}) | attributes
    return msgspec.convert(given | objects, Row, strict=False)


def _understood(understand: Callable[[Any], Row], told: object) -> Row | InvalidInput:
    try:
        return understand(told)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        return InvalidInput(f"the row cannot be understood: {error}", param="row")
