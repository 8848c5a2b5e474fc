"""How amounts, counts and tables look to people. Pure. What is not zero never reads as 0.00."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from textwrap import wrap
from typing import TYPE_CHECKING

from callfare.money import divide_half_even

if TYPE_CHECKING:
    from datetime import datetime

    from callfare.money import Credits, Usd
    from callfare.usage.quantities import Quantity

UNPRICED = "unpriced"

_PLACES = 2
_SIGNIFICANT_DIGITS = 2
_FLEXIBLE_WIDTH_MIN = 20
_GAP = "  "
_EIGHTHS = " ▏▎▍▌▋▊▉█"
# The space between a number and its unit, where no line may end; a mark that stands nowhere else holds its place.
_TIE, _TIED = re.compile(r"(?<=\d) (?=[a-z])"), "\0"


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


def priced(amount: Credits | Usd, calls: int, unpriced: int) -> str:
    """Return the short amount of some calls; `unpriced` where none of them has a price."""
    return UNPRICED if 0 < calls <= unpriced and not amount else short(amount)


def besides(calls: int, unpriced: int) -> str:
    """Return what an amount leaves out: `+ 2 unpriced`; nothing where it covers all calls or none."""
    return f"+ {count(unpriced)} {UNPRICED}" if 0 < unpriced < calls else ""


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


def rate(usd: Decimal) -> str:
    """Return the dollars of a rate, all digits of them, cents in two: `$0.125`, `$2.50`, `$12`."""
    whole, _, decimals = format(usd, "f").partition(".")
    decimals = decimals.rstrip("0")
    return f"${whole}.{decimals:0<2}" if decimals else f"${whole}"


def listed(names: Sequence[str]) -> str:
    """Return names as a sentence lists them: `a, b and c`."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def quantity(amount: Quantity) -> str:
    """Return a quantity exactly, the thousands of a whole one apart."""
    from callfare.usage.quantities import quantity_text

    return f"{amount:,}" if isinstance(amount, int) else quantity_text(amount)


def units(used: Mapping[str, Quantity]) -> str:
    """Return usage in a line, parts with the whole they are of: `12 input_tokens, of which 8 cached_input_tokens`.

    Meters stand in their own order. Parts that together exceed what is reported of their whole stand for themselves.
    """
    from callfare.usage.meters import LINEAGE, METERS

    parts: dict[str | None, list[str]] = {}
    for meter in [*(name for name in METERS if name in used), *(name for name in used if name not in METERS)]:
        whole = next((name for name in LINEAGE.get(meter, ())[1:] if name in used), None)
        parts.setdefault(whole, []).append(meter)
    for whole in [name for name in parts if name is not None and sum(used[part] for part in parts[name]) > used[name]]:
        parts[None] += parts.pop(whole)
    between = "; " if len(parts) > 1 else ", "
    return between.join(_with_parts(meter, used, parts) for meter in parts.get(None, ()))


def _with_parts(meter: str, used: Mapping[str, Quantity], parts: Mapping[str | None, Sequence[str]]) -> str:
    """Return a quantity with its unit, and what of it its parts are."""
    text = f"{quantity(used[meter])} {meter}"
    if meter not in parts:
        return text
    *others, last = (_with_parts(part, used, parts) for part in parts[meter])
    told = f"{', '.join(others)} and {last}" if others else last
    return f"{text}, of which {told}" if meter in parts[None] else f"{text} (of which {told})"


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
    """A column: numbers stand to the right, a flexible one is wrapped where the screen is too narrow.

    Where the screen is narrower still, columns go below their rows in the order of `leaves`; those with 0 stay.
    """

    title: str
    is_number: bool = False
    is_flexible: bool = False
    leaves: int = 0


def numbers(title: str, leaves: int = 0) -> Column:
    """Return a column of numbers."""
    return Column(title, is_number=True, leaves=leaves)


