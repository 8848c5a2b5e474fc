"""Sets an adjustment in the text of a price book: a new share is a new dated table, and what stands stays as it is."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

from callfare.errors import InvalidInput
from callfare.pricing.edit import above, quoted
from callfare.pricing.locate import line_of


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAdjustment:
    """A share that a provider takes off or adds, from a day until another; None for always and for no end."""

    provider: str
    kind: Literal["discount", "surcharge"]
    percent: str
    source: str
    begins: date | None
    ends: date | None


def with_adjustment(text: str, new: NewAdjustment, *, name: str, today: date) -> str:
    """Return the text of a book that says an adjustment. One of the same provider that is open ends where it begins.

    text: a book that loads, or "" and its name. name: what errors call it.

    Raises InvalidInput where an open one would have to change instead of ending.
    """
    rows: list[dict[str, Any]] = tomllib.loads(text).get("adjustment", [])
    added = [
        (line_of(text, ("adjustment", number)), [f"until = {new.begins}"])
        for number, row in enumerate(rows)
        if _ends(row, new, number, text, name)
    ]
    lines = text.rstrip("\n").split("\n")
    has_models = "model" in tomllib.loads(text)
    place = above(lines, line_of(text, ("model", 0)) - 1) if has_models else len(lines)
    # Whoever reads the book meets them before the models.
    added.append((place, _table(new, today).rstrip("\n").split("\n")))
    # From below, so that no place moves before something was written there.
    for line, more in sorted(added, reverse=True):
        lines[line:line] = more
    return "\n".join(lines) + "\n"


def _ends(row: dict[str, Any], new: NewAdjustment, number: int, text: str, name: str) -> bool:
    """Tell whether an adjustment is the open one that a new one follows."""
    if "until" in row or row["provider"].casefold() != new.provider.casefold():
        return False
    place = f"{name}, line {line_of(text, ('adjustment', number))}"
    if new.begins is None:
        raise InvalidInput(
            f"{new.provider} has an adjustment already, in {place}; say with --from from which day the new one holds, "
            "or, if it was wrong when written, correct it there",
            param="from",
        )
    begun = row.get("from")
    if begun is not None and str(begun)[:10] >= new.begins.isoformat():
        raise InvalidInput(
            f"{new.provider} has an adjustment from {begun} on, in {place}; give a later day with --from, or correct "
            "that one",
            param="from",
        )
    return True


def _table(new: NewAdjustment, today: date) -> str:
    return (
        f"\n[[adjustment]]\nprovider = {quoted(new.provider)}\n{new.kind} = {quoted(new.percent)}\n"
        f"source = {quoted(new.source)}\nchecked = {today}\n"
        + (f"from = {new.begins}\n" if new.begins is not None else "")
        + (f"until = {new.ends}\n" if new.ends is not None else "")
    )
