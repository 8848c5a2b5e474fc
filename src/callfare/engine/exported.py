"""What an export tells of each kind of row: its columns, with units in their names, and the key it goes on from."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any, NamedTuple

from callfare.clock import moment_of
from callfare.ids import charge_id, transfer_id
from callfare.ledger.rows import Account, Entry, Event, Grant, Job, RawUsage, Row, Run, Transfer, User
from callfare.money import Credits, Usd


class Column(NamedTuple):
    """One column: its name, and how its value is read from a row. JSON stands as it is stored."""

    name: str
    read: Callable[[Any], Any]
    is_text: bool = False
    is_json: bool = False


class Kind(NamedTuple):
    """A kind of row: its table, its columns, the user's name first, the columns of its key, and when it was written."""

    name: str
    table: type[Row]
    columns: tuple[Column, ...]
    key: tuple[tuple[str, type[int | str]], ...]
    at: str


def _text(name: str, field: str = "") -> Column:
    return Column(name, attrgetter(field or name), is_text=True)


def _number(name: str, field: str = "") -> Column:
    return Column(name, attrgetter(field or name))


def _json(name: str) -> Column:
    return Column(name, attrgetter(name), is_json=True)


def _credits(name: str, field: str = "") -> Column:
    read = attrgetter(f"{field or name}_nanocredits")

    def exact(row: Row) -> str | None:
        units = read(row)
        return None if units is None else str(Credits.of_units(units))

    return Column(f"{name}_credits", exact)


def _usd(name: str, field: str) -> Column:
    read = attrgetter(field)

    def exact(row: Row) -> str | None:
        units = read(row)
        return None if units is None else str(Usd.of_units(units))

    return Column(f"{name}_usd", exact)


def _time(name: str) -> Column:
    read = attrgetter(f"{name}_us")

    def moment(row: Row) -> str | None:
        instant_us = read(row)
        return None if instant_us is None else f"{moment_of(instant_us):%Y-%m-%dT%H:%M:%S.%f}Z"

    return Column(f"{name}_utc", moment)


_USER = Column("user", attrgetter("account_id"), is_text=True)
_ACCOUNT = _number("account_id")

_ALL = (
    Kind(
        "users",
        User,
        (_USER, _ACCOUNT, _text("email"), _text("stripe_customer_id"), _time("created_at")),
        (("user", str),),
        "created_at_us",
    ),
    Kind(
        "accounts",
        Account,
        (_USER, _ACCOUNT, _credits("posted"), _credits("held"), _credits("debt"), _time("opened_at")),
        (("account_id", int),),
        "opened_at_us",
    ),
    Kind(
        "grants",
        Grant,
        (
            _USER, _ACCOUNT, _number("number", "grant_id"), _text("source"), _credits("amount"), _credits("remaining"),
            _credits("held"), _credits("refunded"), _usd("paid", "paid_picousd"), _text("reference"),
            _time("created_at"), _time("expires_at"),
        ),
        (("account_id", int), ("number", int)),
        "created_at_us",
    ),
    Kind(
        "runs",
        Run,
        (
            _USER, _ACCOUNT, _text("run_id"), _text("workflow"), _text("status"), _text("on_failure"),
            _credits("asked"), _credits("held"), _credits("used"), _credits("debt"), _credits("charged"),
            _usd("cost", "cost_picousd"), _number("calls"), _number("unpriced_calls"), _credits("low"),
            _credits("high"), _number("ttl_s"), _time("opened_at"), _time("expires_at"), _time("closed_at"),
            _number("close_number", "close_seq"), _json("input"),
        ),
        (("account_id", int), ("run_id", str)),
        "opened_at_us",
    ),
    Kind(
        "jobs",
        Job,
        (
            _USER, _ACCOUNT, _text("job_id"), _text("run_id"), _text("status"), _credits("held"), _time("created_at"),
            _time("expires_at"), _time("settled_at"),
        ),
        (("account_id", int), ("job_id", str)),
        "created_at_us",
    ),
    Kind(
        "transfers",
        Transfer,
        (
            _USER, _ACCOUNT, _number("number", "seq"),
            Column("id", lambda row: transfer_id(row.account_id, row.seq), is_text=True),
            _text("kind"), _credits("amount"), _number("entries", "entry_count"), _text("run_id"), _text("reference"),
            _time("at"),
        ),
        (("account_id", int), ("number", int)),
        "at_us",
    ),
    Kind(
        "entries",
        Entry,
        (
            _USER, _ACCOUNT, _number("number", "seq"), _number("position"), _text("account", "account_kind"),
            _number("lot", "grant_id"), _credits("amount"), _text("kind"), _text("run_id"), _text("reference"),
            _time("at"),
        ),
        (("account_id", int), ("number", int), ("position", int)),
        "at_us",
    ),
    Kind(
        "events",
        Event,
        (
            _USER, _ACCOUNT, _text("key"),
            Column("id", lambda row: charge_id(row.account_id, row.key), is_text=True),
            _text("kind"), _text("corrects"), _text("run_id"), _text("workflow"), _number("call_number"),
            _text("step"), _text("provider"), _text("base_url"), _text("model"), _text("operation"),
            _text("response_id"), _text("status"), _text("flags"), _text("reason"),
            Column("charged_credits", lambda row: str(Credits.of_units(row.nanocredits))),
            _usd("cost", "picousd"), _credits("debt"), _number("charge_number", "charge_seq"), _text("edition"),
            _number("markup"), _json("usage"), _json("attributes"), _json("lines"), _json("metadata"), _time("at"),
            _time("recorded_at"),
        ),
        (("account_id", int), ("key", str)),
        "at_us",
    ),
    Kind(
        "raw_usage",
        RawUsage,
        (_USER, _ACCOUNT, _text("key"), _time("recorded_at"), _json("raw")),
        (("account_id", int), ("key", str)),
        "recorded_at_us",
    ),
)  # fmt: skip

KINDS = {kind.name: kind for kind in _ALL}
