"""The doctor: looks at a ledger as an operator would and says what it finds, with figures. Changes nothing.

Whether the books balance is not asked here: `verify` recomputes them. Memory stays bounded whatever the ledger holds.
"""

from __future__ import annotations

import shlex
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

from callfare.clock import US_PER_S
from callfare.engine.engine import Engine
from callfare.engine.findings import Finding, Status
from callfare.engine.spooling import report
from callfare.errors import CallfareError, LedgerNotFound
from callfare.ids import charge_id
from callfare.ledger.accounts import UNATTRIBUTED
from callfare.ledger.charges import ATTEMPT, DUPLICATE
from callfare.ledger.rows import Account, Event, Job, Row, Run, User
from callfare.money import CREDITS_PER_USD, Credits, Usd
from callfare.payments.packages import below_cost, cost_of, offered
from callfare.store.protocol import UnpricedEvents, UserOf
from callfare.store.sqlite import SqliteStore
from callfare.store.statements import load_migrations
from callfare.usage.quantities import quantity_text

R = TypeVar("R", bound=Row)
Progress = Callable[[str, int], None]

_PAGE = 500
_NAMED_MAX = 5
_ROWS_PER_REPORT = 10_000
_SYNCHRONOUS = {0: "off", 1: "normal", 2: "full", 3: "extra"}
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_CLOCK_SLACK_US = 2 * US_PER_S


@dataclass(slots=True, kw_only=True)
class _Tally:
    """What one pass over the rows counted."""

    newest_us: int = 0
    attempts: int = 0
    duplicates: int = 0
    repeated_picousd: int = 0
    dearest_repeat: Event | None = None
    debtors: int = 0
    debt_nanocredits: int = 0
    largest_nanocredits: int = 0
    largest_account_id: int = 0
    unattributed_nanocredits: int = 0
    due_runs: int = 0
    due_jobs: int = 0
    due_nanocredits: int = 0

    def add_repeat(self, event: Event) -> None:
        """Count an event that was made again under a key or a response id."""
        flags = event.flags.split()
        self.attempts += ATTEMPT in flags
        self.duplicates += DUPLICATE in flags
        if ATTEMPT in flags or DUPLICATE in flags:
            self.repeated_picousd += event.picousd
            if self.dearest_repeat is None or event.picousd > self.dearest_repeat.picousd:
                self.dearest_repeat = event

    def add_debt(self, account: Account, unattributed_id: int | None) -> None:
        """Count an account that owes; the one for calls without a user is nobody's, and stands apart."""
        if account.account_id == unattributed_id:
            self.unattributed_nanocredits = account.debt_nanocredits
            return
        self.debtors += account.debt_nanocredits > 0
        self.debt_nanocredits += account.debt_nanocredits
        if account.debt_nanocredits > self.largest_nanocredits:
            self.largest_nanocredits, self.largest_account_id = account.debt_nanocredits, account.account_id


def examine(engine: Engine, progress: Progress | None = None) -> tuple[Finding, ...]:
    """Return everything the doctor looked at, the ledger's file first; of a ledger elsewhere, the server before it.

    progress: called with a table's name and how many of its rows were read. A ledger that cannot be opened is one
    failed finding. Raises LedgerNotFound when there is none.
    """
    if engine.elsewhere is not None:
        return (*engine.elsewhere.findings(), _spool(engine))
    try:
        found = list(_file_findings(engine))
        tally = _tallied(engine, progress or (lambda _name, _rows: None))
        found += [
            _clock(engine, tally.newest_us),
            _prices(engine),
            _unattributed(engine),
            _unpriced(engine),
            _repeats(engine, tally),
            prices_of_sale(engine),
            _debts(engine, tally),
            _due(tally),
            _spool(engine),
        ]
    except LedgerNotFound:
        raise
    except CallfareError as error:
        failed = Finding(check="database", status="fail", message=error.message, next_step=_NEXT_STEPS.get(error.code))
        spool = _spool(engine)
        return (failed,) if spool.status == "ok" else (failed, spool)
    return tuple(found)


_NEXT_STEPS = {
    "ledger_corrupt": "keep a copy of the file, then run `callfare verify`",
    "schema_newer": "upgrade callfare",
    "ledger_unavailable": "see who else uses the file, then try again",
}


def worst(findings: tuple[Finding, ...]) -> Status:
    """Return the gravest status among findings."""
    statuses = {finding.status for finding in findings}
    return "fail" if "fail" in statuses else "warn" if "warn" in statuses else "ok"


# The file


