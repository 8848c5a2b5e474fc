"""A ledger with something of everything in it: lots of each source, runs of each end, jobs, debts and corrections."""

from __future__ import annotations

from datetime import timedelta

from msgspec.structs import replace

from tests.support import sale_commands as sales
from tests.support.books import Books
from tests.support.commands import (
    HOUR_S,
    START,
    START_US,
    adjust,
    asked_by,
    close,
    expire,
    extend,
    grant,
    heard,
    make_key,
    note,
    note_use,
    open_run,
    pend,
    record,
    refund,
    revoke_key,
    roll_key,
    settle,
    step,
    touch,
)

MORE_TOKENS = '{"input_tokens":"1000","output_tokens":"700"}'
RAW = '{"prompt_tokens":1000,"completion_tokens":200}'


def write_rich_ledger(books: Books, *, has_keys: bool = True) -> None:
    """Fill an empty ledger by commands alone. Three users; the clock ends a day later.

    has_keys: with API keys, audit rows and what was bought, which the first schema did not have.
    """
    _lots(books)
    _runs(books)
    _jobs(books)
    _debts(books)
    books.advance(hours=20)
    books.do_all(expire("alice"), expire("bob"))
    _still_open(books)
    if has_keys:
        _asked_by_keys(books)
        _bought(books)
    # Retention has been set, to a time before everything.
    books.store.upkeep().drop_raw([], before_us=START_US - 30 * 86_400_000_000, now_us=books.clock.now_us())


def _lots(books: Books) -> None:
    books.do_all(
        grant("alice", 500, key="purchase", paid_picousd=5_000_000_000_000),
        grant("alice", 60, key="promo", source="promo", expires_at=START + timedelta(hours=3)),
        grant("alice", 80, key="plan", source="plan", expires_at=START + timedelta(hours=20)),
        grant("alice", 7, key="gift", source="adjustment"),
        refund("20.5", grant_key="purchase"),
        grant("bob", 30, key="purchase", paid_picousd=300_000_000_000),
    )


def _runs(books: Books) -> None:
    books.do_all(
        open_run("done", hold=50, workflow="story"),
        record("1.5", run_id="done", key="first", raw=RAW, metadata='{"beat":1}'),
        heard("2.25", "resp_1", run_id="done", raw=RAW),
        heard("2.75", "resp_1", run_id="done", usage=MORE_TOKENS),
        step(3, "plan", "resp_2", run_id="done"),
        step(4, "plan", "resp_3", run_id="done"),
        record(9, run_id="done", key="guessed", is_estimated=True),
        adjust("8.125", key="guessed", usage=MORE_TOKENS, raw=RAW),
        record(run_id="done", key="unknown", is_unpriced=True),
        extend("done", 5, key="extend-done"),
        touch("done"),
        record(60, run_id="done", key="large"),
    )
    books.advance(seconds=90)
    books.do_all(
        close("done", key="close-1"),
        close("done", key="close-2"),
    )
    books.advance(seconds=1)
    books.do_all(
        adjust(2, key="unknown", kind="reprice"),
        adjust("0.5", key="first", usage=MORE_TOKENS),
        record(3, run_id="done", key="late"),
        open_run("waived", hold=10, on_failure="waive"),
        record(8, run_id="waived", key="waived-1"),
        record(12, run_id="waived", key="waived-2"),
        close("waived", "failed"),
    )
    books.advance(seconds=1)
    books.do_all(
        record(4, run_id="waived", key="waived-late"),
        adjust(6, key="waived-1", usage=MORE_TOKENS),
        open_run("cancelled", hold=10),
        close("cancelled", "cancelled", key="close-cancelled"),
        open_run("left", hold=25, ttl_s=600),
        record(11, run_id="left", key="left-1"),
    )
    books.advance(hours=1)
    books.do(expire("alice"))


