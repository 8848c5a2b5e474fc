"""How amounts, counts and tables look to people. Pure. What is not zero never reads as 0.00."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from textwrap import wrap
from typing import TYPE_CHECKING

from callfare.money import divide_half_even

if TYPE_CHECKING:
    from datetime import datetime

    from callfare.money import Credits, Usd
    from callfare.usage.quantities import Quantity

_PLACES = 2
_SIGNIFICANT_DIGITS = 2
_FLEXIBLE_WIDTH_MIN = 20
_GAP = "  "
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def clean(text: str) -> str:
    """Return text that a terminal shows as it is: what does not print stands as its escape."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


# Amounts


def exact(amount: Credits | Usd) -> str:
    """Return an amount with all its digits, dollars with at least two decimals: `15.00003`, `$0.50`."""
    whole, _, part = str(amount).removeprefix("-").partition(".")
    if _is_usd(amount):
        part = part.ljust(_PLACES, "0")
    return _signed(amount, f"{_grouped(whole)}.{part}" if part else _grouped(whole))


def short(amount: Credits | Usd) -> str:
    """Return an amount with two decimals, or with two digits that are not zero where it is smaller than that.

    The last digit is rounded half-even: `12.35`, `0.000038`, `$0.00`.
    """
    units = abs(amount.units)
    places = _PLACES
    while units and places < amount.places and _rounded(units, amount.places, places) < 10 ** (_SIGNIFICANT_DIGITS - 1):
        places += 1
    text = _fixed(_rounded(units, amount.places, places), places)
    whole, _, part = text.partition(".")
    return _signed(amount, f"{whole}.{part[:_PLACES]}{part[_PLACES:].rstrip('0')}")


def floored(amount: Credits | Usd) -> str:
    """Return a balance cut down to two decimals; one above zero that this would hide reads `<0.01`."""
    units = amount.units // 10 ** (amount.places - _PLACES)
    if amount.units > 0 and not units:
        return f"<{_mark(amount)}0.01"
    return f"{'-' if units < 0 else ''}{_mark(amount)}{_fixed(abs(units), _PLACES)}"


def change(amount: Credits | Usd) -> str:
    """Return an amount with its sign, `+` included, for what was added and taken; nothing for zero."""
    return "" if not amount else f"{'+' if amount.units > 0 else ''}{exact(amount)}"


def _is_usd(amount: Credits | Usd) -> bool:
    return amount.what == "usd"


def _mark(amount: Credits | Usd) -> str:
    return "$" if _is_usd(amount) else ""


def _signed(amount: Credits | Usd, text: str) -> str:
    return f"{'-' if amount.units < 0 else ''}{_mark(amount)}{text}"


def _rounded(units: int, places: int, kept: int) -> int:
    return divide_half_even(units, 10 ** (places - kept))


def _fixed(units: int, places: int) -> str:
    whole, part = divmod(units, 10**places)
    return f"{whole:,}.{part:0{places}d}"


def _grouped(whole: str) -> str:
    return f"{int(whole):,}"


# Counts, times and what was used


def count(number: int) -> str:
    """Return a count with its thousands apart."""
    return f"{number:,}"


