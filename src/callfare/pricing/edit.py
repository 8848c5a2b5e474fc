"""Sets rates in the text of a price book: a new price is a new dated row, and what stands stays as it is.

Comments and order are kept. The text that comes out is for load.py to judge.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from callfare.errors import InvalidInput
from callfare.pricing.locate import line_of
from callfare.usage.meters import LINEAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRate:
    """A rate to be set. attributes: those that select it, none for the ordinary one."""

    meter: str
    usd: Decimal
    per: int
    attributes: dict[str, str]


def with_rates(
    text: str, *, provider: str, model: str, rates: Sequence[NewRate], source: str, today: date, begins: date | None
) -> str:
    """Return the text of a book in which a model has these rates from a day on; always, when that is None.

    text: a book that loads, or "" and its name. A rate that is open ends on that day. A meter that the model did not
    bill joins its basis, and cost nothing until that day: so it was charged before.

    Raises InvalidInput where an open rate would have to change instead of ending.
    """
    models: list[dict[str, Any]] = tomllib.loads(text).get("model", [])
    at = next((number for number, row in enumerate(models) if _is(row, provider, model)), None)
    if at is None:
        made = "".join(_row(rate, begins) for rate in rates)
        return f"{text.rstrip()}\n\n{_head(provider, model, rates, source, today)}{made}"
    joining = _joining(models[at], rates)
    lines = text.rstrip("\n").split("\n")
    insert_at = len(lines) if at + 1 == len(models) else _above(lines, line_of(text, ("model", at + 1)) - 1)
    rows = [_row(_nothing(meter), None, ends=begins) for meter in joining if begins is not None]
    rows += [_row(rate, begins) for rate in rates]
    lines[insert_at:insert_at] = "".join(rows).rstrip("\n").split("\n")
    ended = [
        line_of(text, ("model", at, "rate", number))
        for rate in rates
        for number, row in enumerate(models[at]["rate"])
        if _ends(row, rate, begins)
    ]
    for line in sorted(ended, reverse=True):
        lines.insert(line, f"until = {begins}")
    if joining:
        # The basis stands in the head of its model, above every line that was added.
        place = line_of(text, ("model", at, "basis")) - 1
        lines[place] = lines[place].replace("[", f"[{', '.join(map(_quoted, joining))}, ", 1)
    return "\n".join(lines) + "\n"


def _is(row: dict[str, Any], provider: str, model: str) -> bool:
    names = [row["name"], *row.get("names", [])]
    return row["provider"].casefold() == provider.casefold() and model.casefold() in (name.casefold() for name in names)


def _joining(row: dict[str, Any], rates: Sequence[NewRate]) -> list[str]:
    """Return the meters that a model is to be billed by and was not, without those that are parts of another one."""
    billed = {meter for basis in (row["basis"], *row.get("otherwise", [])) for meter in basis}
    new = [rate.meter for rate in rates if rate.meter in LINEAGE and not billed & set(LINEAGE[rate.meter])]
    return [meter for meter in dict.fromkeys(new) if not set(LINEAGE[meter][1:]) & set(new)]


def _nothing(meter: str) -> NewRate:
    return NewRate(meter=meter, usd=Decimal(0), per=1, attributes={})


def _ends(row: dict[str, Any], rate: NewRate, begins: date | None) -> bool:
    """Tell whether a row is the open one that a new rate follows."""
    if row["meter"] != rate.meter or row.get("attributes", {}) != rate.attributes or "until" in row:
        return False
    if begins is None:
        raise InvalidInput(
            f"{rate.meter} has a rate already; say with --from from which day the new one holds", param="from"
        )
    begun = row.get("from")
    if begun is not None and str(begun)[:10] >= begins.isoformat():
        raise InvalidInput(f"{rate.meter} has a rate from {begun} on; give a later day with --from", param="from")
    return True


def _head(provider: str, model: str, rates: Sequence[NewRate], source: str, today: date) -> str:
    meters = list(dict.fromkeys(rate.meter for rate in rates))
    basis = [meter for meter in meters if not set(LINEAGE.get(meter, ())[1:]) & set(meters)]
    return (
        f"[[model]]\nprovider = {_quoted(provider)}\nname = {_quoted(model)}\n"
        f"basis = [{', '.join(_quoted(meter) for meter in basis)}]\n"
        f"source = {_quoted(source)}\nchecked = {today}\n"
    )


def _row(rate: NewRate, begins: date | None, *, ends: date | None = None) -> str:
    selects = ", ".join(f"{name} = {_quoted(value)}" for name, value in rate.attributes.items())
    return (
        f"\n[[model.rate]]\nmeter = {_quoted(rate.meter)}\n"
        + (f"attributes = {{ {selects} }}\n" if selects else "")
        + f"usd = {_quoted(format(rate.usd, 'f'))}\nper = {rate.per:_}\n"
        + (f"from = {begins}\n" if begins is not None else "")
        + (f"until = {ends}\n" if ends is not None else "")
    )


def _above(lines: Sequence[str], line: int) -> int:
    """Return where a table ends: above the blank lines and comments that belong to the next one."""
    while line and (not lines[line - 1].strip() or lines[line - 1].lstrip().startswith("#")):
        line -= 1
    return line


def _quoted(text: str) -> str:
    """Return text as TOML writes it; what needs more than two escapes is refused."""
    if not text.isprintable():
        raise InvalidInput(f"{text[:64]!a} is not printable", param="model")
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
