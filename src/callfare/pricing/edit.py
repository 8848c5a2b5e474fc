"""Sets rates in the text of a price book: a new price is a new dated row, and what stands stays as it is.

Comments and order are kept. A rate for a tier leaves the ordinary calls of its model their price. The text that comes
out is for load.py to judge.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from callfare.errors import InvalidInput
from callfare.pricing.hours import WHOLE_DAY, Hours, meet, rest_of
from callfare.pricing.locate import line_of
from callfare.pricing.rates import ORDINARY_TIERS
from callfare.usage.meters import LINEAGE

_BARE = re.compile(r"[a-z0-9_-]+", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRate:
    """A rate to be set. attributes: those that select it, none for the ordinary one.

    above: the input tokens beyond which all of a call costs this. daily: the hours in which it holds; None for all.
    minimum: the least that a call is billed for.
    """

    meter: str
    usd: Decimal
    per: int
    attributes: dict[str, str]
    above: int | None = None
    daily: Hours | None = None
    minimum: int | None = None


def with_rates(
    text: str,
    *,
    name: str,
    provider: str,
    model: str,
    rates: Sequence[NewRate],
    source: str,
    today: date,
    begins: date | None,
) -> str:
    """Return the text of a book in which a model has these rates from a day on; always, when that is None.

    text: a book that loads, or "" and its name. name: what errors call it. A rate that is open ends on that day, and
    goes on in the hours that the new ones leave. A meter that the model did not bill joins its basis, and cost nothing
    until that day: so it was charged before.

    Raises InvalidInput where an open rate would have to change instead of ending.
    """
    at = _place_of(text, provider, model)
    if at is None:
        made = "".join(_row(rate, begins) for rate in rates)
        at = len(tomllib.loads(text).get("model", []))
        text = f"{text.rstrip()}\n\n{_head(provider, model, rates, source, today)}{made}"
    else:
        text = _with_rows(text, at, rates, begins=begins, name=name)
        text = _with_source(text, at, rates, source=source, begins=begins)
    for attribute, value in dict.fromkeys(pair for rate in rates for pair in rate.attributes.items()):
        if value.casefold() not in ORDINARY_TIERS:
            text = _with_tier(text, at, attribute, value.casefold())
    return text


def _place_of(text: str, provider: str, model: str) -> int | None:
    """Return where a model stands among those of a book."""
    models: list[dict[str, Any]] = tomllib.loads(text).get("model", [])
    return next((number for number, row in enumerate(models) if _is(row, provider, model)), None)


def _with_rows(text: str, at: int, rates: Sequence[NewRate], *, begins: date | None, name: str) -> str:
    """Return a book with rows for these rates, those before them ended, and their meters in the basis."""
    models: list[dict[str, Any]] = tomllib.loads(text)["model"]
    joining = _joining(models[at], rates)
    lines = text.rstrip("\n").split("\n")
    insert_at = _end_of(text, lines, at)
    rows = [_row(_nothing(meter), None, ends=begins) for meter in joining if begins is not None]
    rows += [_row(rate, begins) for rate in rates]
    ended: dict[int, list[NewRate]] = {}
    for number, row in enumerate(models[at]["rate"]):
        line = line_of(text, ("model", at, "rate", number))
        followers = [rate for rate in rates if _ends(row, rate, begins, f"{name}, line {line}")]
        if followers:
            ended[line] = _kept(row, followers)
    rows += [_row(rate, begins) for kept in ended.values() for rate in kept]
    lines[insert_at:insert_at] = "".join(rows).rstrip("\n").split("\n")
    for line in sorted(ended, reverse=True):
        lines.insert(line, f"until = {begins}")
    if joining:
        # The basis stands in the head of its model, above every line that was added.
        place = line_of(text, ("model", at, "basis")) - 1
        lines[place] = lines[place].replace("[", f"[{', '.join(map(quoted, joining))}, ", 1)
    return "\n".join(lines) + "\n"


def _end_of(text: str, lines: Sequence[str], at: int) -> int:
    """Return the line below which what joins a model is written."""
    is_last = at + 1 == len(tomllib.loads(text)["model"])
    return len(lines) if is_last else above(lines, line_of(text, ("model", at + 1)) - 1)


def _with_source(text: str, at: int, rates: Sequence[NewRate], *, source: str, begins: date | None) -> str:
    """Return a book in which the source of a model also says where these rates were read."""
    said: str = tomllib.loads(text)["model"][at]["source"]
    if source == said or f": {source}" in said:
        return text
    since = "" if begins is None else f" from {begins}"
    meters = ", ".join(dict.fromkeys(rate.meter for rate in rates))
    written = quoted(f"{said}; {meters}{since}: {source}")
    lines = text.split("\n")
    place = line_of(text, ("model", at, "source")) - 1
    for form in (quoted(said), f"'{said}'"):
        # A source that goes over several lines is left to whoever wrote it.
        if form in lines[place]:
            lines[place] = lines[place].replace(form, written, 1)
            break
    return "\n".join(lines)


def _with_tier(text: str, at: int, attribute: str, value: str) -> str:
    """Return a book in which a call of an ordinary tier costs what it did before this tier had a rate of its own."""
    row: dict[str, Any] = tomllib.loads(text)["model"][at]
    if attribute == "service_tier" and attribute not in row.get("ordinary", {}):
        return _with_keys(text, at, "ordinary", [f"service_tier = [{', '.join(map(quoted, ORDINARY_TIERS))}]"])
    if attribute != "processing":
        return text
    if attribute not in row.get("ordinary", {}):
        text = _with_keys(text, at, "ordinary", ['processing = ["standard"]'])
    derived = row.get("derived", {}).get(attribute)
    values = "derived.processing.values"
    if derived is None:
        text = _with_keys(text, at, "derived.processing", ['from = "service_tier"'])
        text = _with_keys(text, at, values, [f'{tier} = "standard"' for tier in ORDINARY_TIERS])
    if derived is None or value not in derived["values"].values():
        text = _with_keys(text, at, values, [f"{_key(value)} = {quoted(value)}"])
    return text


def _with_keys(text: str, at: int, table: str, keys: Sequence[str]) -> str:
    """Return a book with more keys in a table of a model, which is made where there is none."""
    lines = text.rstrip("\n").split("\n")
    header = f"[model.{table}]"
    found: Any = tomllib.loads(text)["model"][at]
    for part in table.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    if found is None:
        insert_at, keys = _end_of(text, lines, at), ["", header, *keys]
    else:
        insert_at = line_of(text, ("model", at, *table.split(".")))
        if lines[insert_at - 1].partition("#")[0].strip() != header:
            raise InvalidInput(f"line {insert_at} of the book needs {' and '.join(keys)} by hand", param="attr")
    lines[insert_at:insert_at] = keys
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


def _ends(row: dict[str, Any], rate: NewRate, begins: date | None, place: str) -> bool:
    """Tell whether a row is the open one that a new rate follows. place: where it stands, for people."""
    if "until" in row or _selected(row) != (rate.meter, rate.above, _folded(rate.attributes)):
        return False
    if not meet(_hours_of(row), rate.daily or WHOLE_DAY):
        return False
    if begins is None:
        raise InvalidInput(
            f"{rate.meter} has a rate already; say with --from from which day the new one holds, or, if it was wrong "
            f"when written, correct the row in {place}",
            param="from",
        )
    begun = row.get("from")
    if begun is not None and str(begun)[:10] >= begins.isoformat():
        raise InvalidInput(
            f"{rate.meter} has a rate from {begun} on, in {place}; give a later day with --from, or correct that row",
            param="from",
        )
    return True


def _selected(row: dict[str, Any]) -> tuple[str, int | None, dict[str, str]]:
    """Return which calls a row is for: another row for the same ones takes its place."""
    return row["meter"], row.get("above_input_tokens"), _folded(row.get("attributes", {}))


def _folded(attributes: dict[str, str]) -> dict[str, str]:
    return {name: value.casefold() for name, value in attributes.items()}


def _hours_of(row: dict[str, Any]) -> Hours:
    begin, end = row.get("daily", WHOLE_DAY)
    return begin, end


def _kept(row: dict[str, Any], followers: Sequence[NewRate]) -> list[NewRate]:
    """Return the rates by which a row goes on in the hours that those after it leave."""
    return [
        NewRate(
            meter=row["meter"],
            usd=Decimal(row["usd"]),
            per=row["per"],
            attributes=row.get("attributes", {}),
            above=row.get("above_input_tokens"),
            daily=hours,
            minimum=row.get("minimum"),
        )
        for hours in rest_of(_hours_of(row), [rate.daily or WHOLE_DAY for rate in followers])
    ]


def _head(provider: str, model: str, rates: Sequence[NewRate], source: str, today: date) -> str:
    meters = list(dict.fromkeys(rate.meter for rate in rates))
    basis = [meter for meter in meters if not set(LINEAGE.get(meter, ())[1:]) & set(meters)]
    return (
        f"[[model]]\nprovider = {quoted(provider)}\nname = {quoted(model)}\n"
        f"basis = [{', '.join(quoted(meter) for meter in basis)}]\n"
        f"source = {quoted(source)}\nchecked = {today}\n"
    )


def _row(rate: NewRate, begins: date | None, *, ends: date | None = None) -> str:
    selects = ", ".join(f"{_key(name)} = {quoted(value)}" for name, value in rate.attributes.items())
    daily = "" if rate.daily is None else f"daily = [{', '.join(map(quoted, rate.daily))}]\n"
    return (
        f"\n[[model.rate]]\nmeter = {quoted(rate.meter)}\n"
        + (f"attributes = {{ {selects} }}\n" if selects else "")
        + (f"above_input_tokens = {rate.above:_}\n" if rate.above is not None else "")
        + daily
        + f"usd = {quoted(format(rate.usd, 'f'))}\nper = {rate.per:_}\n"
        + (f"minimum = {rate.minimum:_}\n" if rate.minimum is not None else "")
        + (f"from = {begins}\n" if begins is not None else "")
        + (f"until = {ends}\n" if ends is not None else "")
    )


def above(lines: Sequence[str], line: int) -> int:
    """Return where a table ends: above the blank lines and comments that belong to the next one."""
    while line and (not lines[line - 1].strip() or lines[line - 1].lstrip().startswith("#")):
        line -= 1
    return line


def _key(text: str) -> str:
    return text if _BARE.fullmatch(text) else quoted(text)


def quoted(text: str) -> str:
    """Return text as TOML writes it; what needs more than two escapes is refused."""
    if not text.isprintable():
        raise InvalidInput(f"{text[:64]!a} is not printable", param="model")
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