def _file_findings(engine: Engine) -> Iterator[Finding]:
    facts = engine.store.facts()
    rows = sum(facts.rows.values())
    if isinstance(engine.store, SqliteStore):
        yield _database(engine.store.file.path, rows)
        yield _sqlite(engine.store, facts.engine)
        yield _schema(facts.schema_version, load_migrations("sqlite")[-1].number)
        return
    yield Finding(
        check="database",
        status="ok",
        message=f"{facts.engine} at {facts.url}, {rows:,} rows",
        figures={"engine": facts.engine, "url": facts.url, "rows": rows},
    )
    if facts.engine.startswith(("PostgreSQL", "Convex")):
        yield _schema(facts.schema_version, load_migrations("postgres")[-1].number)


def _schema(version: int, newest: int) -> Finding:
    figures = {"schema_version": version, "newest": newest}
    if version == newest:
        return Finding(check="schema", status="ok", message=f"schema {newest}, the newest", figures=figures)
    return Finding(
        check="schema",
        status="fail",
        message=f"schema {version}, this callfare needs {newest}",
        next_step="open the ledger once for writing, for example with `callfare init`",
        figures=figures,
    )


def _database(path: Path, rows: int) -> Finding:
    found = path.stat()
    size = sum(part.stat().st_size for part in (path, path.with_name(f"{path.name}-wal")) if part.exists())
    mode = stat.S_IMODE(found.st_mode)
    figures = {"path": str(path), "bytes": size, "rows": rows, "mode": f"{mode:04o}"}
    message = f"{path}, {_size(size)}, {rows:,} rows, mode {mode:04o}"
    if mode & _OTHERS:
        return Finding(
            check="database",
            status="warn",
            message=f"{message}: other users of this machine may open it",
            next_step=f"chmod 600 {path}",
            figures=figures,
        )
    return Finding(check="database", status="ok", message=message, figures=figures)


def _sqlite(store: SqliteStore, engine_text: str) -> Finding:
    connection = store.file.connect()
    try:
        journal = str(connection.pragma("journal_mode"))
        synchronous = _SYNCHRONOUS.get(connection.pragma("synchronous"), "unknown")
    finally:
        connection.close()
    message = f"{engine_text.partition(',')[0]}, journal {journal}, synchronous {synchronous}"
    figures = {"journal_mode": journal, "synchronous": synchronous}
    if store.file.is_readonly or (journal == "wal" and synchronous in {"full", "extra"}):
        return Finding(check="sqlite", status="ok", message=message, figures=figures)
    return Finding(
        check="sqlite",
        status="fail",
        message=f"{message}: a power loss could lose what was answered",
        next_step="move the file to a local disk that supports SQLite's write-ahead log",
        figures=figures,
    )


def _size(count: int) -> str:
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= factor:
            return f"{count // factor}.{count % factor * 10 // factor} {unit}"
    return f"{count} bytes"


# One pass over the rows


def _tallied(engine: Engine, progress: Progress) -> _Tally:
    """Return what is counted row by row; each row is forgotten once it is counted."""
    tally = _Tally()
    now_us = engine.clock.now_us()
    unattributed_id = engine.reports.account_of(UNATTRIBUTED)
    for event in _rows(engine, Event, progress):
        tally.newest_us = max(tally.newest_us, event.recorded_at_us)
        tally.add_repeat(event)
    for account in _rows(engine, Account, progress):
        tally.newest_us = max(tally.newest_us, account.opened_at_us)
        tally.add_debt(account, unattributed_id)
    for run in _rows(engine, Run, progress):
        tally.newest_us = max(tally.newest_us, run.opened_at_us)
        if run.status == "open" and run.expires_at_us <= now_us:
            tally.due_runs += 1
            tally.due_nanocredits += run.held_nanocredits
    for job in _rows(engine, Job, progress):
        tally.newest_us = max(tally.newest_us, job.created_at_us)
        if job.status == "pending" and job.expires_at_us <= now_us:
            tally.due_jobs += 1
            tally.due_nanocredits += job.held_nanocredits
    return tally


def _rows(engine: Engine, table: type[R], progress: Progress) -> Iterator[R]:
    number = 0
    for number, (row, _) in enumerate(engine.store.scan(table), start=1):
        yield row
        if number % _ROWS_PER_REPORT == 0:
            progress(table.table, number)
    progress(table.table, number)


# What it means


