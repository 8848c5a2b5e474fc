"""Usage events from a file, CSV or JSON Lines: each row is recorded once, however often its file is read.

A row stands under its `key`, its `response_id`, or its `step` with its `ordinal`; one that has none of them under the
import's name and its number. The number of a row is its place among the rows, from 1. A row that cannot be taken is
refused by itself, with its reason. Refuses columns that nothing here knows, and text that is not UTF-8.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, BinaryIO

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

    def rows(self, file: BinaryIO) -> Iterator[Row | InvalidInput]:
        """Yield the rows of a file, one that cannot be understood as its refusal.

        Raises InvalidInput for a header that cannot be used.
        """
        return _lines(file) if self.format == "jsonl" else _records(file)

    def told(self, row: Row | InvalidInput, number: int) -> Told | CallfareError:
        """Return a row as the call that it tells of."""
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
            key=row.key if is_named else f"import:{self.name}:{number}",
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


def _lines(file: BinaryIO) -> Iterator[Row | InvalidInput]:
    while line := file.readline(_ROW_BYTES_MAX):
        if len(line) == _ROW_BYTES_MAX and not line.endswith(b"\n"):
            while (rest := file.readline(_ROW_BYTES_MAX)) and not rest.endswith(b"\n"):
                pass
            yield InvalidInput(f"the row takes more than {_ROW_BYTES_MAX} bytes", param="row")
        elif text := line.removeprefix(b"\xef\xbb\xbf").strip():
            yield _understood(_decode, text)


def _records(file: BinaryIO) -> Iterator[Row | InvalidInput]:
    csv.field_size_limit(_ROW_BYTES_MAX)
    reader = csv.reader(_text_lines(file), strict=True)
    header = next(_read(reader), None)
    if header is None:
        return
    if isinstance(header, InvalidInput):
        raise header
    _check_header(header)
    for record in _read(reader):
        if isinstance(record, InvalidInput):
            yield record
        elif record and len(record) != len(header):
            yield InvalidInput(f"the row has {len(record)} cells and the header {len(header)}", param="row")
        elif record:
            yield _understood(lambda cells: _row_of(dict(zip(header, cells, strict=True))), record)


def _text_lines(file: BinaryIO) -> Iterator[str]:
    while line := file.readline(_ROW_BYTES_MAX + 1):
        if len(line) > _ROW_BYTES_MAX:
            raise InvalidInput(f"a line of the file takes more than {_ROW_BYTES_MAX} bytes", param="file")
        # A byte that is no UTF-8 becomes half a character, which no name or quantity may hold.
        yield line.removeprefix(b"\xef\xbb\xbf").decode("utf-8", errors="surrogateescape")


def _read(reader: Iterator[list[str]]) -> Iterator[list[str] | InvalidInput]:
    while True:
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield InvalidInput(f"the row is no CSV: {error}", param="row")


def _check_header(header: list[str]) -> None:
    """Raise InvalidInput for a column that is given twice, or that nothing here knows."""
    if len(set(header)) != len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise InvalidInput(f"the column {twice[:64]!r} is there twice", param="header")
    for name in header:
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