def wrapped(title: str) -> Column:
    """Return the column of a table that gives way on a narrow screen: first in width, then in place."""
    return Column(title, is_flexible=True, leaves=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows under columns. `below` are long texts by column, one for each row: lines of their own on a terminal."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    below: Mapping[Column, Sequence[str]] = field(default_factory=dict)


def plain_lines(table: Table) -> Iterator[str]:
    """Yield a table for pipes: a heading, then one line for each row, columns two spaces apart, none of them empty."""
    columns = [*table.columns, *table.below]
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
    widths = _fitted(columns, _widths(columns, cells, width_of), cells, width)
    shown = [index for index, own in enumerate(widths) if own]
    heads, own = [columns[index] for index in shown], [widths[index] for index in shown]
    yield "head", _line(heads, [column.title for column in heads], own, width_of)
    yield "rule", "─" * min(width, sum(own) + len(_GAP) * (len(own) - 1))
    for at, row in enumerate(cells):
        parts = [fold(row[index], widths[index]) if columns[index].is_flexible else [row[index]] for index in shown]
        for depth in range(max(map(len, parts))):
            line = [part[depth] if depth < len(part) else "" for part in parts]
            yield "row", _line(heads, line, own, width_of)
        moved = [(columns[index], row[index]) for index in range(len(row)) if not widths[index]]
        for text in _below([*moved, *((column, clean(texts[at])) for column, texts in table.below.items())], width):
            yield "below", f"{_GAP}{text}"


def room_beside(table: Table, width: int) -> int:
    """Return how wide one more column may be on a screen, which none of the others gives way for."""
    kept = [index for index in range(len(table.columns)) if any(row[index] for row in table.rows)]
    columns = [table.columns[index] for index in kept]
    return width - sum(
        own + len(_GAP) for own in _widths(columns, [[row[at] for at in kept] for row in table.rows], len)
    )


def fold(text: str, width: int) -> list[str]:
    """Return a text in lines of at most a width, none of which ends between a number and its unit or inside a word."""
    lines = wrap(_TIE.sub(_TIED, text), width, break_long_words=False, break_on_hyphens=False)
    return [line.replace(_TIED, " ") for line in lines] or [""]


def _below(cells: Sequence[tuple[Column, str]], width: int) -> Iterator[str]:
    """Yield what stands below a row: short cells with their titles, as many as fit in a line, and long ones alone."""
    room = width - len(_GAP)
    line = ""
    for column, text in cells:
        if not text:
            continue
        said = f"{column.title} {text}"
        if column.leaves and not column.is_flexible and len(line) + len(_GAP) + len(said) <= room:
            line = f"{line}{_GAP}{said}" if line else said
            continue
        if line:
            yield line
        line = said if column.leaves and not column.is_flexible else ""
        if not line:
            yield from fold(text, room) if column.is_flexible else [text]
    if line:
        yield line


def _widths(columns: Sequence[Column], rows: Sequence[Sequence[str]], width_of: Callable[[str], int]) -> list[int]:
    return [
        max(width_of(text) for text in (column.title, *(row[index] for row in rows)))
        for index, column in enumerate(columns)
    ]


def _fitted(columns: Sequence[Column], widths: Sequence[int], rows: Sequence[Sequence[str]], width: int) -> list[int]:
    """Return the width of each column on a screen; 0 for one that goes below, because otherwise they would not fit."""
    fitted = list(widths)
    leaving = sorted(
        (index for index, column in enumerate(columns) if column.leaves), key=lambda index: columns[index].leaves
    )
    while (excess := sum(fitted) + len(_GAP) * (sum(map(bool, fitted)) - 1) - width) > 0 and leaving:
        for index, column in enumerate(columns):
            if column.is_flexible and fitted[index] - excess >= _least(column, [row[index] for row in rows]):
                fitted[index] -= excess
                return fitted
        fitted[leaving.pop(0)] = 0
    return fitted


def _least(column: Column, texts: Sequence[str]) -> int:
    """Return how narrow a flexible column may be."""
    words = (word for text in texts for word in _TIE.sub(_TIED, text).split())
    return max(_FLEXIBLE_WIDTH_MIN, len(column.title), *map(len, words))


def _line(columns: Sequence[Column], cells: Sequence[str], widths: list[int], width_of: Callable[[str], int]) -> str:
    padded = []
    for column, cell, width in zip(columns, cells, widths, strict=True):
        space = " " * (width - width_of(cell))
        padded.append(f"{space}{cell}" if column.is_number else f"{cell}{space}")
    return _GAP.join(padded).rstrip()
