"""Values that people type, as the façade takes them. Checks their form; what they mean is the façade's to judge."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, tzinfo

from callfare.errors import InvalidAmount, InvalidInput, InvalidTime
from callfare.money import decimal_of

_THOUSANDS = re.compile(r"-?[0-9]{1,3}(,[0-9]{3})+(\.[0-9]+)?", re.ASCII)


def moment(text: str, what: str, zone: tzinfo = UTC) -> datetime:
    """Return a date, which is its midnight in a zone, or a time with its offset: `2027-01-01T00:00:00Z`.

    Raises InvalidTime.
    """
    try:
        return datetime.combine(date.fromisoformat(text), time(), zone)
    except ValueError:
        pass
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidTime(
            f"{what} is {text[:64]!r}; give a date such as 2027-01-01 or a time such as 2027-01-01T00:00:00Z",
            param=what,
        ) from None
    if at.tzinfo is None:
        raise InvalidTime(f"{what} has no offset; end it with Z for UTC, or with one such as +02:00", param=what)
    return at


def credits_text(text: str) -> str:
    """Return an amount of credits as it was given, when it holds no comma.

    Raises InvalidAmount.
    """
    if "," not in text:
        return text
    if _THOUSANDS.fullmatch(text):
        right = f"write it without the comma: {text.replace(',', '')}"
    else:
        right = "write decimals after a point, such as 18.5"
    raise InvalidAmount(f"credits is {text[:64]!r}; {right}", param="credits")


def factor(text: str) -> str:
    """Return a markup as it was given, when it is a decimal number.

    Raises InvalidAmount.
    """
    try:
        decimal_of(text, "markup")
    except InvalidAmount:
        raise InvalidAmount(f"markup is {text[:64]!r}; give a factor such as 1.5", param="markup") from None
    return text


def pairs(texts: Iterable[str], what: str, example: str) -> dict[str, str]:
    """Return `name=value` texts as a mapping.

    Raises InvalidInput for a text without `=`, and for a name that is given twice.
    """
    given: dict[str, str] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise InvalidInput(f"{what} {text[:64]!r} is not of the form {example}", param=what)
        if name in given:
            raise InvalidInput(f"{what} {name[:64]!r} is given twice", param=what)
        given[name] = value
    return given


def ledger_address(text: str, param: str) -> str:
    """Return an address of a ledger that lasts. Raises InvalidInput for one in memory and one behind a server."""
    scheme = text.partition(":")[0].lower()
    if scheme not in {"sqlite", "postgresql", "postgres", "convex"}:
        raise InvalidInput(
            f"{param} is no address of a ledger in SQLite, PostgreSQL or Convex; use one such as sqlite:///callfare.db",
            param=param,
        )
    return text
