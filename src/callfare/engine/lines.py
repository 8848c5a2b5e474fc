"""The lines of a charge, from the JSON they are stored as."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, overload

from callfare.answers import Line
from callfare.money import Credits, Usd
from callfare.usage.quantities import parse_quantity


class Lines(Sequence[Line]):
    """The lines of a charge, in order. They are read from their JSON when somebody first looks: most are never seen."""

    __slots__ = ("_lines", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        self._lines: tuple[Line, ...] | None = None

    def _read(self) -> tuple[Line, ...]:
        if self._lines is None:
            self._lines = tuple(_line_of(line) for line in json.loads(self._text))
        return self._lines

    @overload
    def __getitem__(self, index: int) -> Line: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Line, ...]: ...

    def __getitem__(self, index: int | slice) -> Line | tuple[Line, ...]:
        return self._read()[index]

    def __len__(self) -> int:
        return len(self._read())

    def __iter__(self) -> Iterator[Line]:
        return iter(self._read())

    def __eq__(self, other: object) -> bool:
        return self._read() == (other._read() if isinstance(other, Lines) else other)

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return repr(self._read())


def _line_of(line: dict[str, Any]) -> Line:
    return Line(
        meter=line["meter"],
        quantity=parse_quantity(str(line["quantity"])),
        rate=None if line["rate"] is None else Decimal(line["rate"]),
        per=line["per"],
        rate_meter=line["rate_meter"],
        attributes=line["attributes"],
        cost=Usd.of_units(line["picousd"]),
        credits=Credits.of_units(line["nanocredits"]),
        list_rate=None if line.get("list_rate") is None else Decimal(line["list_rate"]),
        adjustment=line.get("adjustment", ""),
        minimum=line.get("minimum"),
    )