def counted(number: int, one: str, many: str = "") -> str:
    """Return a count with its noun: `1 call`, `12,000 calls`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def quantity(amount: Quantity) -> str:
    """Return a quantity exactly, the thousands of a whole one apart."""
    from callfare.usage.quantities import quantity_text

    return f"{amount:,}" if isinstance(amount, int) else quantity_text(amount)


def units(used: Mapping[str, Quantity]) -> str:
    """Return usage in a line, meters in their own order: `1,200 input_tokens, 800 cached_input_tokens`."""
    from callfare.usage.meters import METERS

    ordered = [*(meter for meter in METERS if meter in used), *(meter for meter in used if meter not in METERS)]
    return ", ".join(f"{quantity(used[meter])} {meter}" for meter in ordered)


def attributes(named: Mapping[str, str]) -> str:
    """Return attributes in a line: `size=1024x1536 quality=high`."""
    return clean(" ".join(f"{name}={value}" for name, value in named.items()))


def moment(at: datetime | None) -> str:
    """Return an instant in UTC to the second; nothing for none."""
    return "" if at is None else f"{at:%Y-%m-%d %H:%M:%S}"


def bar(part: int, whole: int, width: int, *, has_blocks: bool = True) -> str:
    """Return a bar as long as its part of the whole; what is above zero always shows."""
    if part <= 0 or whole <= 0:
        return ""
    if not has_blocks:
        return "#" * max(1, part * width // whole)
    eighths = max(1, part * width * 8 // whole)
    return _EIGHTHS[8] * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


# Tables


@dataclass(frozen=True, slots=True)
class Column:
    """A column: numbers stand to the right, a flexible one is wrapped where the screen is too narrow."""

    title: str
    is_number: bool = False
    is_flexible: bool = False


def numbers(title: str) -> Column:
    """Return a column of numbers."""
    return Column(title, is_number=True)


def wrapped(title: str) -> Column:
    """Return the column of a table that gives way on a narrow screen."""
    return Column(title, is_flexible=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows under columns. `below` are long texts by title, one for each row: lines of their own on a terminal."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    below: Mapping[str, Sequence[str]] = field(default_factory=dict)


def plain_lines(table: Table) -> Iterator[str]:
    """Yield a table for pipes: a heading, then one line for each row, columns two spaces apart, none of them empty."""
    columns = [*table.columns, *(Column(title) for title in table.below)]
    rows = [[*row, *(texts[at] for texts in table.below.values())] for at, row in enumerate(table.rows)]
    cells = [[clean(cell) or "-" for cell in row] for row in rows]
    widths = _widths(columns, cells, len)
    for row in ([column.title for column in columns], *cells):
        yield _line(columns, row, widths, len)


def screen_lines(table: Table, width: int, width_of: Callable[[str], int] = len) -> Iterator[tuple[str, str]]:
    """Yield (kind, line) of a table for a terminal so wide: kind is head, rule, row or below.

    Columns without any text are left out. width_of: how many cells of the terminal a text takes.
    """
    kept = [index for index in range(len(table.columns)) if any(row[index] for row in table.rows)]
    columns = [table.columns[index] for index in kept]
    cells = [[clean(row[index]) for index in kept] for row in table.rows]
    widths = _fitted(columns, _widths(columns, cells, width_of), width)
    yield "head", _line(columns, [column.title for column in columns], widths, width_of)
    yield "rule", "─" * min(width, sum(widths) + len(_GAP) * (len(widths) - 1))
    for at, row in enumerate(cells):
        parts = [
            wrap(cell, widths[index]) or [""] if columns[index].is_flexible else [cell]
            for index, cell in enumerate(row)
        ]
        for depth in range(max(map(len, parts))):
            line = [part[depth] if depth < len(part) else "" for part in parts]
            yield "row", _line(columns, line, widths, width_of)
        for texts in table.below.values():
            yield "below", f"{_GAP}{clean(texts[at])}"


def _widths(columns: Sequence[Column], rows: Sequence[Sequence[str]], width_of: Callable[[str], int]) -> list[int]:
    return [
        max(width_of(text) for text in (column.title, *(row[index] for row in rows)))
        for index, column in enumerate(columns)
    ]


def _fitted(columns: Sequence[Column], widths: list[int], width: int) -> list[int]:
    """Return widths whose flexible column gives way where all of them together would not fit."""
    excess = sum(widths) + len(_GAP) * (len(widths) - 1) - width
    return [
        max(_FLEXIBLE_WIDTH_MIN, own - excess) if column.is_flexible and excess > 0 else own
        for column, own in zip(columns, widths, strict=True)
    ]


def _line(columns: Sequence[Column], cells: Sequence[str], widths: list[int], width_of: Callable[[str], int]) -> str:
    padded = []
    for column, cell, width in zip(columns, cells, widths, strict=True):
        space = " " * (width - width_of(cell))
        padded.append(f"{space}{cell}" if column.is_number else f"{cell}{space}")
    return _GAP.join(padded).rstrip()