def _jobs(books: Books) -> None:
    books.do_all(
        open_run("video", hold=30, workflow="video"),
        record("1.75", run_id="video", key="script"),
        pend(20, job_id="video-done", run_id="video"),
        pend(12, job_id="video-failed", run_id="video"),
        pend(6, job_id="video-lost", user="alice", ttl_s=HOUR_S),
        pend(7, job_id="video-found", user="alice", ttl_s=HOUR_S),
        pend(5, job_id="video-broken", user="alice", ttl_s=HOUR_S),
        settle("video-done"),
        settle("video-failed", "failed"),
        close("video"),
    )
    books.advance(hours=2)
    books.do_all(
        expire("alice"),
        settle("video-found", charge=record("6.5", key="video-found", user="alice")),
        settle("video-broken", "failed"),
    )


def _debts(books: Books) -> None:
    books.do_all(
        open_run("over", "bob", hold=10),
        record(45, run_id="over", key="over-1", raw=RAW),
        record(2, run_id="over", key="over-2"),
        record(run_id="over", key="over-3", is_unpriced=True),
        adjust(1, key="over-3", kind="reprice", user="bob"),
        close("over"),
        record(3, user="bob", key="direct", response_id="resp_9", response_key="response:openai::resp_9"),
        adjust(1, key="direct", user="bob", usage=MORE_TOKENS),
        refund(30, user="bob", grant_key="purchase"),
        grant("bob", 25, key="second"),
        open_run("never-paid", "carol", hold=0, on_failure="waive"),
        record(9, run_id="never-paid", key="unpaid"),
        close("never-paid", "failed"),
        record("2.5", user="carol", key="owed"),
        open_run("given-back", hold=5, on_failure="waive"),
        record(6, run_id="given-back", key="back-1"),
        adjust(2, key="back-1", usage=MORE_TOKENS),
        record("1.25", run_id="given-back", key="back-2"),
        close("given-back", "failed"),
    )


def _still_open(books: Books) -> None:
    books.do_all(
        open_run("open", hold=40, workflow="carousel"),
        step("4.5", "plan", "resp_20", run_id="open", raw=RAW, metadata='{"slide":1}'),
        record("2.125", run_id="open", key="open-2"),
        extend("open", 15, key="extend-open"),
        record(is_unpriced=True, run_id="open", key="open-3"),
        pend(9, job_id="video-pending", run_id="open"),
        pend(4, job_id="video-alone", user="alice"),
        record(1, user="alice", key="direct-1"),
    )


def _asked_by_keys(books: Books) -> None:
    books.do_all(
        make_key("key00001", audit=note("keys.make", number=1)),
        make_key("key00009", key="make-9", cap=None, scopes="all:read", user="bob"),
        asked_by(grant("alice", 12, key="by-key-1"), "key00001", number=2),
        roll_key(audit=note("keys.roll", number=3)),
        asked_by(grant("bob", "1.5", key="by-key-2"), "key00002", number=4),
        asked_by(record("0.25", user="alice", key="by-key-3"), "key00002", number=5, operation="usage.record"),
        note_use("key00002", START_US),
        revoke_key("key00009", audit=note("keys.revoke", number=6)),
    )


def _bought(books: Books) -> None:
    plan_line = {"sale": "il_1", "source": "plan", "credits": 300, "captured": 900, "state": None, "number": 3}
    books.do_all(
        sales.note_fact(),
        sales.claim_customer(),
        sales.link_customer(),
        sales.open_order(),
        sales.move_order("open", 1, session="cs_1", customer="cus_1"),
        sales.take("evt_1"),
        sales.settle_sale(order_version=2, message="evt_1"),
        sales.settle_sale(1, order_version=3, paid_back=900),
        sales.settle_sale(2, order_version=3, paid_back=450),
        sales.open_order(number=2),
        sales.settle_sale(number=2, dispute="open"),
        sales.open_order(number=3, kind="plan", credits=300),
        replace(sales.mirror(), order_id=sales.order_name(number=3)),
        sales.settle_sale(**plan_line, expires_at_us=START_US + 800 * 3600 * 1_000_000),
        sales.open_order(number=4),
        sales.take("evt_2", reason="of another installation"),
        sales.put_aside(),
        sales.put_aside("order:2"),
        sales.take_out("order:2"),
    )