def _clock(engine: Engine, newest_us: int) -> Finding:
    """Return whether the clock is behind the newest row, or behind the file's last change."""
    now_us = engine.clock.now_us()
    seen_us = newest_us
    if isinstance(engine.store, SqliteStore):
        seen_us = max(seen_us, engine.store.file.path.stat().st_mtime_ns // 1000 - _CLOCK_SLACK_US)
    behind_us = seen_us - now_us
    if behind_us <= 0:
        return Finding(check="clock", status="ok", message="the clock is not behind the ledger")
    seconds = -(-behind_us // US_PER_S)
    return Finding(
        check="clock",
        status="warn",
        message=f"the clock is {seconds:,} s behind the newest row of the ledger or the last change of its file",
        next_step="set this machine's clock; until then expiry and windows of time are off by as much",
        figures={"behind_s": seconds},
    )


def _prices(engine: Engine) -> Finding:
    settings = engine.settings
    markup = settings.markup_at(engine.clock.now_us())
    models = sum(layer.size for layer in settings.book.layers)
    figures = {"edition": settings.book.edition, "models": models, "markup": markup}
    if not models:
        return Finding(
            check="prices",
            status="warn",
            message="no model has a price, so every run is refused",
            next_step="name a price book with --book",
            figures=figures,
        )
    message = f"{settings.book.edition}, {models:,} models, markup {quantity_text(markup)}"
    return Finding(check="prices", status="ok", message=message, figures=figures)


def _unattributed(engine: Engine) -> Finding:
    report = engine.reports.usage(UNATTRIBUTED, "all", since=None, until=None, tz="UTC")
    figures = {"calls": report.calls, "credits": report.credits, "cost": report.cost}
    if not report.calls:
        return Finding(check="unattributed", status="ok", message="every call names its user", figures=figures)
    return Finding(
        check="unattributed",
        status="warn",
        message=f"{_counted(report.calls, 'call')} named no user: {report.credits} credits, {_dollars(report.cost)}",
        next_step="use fare.run(…) or fare.user(…) around them, or open with require_user=True to refuse them",
        figures=figures,
    )


def _unpriced(engine: Engine) -> Finding:
    counts = Counter(event.model for event in _unpriced_events(engine))
    by_model = dict(sorted(counts.items(), key=lambda model: (-model[1], model[0])))
    figures = {"calls": counts.total(), "models": by_model}
    if not by_model:
        return Finding(check="unpriced", status="ok", message="every call has a price", figures=figures)
    named = ", ".join(f"{model} {count:,}" for model, count in list(by_model.items())[:_NAMED_MAX])
    others = f" and {len(by_model) - _NAMED_MAX:,} other models" if len(by_model) > _NAMED_MAX else ""
    return Finding(
        check="unpriced",
        status="warn",
        message=f"{_counted(counts.total(), 'call')} without a price: {named}{others}",
        next_step="add their rates to a price book, then `callfare reprice --book FILE`",
        figures=figures,
    )


def _unpriced_events(engine: Engine) -> Iterator[Event]:
    account_id, key = -1, ""
    while True:
        page = engine.store.select(UnpricedEvents(after_account_id=account_id, after_key=key, limit=_PAGE))
        for row in page:
            assert isinstance(row, Event), row
            yield row
            account_id, key = row.account_id, row.key
        if len(page) < _PAGE:
            return


def _spool(engine: Engine) -> Finding:
    try:
        found = report(engine)
    except CallfareError as error:
        return Finding(check="spool", status="warn", message=error.message, next_step="become that user")
    if engine.delivery is None or found.folder is None:
        return Finding(check="spool", status="ok", message="none: what this ledger cannot take is only logged")
    figures = {
        "folder": found.folder,
        "waiting": found.waiting,
        "oldest_at": found.oldest_at,
        "cost": found.cost,
        "refused": found.refused_count,
        "damaged": len(found.damaged),
    }
    if found.refused_count or found.damaged:
        message = (
            f"{_counted(found.refused_count, 'call')} refused when delivered, "
            f"{_counted(len(found.damaged), 'file')} damaged, {found.waiting:,} waiting in {found.folder}"
        )
        step = "look at them with `callfare spool`"
    elif found.waiting:
        message = f"{_counted(found.waiting, 'call')} of {_dollars(found.cost)} waiting in {found.folder}"
        step = "deliver them with `callfare spool drain`, unless a living process does"
    elif not engine.delivery.spool.is_writable():
        message = f"{found.folder} cannot be written, so finished calls would be lost while the ledger is away"
        step = "set CALLFARE_SPOOL_DIR to a folder on a local disk"
    else:
        return Finding(check="spool", status="ok", message=f"nothing waits in {found.folder}", figures=figures)
    return Finding(check="spool", status="warn", message=message, next_step=step, figures=figures)


def _repeats(engine: Engine, tally: _Tally) -> Finding:
    cost = Usd.of_units(tally.repeated_picousd)
    figures = {"attempts": tally.attempts, "duplicates": tally.duplicates, "cost": cost}
    event = tally.dearest_repeat
    if event is None:
        message = "no call was made twice under one key or response id"
        return Finding(check="repeats", status="ok", message=message, figures=figures)
    return Finding(
        check="repeats",
        status="warn",
        message=(
            f"{_counted(tally.attempts, 'further attempt')} at a step and {_counted(tally.duplicates, 'duplicate')} "
            f"of a response id cost {_dollars(cost)} that no user was charged"
        ),
        next_step=f"see the dearest with {_look_at(engine, event)}; {_WHY_REPEATED}",
        figures=figures,
    )


_WHY_REPEATED = "look for steps that are retried and for a provider's doubles"


def _look_at(engine: Engine, event: Event) -> str:
    """Return the command that shows an event: its run's calls, or its own story where it is in no run."""
    if event.run_id is None:
        return f"`callfare explain {shlex.quote(charge_id(event.account_id, event.key))}`"
    user = _user_of(engine, event.account_id)
    whose = f" --user {shlex.quote(user)}" if user is not None else ""
    return f"`callfare calls{whose} {shlex.quote(event.run_id)}`"


def _user_of(engine: Engine, account_id: int) -> str | None:
    rows = engine.store.select(UserOf(account_id=account_id))
    return next((row.user for row in rows if isinstance(row, User)), None)


def prices_of_sale(engine: Engine) -> Finding:
    """Return what is sold for less than what its credits pay for costs, with the figures and a way out."""
    markup = engine.settings.markup_at(engine.clock.now_us())
    sale = offered(engine.settings)
    packages = sale.products
    losing = below_cost(packages, markup)
    sold = [{"id": package.id, "price": package.price, "pays_for": cost_of(package, markup)} for package in losing]
    figures = {"markup": markup, "below_cost": sold}
    if not losing:
        message = f"no package sells below cost at markup {quantity_text(markup)}"
        return Finding(check="packages", status="ok", message=message, figures=figures)
    named = "; ".join(
        f"{package.name} sold for {_dollars(package.price)} pays for {_dollars(cost_of(package, markup))} of list cost"
        for package in losing
    )
    enough = max(
        Fraction(package.credits.decimal) / CREDITS_PER_USD / Fraction(package.price.decimal) for package in packages
    )
    return Finding(
        check="packages",
        status="warn",
        message=f"{_counted(len(losing), 'package')} below cost at markup {quantity_text(markup)}: {named}",
        next_step=(
            f"a markup of {quantity_text(enough)} or more, set with Callfare(markup=…) in the app and --markup here, "
            "or other prices, sells none below cost"
        ),
        figures=figures,
    )


def _debts(engine: Engine, tally: _Tally) -> Finding:
    total, largest = Credits.of_units(tally.debt_nanocredits), Credits.of_units(tally.largest_nanocredits)
    unattributed = Credits.of_units(tally.unattributed_nanocredits)
    user = _user_of(engine, tally.largest_account_id) if tally.debtors else None
    figures = {
        "users": tally.debtors,
        "total": total,
        "largest": largest,
        "largest_user": user,
        "unattributed": unattributed,
    }
    said, advice = [], []
    if tally.debtors:
        said.append(
            f"{_counted(tally.debtors, 'user')} in debt, {total} credits in all; the most, {largest}, by {user}"
        )
        advice.append("the next grant of each user pays it first; hold more before long calls with hold='high'")
    if unattributed:
        said.append(f"calls that named no user owe {unattributed} credits, which nobody pays")
        advice.append("name users with fare.user(…) or fare.run(…), or open with require_user=True")
    if not said:
        return Finding(check="debts", status="ok", message="nobody owes anything", figures=figures)
    return Finding(check="debts", status="warn", message="; ".join(said), next_step="; ".join(advice), figures=figures)


def _due(tally: _Tally) -> Finding:
    held = Credits.of_units(tally.due_nanocredits)
    figures = {"runs": tally.due_runs, "jobs": tally.due_jobs, "held": held}
    if not tally.due_runs and not tally.due_jobs:
        return Finding(
            check="expired", status="ok", message="nothing past its time waits to be settled", figures=figures
        )
    return Finding(
        check="expired",
        status="warn",
        message=(
            f"past their time and not yet settled: {_counted(tally.due_runs, 'run')} and "
            f"{_counted(tally.due_jobs, 'job')}, with {held} credits held"
        ),
        next_step="balances already count them as ended; the next write for each user settles them",
        figures=figures,
    )


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _dollars(amount: Usd) -> str:
    whole, _, part = str(amount).partition(".")
    return f"${whole}.{part.ljust(2, '0')}"
