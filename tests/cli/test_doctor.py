"""The doctor, finding by finding: when it is content, when it warns, and when something has failed."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

import apsw
import pytest

from callfare import Callfare, Credits, Usd
from callfare.clock import ManualClock
from callfare.engine.doctor import examine, worst
from callfare.errors import LedgerNotFound, LedgerUnavailable
from callfare.facade import open_engine
from callfare.store.protocol import StoreFacts
from callfare.store.statements import load_migrations

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


class Practice:
    """A ledger on disk or in memory, and what the doctor finds in it."""

    def __init__(self, url, clock, **settings):
        self.clock = clock
        self.fare = Callfare(url, clock=clock, **settings)
        self.engine = self.fare._engine
        self.engine.store.create()

    def finding(self, check):
        return next(finding for finding in examine(self.engine) if finding.check == check)


@pytest.fixture
def clock():
    """A clock at noon of 2 March 2026, UTC."""
    return ManualClock(NOON)


@pytest.fixture(params=["memory", "sqlite"])
def practice(request, tmp_path, clock):
    """An empty ledger on each store."""
    url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/callfare.db"
    practice = Practice(url, clock)
    if request.param == "sqlite":
        settle_file(tmp_path / "callfare.db")
    yield practice
    practice.fare.close()


@pytest.fixture
def on_disk(tmp_path, clock):
    """An empty ledger in a file."""
    practice = Practice(f"sqlite:///{tmp_path}/callfare.db", clock)
    yield practice
    practice.fare.close()


def settle_file(path):
    """Let a file have been changed at noon of 2 March 2026, as the clock of the tests has it."""
    for part in (path, path.with_name(f"{path.name}-wal")):
        if part.exists():
            os.utime(part, (NOON.timestamp(), NOON.timestamp()))


def test_a_ledger_without_trouble_is_fine_but_for_the_packages(practice):
    practice.fare.grant("alice", 100, key="g")
    practice.fare.record("whisper-1", {"audio_seconds": 60}, user="alice")

    findings = examine(practice.engine)

    looked_at = {finding.check for finding in findings if finding.status != "ok"}
    assert looked_at - {"clock"} == {"packages"}
    assert worst(findings) == "warn"


def test_usage_that_named_no_user_is_counted(practice):
    with pytest.warns(UserWarning, match="names no user"):
        practice.fare.record("whisper-1", {"audio_seconds": 60})
    practice.fare.record("whisper-1", {"audio_seconds": 60}, key="again")

    finding = practice.finding("unattributed")

    assert finding.status == "warn"
    assert finding.message == "2 calls named no user: 1.2 credits, $0.012"
    assert finding.figures == {"calls": 2, "credits": Credits("1.2"), "cost": Usd("0.012")}


def test_unpriced_usage_is_counted_by_model_the_most_first(practice):
    for number in range(7):
        practice.fare.record("model-a", {"input_tokens": 1}, user="alice", key=f"a{number}")
    for number in range(6):
        practice.fare.record(f"model-{number}", {"input_tokens": 1}, user="alice")

    finding = practice.finding("unpriced")

    assert finding.message == (
        "13 calls without a price: model-a 7, model-0 1, model-1 1, model-2 1, model-3 1 and 2 other models"
    )
    assert finding.figures["models"]["model-5"] == 1


def test_further_attempts_and_doubled_response_ids_are_told_with_their_cost(practice):
    practice.fare.grant("alice", 500, key="g")
    with practice.fare.run("story", user="alice", run_id="r") as run:
        run.record("whisper-1", {"audio_seconds": 60}, step="hear", response_id="one")
    with practice.fare.run("story", user="alice", run_id="r2") as run:
        run.record("whisper-1", {"audio_seconds": 60}, response_id="two")
        run.record("whisper-1", {"audio_seconds": 120}, response_id="two")

    finding = practice.finding("repeats")

    assert finding.status == "warn"
    assert finding.message == (
        "0 further attempts at a step and 1 duplicate of a response id cost $0.012 that no user was charged"
    )
    assert finding.figures == {"attempts": 0, "duplicates": 1, "cost": Usd("0.012")}
    assert finding.next_step == (
        "see the dearest with `callfare calls --user alice r2`; "
        "look for steps that are retried and for a provider's doubles"
    )


def test_a_repeat_outside_a_run_is_named_by_its_charge(practice):
    practice.fare.record("whisper-1", {"audio_seconds": 60}, user="alice", response_id="two")
    charge = practice.fare.record("whisper-1", {"audio_seconds": 120}, user="alice", response_id="two")

    finding = practice.finding("repeats")

    assert finding.next_step.startswith(f"see the dearest with `callfare explain '{charge.id}'`; ")


def test_packages_that_sell_below_cost_are_named_with_figures(practice):
    finding = practice.finding("packages")

    assert finding.message == (
        "3 packages below cost at markup 1: Creator sold for $18.00 pays for $20.00 of list cost; "
        "Pro sold for $40.00 pays for $50.00 of list cost; Studio sold for $100.00 pays for $150.00 of list cost"
    )
    assert finding.next_step == (
        "a markup of 1.5 or more, set with Callfare(markup=…) in the app and --markup here, or other prices, "
        "sells none below cost"
    )


@pytest.mark.parametrize(("markup", "status"), [("1.49", "warn"), ("1.5", "ok"), ("2", "ok")])
def test_the_markup_in_force_now_decides_which_packages_lose(clock, markup, status):
    dated = {NOON - timedelta(days=1): markup, NOON + timedelta(days=1): "1"}

    practice = Practice("memory://", clock, markup=dated)

    assert practice.finding("packages").status == status


def test_debts_are_told_in_all_and_with_the_largest(practice):
    practice.fare.record("whisper-1", {"audio_seconds": 60}, user="alice")
    practice.fare.record("whisper-1", {"audio_seconds": 600}, user="bob")

    finding = practice.finding("debts")

    assert finding.message == "2 users in debt, 6.6 credits in all; the most, 6, by bob"


def test_a_debt_of_calls_without_a_user_asks_for_users_and_not_for_a_grant(practice):
    with pytest.warns(UserWarning, match="names no user"):
        practice.fare.record("whisper-1", {"audio_seconds": 60})

    finding = practice.finding("debts")

    assert finding.message == "calls that named no user owe 0.6 credits, which nobody pays"
    assert finding.next_step == "name users with fare.user(…) or fare.run(…), or open with require_user=True"
    assert finding.figures["users"] == 0
    assert finding.figures["unattributed"] == Credits("0.6")


def test_debts_of_users_and_of_nobody_each_have_their_advice(practice):
    with pytest.warns(UserWarning, match="names no user"):
        practice.fare.record("whisper-1", {"audio_seconds": 60})
    practice.fare.record("whisper-1", {"audio_seconds": 120}, user="bob")

    finding = practice.finding("debts")

    assert finding.message == (
        "1 user in debt, 1.2 credits in all; the most, 1.2, by bob; "
        "calls that named no user owe 0.6 credits, which nobody pays"
    )
    assert finding.next_step == (
        "the next grant of each user pays it first; hold more before long calls with hold='high'; "
        "name users with fare.user(…) or fare.run(…), or open with require_user=True"
    )


def test_a_paid_debt_is_none(practice):
    practice.fare.record("whisper-1", {"audio_seconds": 60}, user="alice")
    practice.fare.grant("alice", 100, key="g")

    assert practice.finding("debts").message == "nobody owes anything"


def test_runs_past_their_time_that_nobody_settled_are_told_with_what_they_hold(practice):
    practice.fare.grant("alice", 500, key="g")
    practice.fare.open_run("story", user="alice", ttl_s=60)

    before = practice.finding("expired")
    practice.clock.advance(61)
    after = practice.finding("expired")
    practice.fare.grant("alice", 1, key="g2")
    settled = practice.finding("expired")

    assert (before.status, after.status, settled.status) == ("ok", "warn", "ok")
    assert after.message == "past their time and not yet settled: 1 run and 0 jobs, with 100 credits held"


def test_a_clock_behind_the_newest_row_is_told(practice):
    practice.clock.advance(90)
    practice.fare.grant("alice", 500, key="g")
    practice.clock.advance(-90)

    finding = practice.finding("clock")

    assert finding.status == "warn"
    assert finding.next_step == "set this machine's clock; until then expiry and windows of time are off by as much"


def test_a_clock_behind_the_newest_row_is_told_by_how_much(clock):
    practice = Practice("memory://", clock)
    practice.clock.advance(90)
    practice.fare.grant("alice", 500, key="g")
    practice.clock.advance(-90)

    assert practice.finding("clock").message == (
        "the clock is 90 s behind the newest row of the ledger or the last change of its file"
    )


def test_a_clock_that_agrees_is_fine(clock, tmp_path):
    practice = Practice(f"sqlite:///{tmp_path}/callfare.db", clock)
    practice.fare.grant("alice", 500, key="g")
    settle_file(tmp_path / "callfare.db")

    assert practice.finding("clock").status == "ok"


def test_no_prices_at_all_is_told(clock):
    practice = Practice("memory://", clock, seed_prices=False, catalogue="none")

    assert practice.finding("prices").status == "warn"


def test_the_file_is_told_with_its_path_size_and_rows(on_disk, tmp_path):
    on_disk.fare.grant("alice", 500, key="g")

    finding = on_disk.finding("database")

    assert finding.status == "ok"
    assert finding.figures["path"] == f"{tmp_path}/callfare.db"
    assert finding.figures["bytes"] > 4096
    assert finding.figures["mode"] == "0600"
    assert finding.message.startswith(f"{tmp_path}/callfare.db, ")


def test_a_file_that_others_may_read_is_told_with_its_remedy(on_disk, tmp_path):
    (tmp_path / "callfare.db").chmod(0o644)

    finding = on_disk.finding("database")

    assert finding.status == "warn"
    assert finding.message.endswith("mode 0644: other users of this machine may open it")
    assert finding.next_step == f"chmod 600 {tmp_path}/callfare.db"


def test_sqlite_is_told_with_what_makes_it_durable(on_disk):
    finding = on_disk.finding("sqlite")

    assert finding.status == "ok"
    assert finding.message == f"SQLite {apsw.sqlite_lib_version()}, journal wal, synchronous full"


@pytest.mark.parametrize(("version", "status"), [(None, "ok"), (0, "fail")])
def test_a_postgresql_ledger_is_told_with_its_version_and_schema(clock, monkeypatch, version, status):
    practice = Practice("memory://", clock)
    newest = load_migrations("postgres")[-1].number
    facts = StoreFacts(
        url="postgresql://db.example:5432/shop",
        engine="PostgreSQL 15.14",
        schema_version=newest if version is None else version,
        rows={"events": 1200},
    )
    monkeypatch.setattr(practice.engine.store, "facts", lambda: facts)

    database, schema = practice.finding("database"), practice.finding("schema")

    assert database.status == "ok"
    assert database.message == "PostgreSQL 15.14 at postgresql://db.example:5432/shop, 1,200 rows"
    assert schema.status == status
    assert "sqlite" not in {finding.check for finding in examine(practice.engine)}


def test_a_journal_that_could_lose_what_was_answered_has_failed(on_disk, monkeypatch):
    connect = on_disk.engine.store.file.connect

    def without_log():
        connection = connect()
        connection.pragma("synchronous", "normal")
        return connection

    monkeypatch.setattr(on_disk.engine.store.file, "connect", without_log)

    assert on_disk.finding("sqlite").status == "fail"


def test_a_file_opened_for_reading_only_is_looked_over_too(on_disk, tmp_path, clock):
    on_disk.fare.grant("alice", 500, key="g")
    engine = open_engine(
        f"sqlite:///{tmp_path}/callfare.db?mode=ro", (), seed_prices=True, markup=1, require_user=False, clock=clock
    )

    findings = examine(engine)

    assert {finding.status for finding in findings if finding.check in {"database", "sqlite", "schema"}} == {"ok"}
    engine.close()


def test_a_ledger_of_a_newer_callfare_is_one_failed_finding(on_disk, tmp_path):
    on_disk.fare.close()
    connection = apsw.Connection(str(tmp_path / "callfare.db"))
    connection.pragma("user_version", 999)
    connection.close()

    (finding,) = examine(on_disk.engine)

    assert (finding.check, finding.status, finding.next_step) == ("database", "fail", "upgrade callfare")


def test_a_ledger_that_does_not_answer_is_one_failed_finding(on_disk, monkeypatch):
    def busy():
        raise LedgerUnavailable("in use by another process")

    monkeypatch.setattr(on_disk.engine.store, "facts", busy)

    (finding,) = examine(on_disk.engine)

    assert (finding.status, finding.next_step) == ("fail", "see who else uses the file, then try again")


def test_a_ledger_that_is_not_there_is_an_error_and_none_is_made(tmp_path, clock):
    engine = open_engine(
        f"sqlite:///{tmp_path}/none.db", (), seed_prices=True, markup=1, require_user=False, clock=clock
    )

    with pytest.raises(LedgerNotFound):
        examine(engine)

    assert list(tmp_path.iterdir()) == []


def test_progress_tells_every_table_that_was_read(practice):
    practice.fare.record("whisper-1", {"audio_seconds": 60}, user="alice")
    heard = []

    examine(practice.engine, lambda table, count: heard.append((table, count)))

    assert heard == [("events", 1), ("accounts", 1), ("runs", 0), ("jobs", 0)]
