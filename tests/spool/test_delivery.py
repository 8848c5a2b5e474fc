"""Delivery: in order, once, as soon as the ledger answers, without asking it again and again while it does not."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from callfare import AsyncCallfare, Callfare, Credits, InsufficientCredit, LedgerUnavailable
from callfare.delivery import Delivery
from callfare.errors import KeyConflict
from callfare.finished import Finished
from callfare.spool import Spool
from callfare.spool_file import Entry
from callfare.spool_place import Place
from callfare.store.sqlite import SqliteStore
from tests.spool.away import MovedFile
from tests.support.commands import record
from tests.support.fixtures import address, give_back

IMAGE = {"model": "gpt-image-1", "usage": {"images": 1}, "attributes": {"size": "1024x1024"}}


@pytest.fixture
def away(tmp_path: Path) -> Iterator[MovedFile]:
    """A file that can be moved away; here, nothing depends on the kind of ledger."""
    away = MovedFile(tmp_path / "ledger.db")
    yield away
    away.end()


# The breaker


def test_the_ledger_is_asked_once_and_not_for_each_call(fare, away, asked, patient):
    with fare.run("tweet", user="alice", hold=50) as run:
        away.begin()
        del asked[:]
        for _ in range(10):
            run.record(**IMAGE)

    assert asked == [1]
    assert fare.spool().waiting == 11


def test_a_call_outside_a_run_is_refused_at_once_while_the_ledger_is_known_to_be_away(
    fare, away, client, fake, patient, monkeypatch
):
    away.begin()
    fare.record(**IMAGE, user="alice")
    monkeypatch.setattr(SqliteStore, "snapshot", None)

    with pytest.raises(LedgerUnavailable, match="asked again"), fare.user("alice"):
        client.images.generate(model="gpt-image-1", prompt="a cat", size="1024x1024")

    assert fake.count == 0


def test_what_waits_is_delivered_in_batches(fare, away, asked, patient):
    run = fare.open_run("tweet", user="alice", hold=50)
    away.begin()
    for _ in range(10):
        run.record(**IMAGE)
    away.end()
    del asked[:]

    done = fare.drain_spool()

    assert (done.delivered, done.refused, done.waiting) == (10, 0, 0)
    # One to see whether the ledger answers, then all of them.
    assert asked == [1, 10]


def test_somebody_elses_answer_ends_the_wait(fare, away, patient):
    away.begin()
    fare.record(**IMAGE, user="alice")
    thread = fare._engine.delivery._thread
    away.end()

    fare.grant("alice", 1, key="more")

    thread.join(60)
    assert fare.spool().waiting == 0


def test_a_long_outage_makes_no_file_for_each_time_the_ledger_is_asked(fare, away, patient, tmp_path):
    away.begin()
    for _ in range(5):
        fare.record(**IMAGE, user="alice")
        with pytest.raises(LedgerUnavailable):
            fare.drain_spool()

    assert len(list((tmp_path / "ledger.db.spool").iterdir())) == 1


# Order


def test_a_run_does_not_end_before_its_calls_are_known(fare, away, patient):
    with fare.run("tweet", user="alice", hold=50) as run:
        away.begin()
        run.record(**IMAGE)
        away.end()
        # The ledger is back, but this one must stand behind the first.
        charge = run.record(**IMAGE)
    fare.drain_spool()

    assert charge.is_spooled
    assert [call.flags for call in fare.calls(run).items] == [(), ()]


def test_closing_a_run_by_hand_delivers_its_calls_first(fare, away, patient):
    run = fare.open_run("tweet", user="alice", hold=50)
    away.begin()
    run.record(**IMAGE)
    with pytest.raises(LedgerUnavailable):
        run.close()
    away.end()

    receipt = run.close()

    assert (receipt.charged, receipt.calls) == (Credits(4), 1)


def test_calls_that_finish_during_a_delivery_do_not_stand_behind_each_other_for_ever(fare, away, patient, monkeypatch):
    away.begin()
    fare.record(**IMAGE, user="alice", key="first")
    away.end()
    delivery, apply, threads = fare._engine.delivery, SqliteStore.apply, []

    def meanwhile(number: int) -> None:
        fare.record(**IMAGE, user="alice", key=f"meanwhile-{number}")

    def applying(store, commands):
        if threading.current_thread() is threading.main_thread() and len(threads) < 20:
            threads.append(threading.Thread(target=meanwhile, args=(len(threads),)))
            threads[-1].start()
            while not delivery.spool._queue and threads[-1].is_alive():
                threading.Event().wait(0.001)
        return apply(store, commands)

    monkeypatch.setattr(SqliteStore, "apply", applying)
    fare.drain_spool()
    for thread in threads:
        thread.join(60)

    assert len(threads) < 5
    fare.drain_spool()
    assert fare.balance("alice").available == Credits(100 - 4 * (1 + len(threads)))


# Once


def test_what_is_delivered_twice_counts_once(fare, away, patient, tmp_path):
    with fare.run("tweet", user="alice", hold=50) as run:
        away.begin()
        run.record(**IMAGE)
        run.record(**IMAGE, step="draw")
    [path] = (tmp_path / "ledger.db.spool").glob("*.jsonl")
    text = path.read_bytes()
    away.end()
    fare.drain_spool()
    before = fare.calls(run).items, fare.balance("alice")

    path.with_name("spool_again-000001.jsonl").write_bytes(text)
    done = fare.drain_spool()

    assert done.delivered == 3
    assert (fare.calls(run).items, fare.balance("alice")) == before


def test_an_answer_that_was_lost_is_not_charged_again(fare, patient, monkeypatch):
    apply = SqliteStore.apply

    def lose_the_answer(store, commands):
        apply(store, commands)
        raise LedgerUnavailable("the answer was lost")

    with fare.run("tweet", user="alice", hold=50) as run:
        with monkeypatch.context() as patched:
            patched.setattr(SqliteStore, "apply", lose_the_answer)
            charge = run.record(**IMAGE)
        fare.drain_spool()
        left = run.left

    assert charge.is_spooled
    assert [call.id for call in fare.calls(run).items] == [charge.id]
    assert left == Credits(46)


def test_a_fault_of_the_store_keeps_a_captured_call_as_well(fare, client, patient, monkeypatch):
    with fare.run("tweet", user="alice", hold=50) as run:
        with monkeypatch.context() as patched:
            patched.setattr(SqliteStore, "apply", _fault)
            client.images.generate(model="gpt-image-1", prompt="a cat", size="1024x1024")
        waiting = fare.spool().waiting
        fare.drain_spool()

    assert waiting == 1
    assert [call.credits for call in fare.calls(run).items] == [Credits(4)]


def _fault(*_: object) -> object:
    raise ZeroDivisionError("a bug")


# Refused


def test_what_the_ledger_refuses_is_kept_with_its_reason_and_stops_nothing(fare, away, patient, caplog):
    fare.record(**IMAGE, user="alice", key="mine")
    away.begin()
    fare.record("gpt-5-mini", {"input_tokens": 1}, user="alice", key="mine")
    fare.record(**IMAGE, user="alice", key="other")
    away.end()

    done = fare.drain_spool()

    assert (done.delivered, done.refused) == (1, 1)
    [refused] = fare.spool().refused
    assert (refused.kind, refused.key, refused.model) == ("usage", "mine", "gpt-5-mini")
    assert refused.reason.startswith("key_conflict: ")
    assert "refused" in caplog.text
    (fare._engine.delivery.spool.folder / "refused.jsonl").unlink()
    with pytest.raises(KeyConflict):
        fare.record("gpt-5-mini", {"input_tokens": 1}, user="alice", key="mine")


def test_what_was_refused_can_be_tried_again_once_the_reason_is_gone(tmp_path):
    spool = Spool(Place(tmp_path / "ledger.db.spool", "ledger.db", is_beside=True))
    with Callfare(f"sqlite:///{tmp_path}/ledger.db") as fare:
        fare.grant("alice", 100, key="k")
        command = fare._engine.requests.close("late", None, "completed", None)
        spool.keep([Entry(command=command, at_us=1)])
        spool.close()
        first = fare.drain_spool()
        fare.open_run("tweet", user="alice", run_id="late")

        again = fare.drain_spool(refused=True)

        assert (first.refused, again.delivered, again.refused) == (1, 1, 0)
        assert fare.spool().refused_count == 0
        assert fare.history("alice").items[0].status == "completed"


def test_a_fault_while_delivering_keeps_the_call_among_the_refused(fare, away, patient, monkeypatch):
    away.begin()
    fare.record(**IMAGE, user="alice")
    away.end()

    with monkeypatch.context() as patched:
        patched.setattr(SqliteStore, "apply", _fault)
        done = fare.drain_spool()

    assert (done.delivered, done.refused) == (0, 1)
    assert fare.spool().refused[0].reason == "fault: ZeroDivisionError('a bug')"
    assert fare.drain_spool(refused=True).delivered == 1


# The local view of a run


def test_a_delivery_gives_the_view_back_exactly_what_it_counted(fare, away, patient):
    run = fare.open_run("tweet", user="alice", hold=50)
    run.record(**IMAGE)
    away.begin()
    run.record(**IMAGE)
    run.record(**IMAGE)
    before = run.left
    away.end()

    fare.drain_spool()

    assert (before, run.left) == (Credits(38), Credits(38))
    assert fare._engine.delivery._views == {}
    run.close()


def test_an_answer_of_the_ledger_does_not_make_the_view_forget_what_waits(fare, away, patient):
    run = fare.open_run("tweet", user="alice", hold=20)
    away.begin()
    run.record(**IMAGE)
    away.end()

    run.extend(10)

    assert run.left == Credits(26)
    run.close()
    assert run.receipt.charged == Credits(4)


def test_a_refused_call_no_longer_counts_against_its_run(fare, away, patient):
    fare.record(**IMAGE, user="alice", key="mine")
    run = fare.open_run("tweet", user="alice", hold=20)
    away.begin()
    run.record("gpt-image-1", {"images": 2}, attributes={"size": "1024x1024"}, key="mine")
    before = run.left
    away.end()

    fare.drain_spool()

    assert (before, run.left) == (Credits(12), Credits(20))
    assert fare.spool().refused[0].reason.startswith("key_conflict")
    run.close()
    (fare._engine.delivery.spool.folder / "refused.jsonl").unlink()


# Where nothing can be written


def test_where_the_spool_cannot_be_written_the_whole_call_is_logged(fare, away, patient, monkeypatch, caplog):
    run = fare.open_run("tweet", user="alice", hold=50)
    monkeypatch.setattr("os.fsync", _no_space)
    away.begin()

    with pytest.raises(LedgerUnavailable):
        run.record(**IMAGE, key="mine")

    assert '"usage":"{\\"images\\":\\"1\\"}"' in caplog.text
    assert '"key":"key:mine"' in caplog.text
    assert run.left == Credits(50)
    monkeypatch.undo()
    away.end()
    assert run.record(**IMAGE, key="mine").is_spooled is False
    run.close()


def test_a_captured_call_has_its_answer_though_nothing_can_be_written(fare, away, client, patient, monkeypatch, caplog):
    run = fare.open_run("tweet", user="alice", hold=50)
    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", _no_space)
        away.begin()
        with run.active():
            image = client.images.generate(model="gpt-image-1", prompt="a cat", size="1024x1024")

    assert image.data
    assert "neither the ledger nor its spool can be written" in caplog.text
    away.end()
    run.close()


def _no_space(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_ledger_that_is_only_read_and_one_in_memory_have_no_spool(tmp_path):
    with Callfare(f"sqlite:///{tmp_path}/ledger.db") as fare:
        fare.grant("alice", 100, key="k")
    with Callfare(f"sqlite:///{tmp_path}/ledger.db?mode=ro") as reader, Callfare("memory://") as memory:
        assert (reader.spool().folder, memory.spool().folder) == (None, None)
        assert memory.drain_spool().delivered == 0
        with pytest.raises(LedgerUnavailable):
            reader.record(**IMAGE, user="alice")


# Starting and ending


def test_what_a_process_left_is_delivered_when_the_ledger_is_opened(tmp_path):
    away = MovedFile(tmp_path / "ledger.db")
    with Callfare(away.url) as fare:
        fare.grant("alice", 100, key="k")
        away.begin()
        fare.record(**IMAGE, user="alice")
    away.end()

    with Callfare(away.url) as fare:
        assert fare.balance("alice").available == Credits(96)
    assert list((tmp_path / "ledger.db.spool").iterdir()) == []


async def test_what_a_process_left_comes_before_what_an_async_one_asks(tmp_path):
    away = MovedFile(tmp_path / "ledger.db")
    with Callfare(away.url) as fare:
        fare.grant("alice", 100, key="k")
        away.begin()
        fare.record(**IMAGE, user="alice")
    away.end()

    async with AsyncCallfare(away.url) as fare:
        with pytest.raises(InsufficientCredit):
            await fare.open_run("tweet", user="alice", hold=97)


def test_a_call_that_ends_after_the_ledger_was_closed_is_kept_for_the_next_start(tmp_path, client_of):
    away = MovedFile(tmp_path / "ledger.db")
    with Callfare(away.url) as fare:
        fare.grant("alice", 100, key="k")
        client = client_of(fare)
        run = fare.open_run("tweet", user="alice", hold=20, run_id="r")
    with run.active():
        client.images.generate(model="gpt-image-1", prompt="a cat", size="1024x1024")

    fare._engine.delivery.close()
    with Callfare(away.url) as later:
        later.drain_spool()
        assert [call.credits for call in later.calls("r").items] == [Credits(4)]


def test_the_thread_ends_with_the_ledger(fare, away, patient):
    away.begin()
    fare.record(**IMAGE, user="alice")
    thread = fare._engine.delivery._thread

    fare._engine.delivery.close()

    assert not thread.is_alive()
    fare._engine.delivery._is_closed = False


def test_delays_grow_and_stay_below_what_recovery_may_take(tmp_path, monkeypatch):
    waited: list[float] = []
    delivery = Delivery(Spool(Place(tmp_path / "s", "l", is_beside=True)), _Away(), clock=_Noon())  # type: ignore[arg-type]
    ended = threading.Event()

    def wait(seconds: float) -> bool:
        waited.append(seconds)
        if len(waited) == 8:
            delivery._is_closed = True
            ended.set()
        return False

    monkeypatch.setattr(delivery._wake, "wait", wait)
    delivery.keep([Finished(record("4", user="alice"))])

    assert ended.wait(60)
    assert waited[:8] == [0.1, 0.2, 0.5, 1.0, 2.0, 2.0, 2.0, 2.0]


class _Away:
    max_batch = 8

    def apply(self, _commands):
        raise LedgerUnavailable("away")


class _Noon:
    def now_us(self) -> int:
        return 0


def test_a_call_is_kept_when_the_schema_has_gone_under_its_run(tmp_path):
    url = address("postgres", tmp_path)
    try:
        with Callfare(url, spool=tmp_path / "spool") as fare, psycopg.connect(url, autocommit=True) as server:
            fare.grant("alice", 100, key="k")
            run = fare.open_run("tweet", user="alice", hold=20)

            server.execute("ALTER SCHEMA callfare RENAME TO elsewhere")
            charge = run.record("gpt-image-1", {"images": 1}, attributes={"size": "1024x1024"})
            server.execute("ALTER SCHEMA elsewhere RENAME TO callfare")

            assert charge.is_spooled
            assert fare.drain_spool().refused == 0
            assert fare.spool().waiting == 0
    finally:
        give_back(tmp_path)
