"""`./run bench` at tiny counts: every row is there and every ledger was checked. Nothing here asserts a speed."""

from __future__ import annotations

import asyncio
import xml.etree.ElementTree as ET

import pytest

from bench import page
from bench.__main__ import DOCS, ROWS, measure
from bench.ledgers import sqlite_ledger
from bench.machine import told
from bench.naive import NaiveSqlite
from bench.pictures import Line, chart
from bench.profile import profile
from bench.record import NaiveSide
from bench.rounds import TINY, Stage
from bench.table import Figure, Row, at_least, at_most, text_of
from tests.support.convex import why_missing
from tests.support.postgres import shared_server

pytestmark = pytest.mark.all

STORES = ("SQLite", "PostgreSQL")

# One row of each: what is measured, against what, under which bar.
BARRED = {
    ("PostgreSQL, spread, 256", "naive", "≥ 6 (aim 12, 30)"),
    ("PostgreSQL, one run, 256", "spread", "≥ 1"),
    ("SQLite, one run, 256", "spread", "≥ 1"),
    ("PostgreSQL, open + close, one account, 256", "textbook, 32", "≥ 20 (aim 40, 100)"),
    ("SQLite, one sync record", "fdatasync of 8 KiB", "≤ 2 (aim 1.5)"),
    ("added to a wrapped call, sync", "the bare call", "≤ 100 µs"),
    ("added to a wrapped call, async", "the bare call", "≤ 100 µs"),
    ("rate, as a record does", "genai-prices calc_price", "≥ 10"),
    ("  the same, a call", "genai-prices calc_price", "≤ 5 µs"),
    ("a book of 2,000 rates, read", "tomllib, its text alone", "≤ 5"),
    ("SQLite, 400 records at once", "bare executemany of the rows", "≥ 0.2 (aim 0.4)"),
    ("PostgreSQL, 400 records at once", "bare COPY of the rows", "≥ 0.2 (aim 0.4)"),
    ("PostgreSQL, webhooks, 20% replays, 256", "one by one, 32", "≥ 4 (aim 8)"),
    ("SQLite over HTTP, events in batches of 100", "the same in one process", "≥ 10000/s (aim 25000)"),
    ("SQLite over HTTP, events in batches of 1,000", "the same in one process", "≥ 10000/s (aim 25000)"),
    ("PostgreSQL over HTTP, events in batches of 100", "itself", "≥ 10000/s (aim 25000)"),
    ("PostgreSQL over HTTP, events in batches of 1,000", "itself", "≥ 10000/s (aim 25000)"),
    *((f"{store} over HTTP, balance read", "the server's trivial answer", "≥ 0.5 (aim 0.8)") for store in STORES),
    *((f"{store} over HTTP, p99 of a balance read during intake", "without intake", "≤ 50 ms") for store in STORES),
    *(
        (f"{store}, usage of {report}, 5,000 events", "50 events", "≤ 1.3")
        for store in ("SQLite", "PostgreSQL")
        for report in ("the last 30 days", "a whole month", "all time")
    ),
}


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Every row, once, on the server that all tests share: it is not durable, and no figure of it means anything."""
    stage = Stage(TINY, tmp_path_factory.mktemp("bench"), shared_server())
    rows = [row for measure in ROWS.values() for row in asyncio.run(measure(stage))]
    return rows, told(stage.folder, stage.server)


@pytest.fixture
async def ledger(tmp_path):
    async with sqlite_ledger(tmp_path / "ledger.db", 2) as ledger:
        yield ledger


def drawn(picture):
    return ET.fromstring(picture)  # noqa: S314 - it was drawn here


def test_the_table_has_every_bar(measured):
    rows, _ = measured

    assert {(row.work, row.against, str(row.bar)) for row in rows if row.bar} == BARRED


def test_the_table_has_a_line_for_every_row(measured):
    rows, _ = measured
    works = {row.work for row in rows}

    for side in ("PostgreSQL", "SQLite", "naive on PostgreSQL", "naive on SQLite"):
        assert {
            f"{side}, {kind}, {count}" for kind in ("spread", "one run") for count in ("1", "32", "256", "1,024")
        } <= works
    assert {"fare.price, three lines", "SQLite, balance read", "PostgreSQL, balance read"} <= works
    assert all(row.figure.median > 0 for row in rows if row.figure.unit == "/s")
    assert all(work in text_of(rows) for work in works)


def test_commits_and_statements_of_an_operation_are_counted(measured):
    rows, _ = measured
    file = next(row for row in rows if row.work == "SQLite, one run, 1")
    server = next(row for row in rows if row.work == "PostgreSQL, one run, 1")

    assert file.counts.commits == 1
    assert file.counts.statements >= 5
    assert server.counts.commits >= 1


def test_the_page_takes_the_table_and_the_pictures(measured, tmp_path):
    rows, machine = measured
    (tmp_path / "speed.md").write_text((DOCS / "speed.md").read_text(encoding="utf-8"), encoding="utf-8")

    written = page.write(tmp_path, rows, machine)
    text = (tmp_path / "speed.md").read_text(encoding="utf-8")

    assert [file.name for file in written[1:]] == ["callers-postgresql.svg", "callers-sqlite.svg", "reports.svg"]
    assert "| PostgreSQL, spread, 256 |" in text
    for file in written[1:]:
        assert f"](speed/{file.name})" in text
        assert ET.fromstring(file.read_text(encoding="utf-8")).tag.endswith("svg")  # noqa: S314


async def test_a_record_that_was_lost_stops_the_benchmark(ledger):
    await ledger.record_in_one(0)
    await ledger.check()

    ledger._recorded += 1

    with pytest.raises(AssertionError):
        await ledger.check()
    ledger._recorded -= 1


async def test_a_call_that_the_naive_app_lost_stops_the_benchmark(tmp_path):
    app = NaiveSqlite(tmp_path / "naive.db", users=2)
    side = NaiveSide(app, 2)
    await side.record_in_one(0)
    await side.check()

    app._connection.execute("DELETE FROM events")

    with pytest.raises(AssertionError):
        await side.check()
    app.close()


def test_a_profile_names_the_functions_of_both_threads(tmp_path):
    text = asyncio.run(profile("sqlite-spread", Stage(TINY, tmp_path, shared_server())))

    assert "event loop, by own time" in text
    assert "callfare-committer, by own time" in text
    assert "apply (store/sqlite.py" in text


@pytest.mark.parametrize(
    ("bar", "figure", "peer", "verdict"),
    [
        (at_least(6, 12, 30), 59, 10, "MISSED"),
        (at_least(6, 12, 30), 60, 10, "met"),
        (at_least(6, 12, 30), 310, 10, "met, aim 30"),
        (at_most(2, 1.5), 21, 10, "MISSED"),
        (at_most(2, 1.5), 20, 10, "met"),
        (at_most(2, 1.5), 14, 10, "met, aim 1.5"),
        (at_most(100, unit=" µs"), 101, 900, "MISSED"),
        (at_most(100, unit=" µs"), 100, 900, "met"),
    ],
)
def test_a_bar_is_met_or_missed(bar, figure, peer, verdict):
    row = Row("work", Figure("", (figure,)), "peer", Figure("", (peer,)), bar)

    assert row.verdict == verdict


def test_a_ratio_is_taken_within_each_round():
    row = Row("work", Figure("/s", (10, 40, 90)), "peer", Figure("/s", (10, 20, 30)))

    assert row.ratio.values == (1, 2, 3)
    assert row.ratio.median == 2


def test_no_table_of_costs_is_begun_where_none_were_measured():
    row = Row("work", Figure(" µs", (1, 2)))

    assert text_of([row]).splitlines()[-1].startswith("work  ")
    assert "each operation took" not in text_of([row])


def test_what_is_measured_now_is_said_before_it_is_measured(monkeypatch, capsys):
    async def slow(stage):
        assert capsys.readouterr().err == "balances: measuring\n"
        return []

    monkeypatch.setitem(ROWS, "balances", slow)
    measure(["balances"], None)

    assert capsys.readouterr().err == "balances: 0 s\n"


def test_a_picture_keeps_names_of_lines_apart():
    picture = chart(
        "Title",
        across="x",
        up="y",
        lines=[Line("one", [(1, 10), (10, 10)]), Line("two", [(1, 10), (10, 10)])],
        ticks=[1],
    )
    heights = [float(text.get("y")) for text in drawn(picture) if text.text in {"one", "two"}]

    assert abs(heights[0] - heights[1]) >= 15


def test_convex_rows_are_counted_in_every_workload_or_told_to_be_left_out(measured):
    rows, _ = measured

    counted = [row.work for row in rows if row.work.startswith("Convex, ")]

    assert len(counted) == (0 if why_missing() else 20)
    assert all(row.figure.median > 0 for row in rows if row.work.startswith("Convex, "))
