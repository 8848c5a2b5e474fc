"""Exports: exact, the same bytes from every store, safe in a spreadsheet, and whole after any interruption."""

from __future__ import annotations

import csv
import io
import json
from datetime import timedelta

import pytest

from callfare.clock import ManualClock
from callfare.engine.exported import KINDS
from callfare.engine.exporting import Export, export_file, export_to
from callfare.errors import InvalidInput, InvalidTime, Misconfigured
from callfare.store.memory import MemoryStore
from tests.support.books import Books
from tests.support.commands import START, close, grant, open_run, record
from tests.support.rich import write_rich_ledger

FORMATS = ("csv", "jsonl")
EVERY = [(kind, form) for kind in KINDS for form in FORMATS]


def exported(books: Books, kind: str, format: str = "csv", **named) -> bytes:
    stream = io.BytesIO()
    export_to(stream, books.store, Export(kind, format=format, **named))
    return stream.getvalue()


def rows_of(books: Books, kind: str, **named) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(exported(books, kind, **named).decode(), newline="")))


@pytest.fixture(scope="module")
def oracle():
    """What a memory store exports of a ledger with something of everything, by kind and format."""
    clock = ManualClock(START)
    books = Books(MemoryStore(clock), clock)
    write_rich_ledger(books)
    return {(kind, form): exported(books, kind, form) for kind, form in EVERY}


@pytest.fixture
def rich(books: Books) -> Books:
    write_rich_ledger(books)
    return books


def test_every_store_exports_the_same_bytes(rich, oracle):
    assert {(kind, form): exported(rich, kind, form) for kind, form in EVERY} == oracle


def test_both_formats_tell_the_same(oracle):
    for kind in KINDS:
        as_csv = list(csv.DictReader(io.StringIO(oracle[kind, "csv"].decode(), newline="")))
        as_json = [json.loads(line) for line in oracle[kind, "jsonl"].splitlines()]
        assert len(as_csv) == len(as_json) > 0, kind
        for cells, named in zip(as_csv, as_json, strict=True):
            assert {name: read(text, named[name]) for name, text in cells.items()} == named, kind


def read(cell: str, value: object) -> object:
    """Return what a cell says, as the kind of value that stands in JSON."""
    if isinstance(value, dict | list):
        return json.loads(cell)
    if isinstance(value, int):
        return int(cell)
    return None if value is None and not cell else cell


def test_amounts_are_exact_and_named_with_their_unit(books: Books):
    books.do_all(grant("alice", "100.000000001", paid_picousd=1_500_000_000_000), record("0.123456789", user="alice"))

    (lot,) = rows_of(books, "grants")
    (call,) = rows_of(books, "events")
    entries = rows_of(books, "entries")

    assert (lot["amount_credits"], lot["remaining_credits"], lot["paid_usd"]) == (
        "100.000000001",
        "99.876543212",
        "1.5",
    )
    assert (lot["user"], lot["created_at_utc"]) == ("alice", "2026-11-23T12:00:00.000000Z")
    assert (call["charged_credits"], call["cost_usd"], call["usage"]) == (
        "0.123456789", "0.00123456789", '{"input_tokens":"1000","output_tokens":"200"}',
    )  # fmt: skip
    assert [(entry["kind"], entry["account"], entry["amount_credits"]) for entry in entries] == [
        ("grant", "sales", "-100.000000001"),
        ("grant", "customer", "100.000000001"),
        ("charge", "customer", "-0.123456789"),
        ("charge", "revenue", "0.123456789"),
    ]


def test_json_lines_hold_json_and_not_text_of_it(books: Books):
    books.do(record(1, user="alice", raw='{"total_tokens":1200}', metadata='{"topic":"boats"}'))

    call = json.loads(exported(books, "events", "jsonl"))
    raw = json.loads(exported(books, "raw_usage", "jsonl"))

    assert (call["metadata"], call["usage"]["input_tokens"], raw["raw"]) == (
        {"topic": "boats"},
        "1000",
        {"total_tokens": 1200},
    )


def test_no_text_becomes_a_formula_in_a_spreadsheet(books: Books):
    users = ["+1", "-1", "=1+1", "@SUM(A1)", "'quoted", 'a,"b"', '=HYPERLINK("http://x")']
    books.do_all(*(grant(user, 1) for user in users))

    cells = {row["user"] for row in rows_of(books, "users")}
    named = {json.loads(line)["user"] for line in exported(books, "users", "jsonl").splitlines()}

    assert cells == {
        "'+1", "'-1", "'=1+1", "'@SUM(A1)", "''quoted", 'a,"b"', '\'=HYPERLINK("http://x")',
    }  # fmt: skip
    assert named == set(users)


def test_a_number_below_zero_stays_a_number(books: Books):
    books.do(grant("alice", 5))

    assert [row["amount_credits"] for row in rows_of(books, "entries")] == ["-5", "5"]


def test_the_rows_of_one_user_are_those_among_the_rows_of_all(rich):
    for kind in KINDS:
        expected = [row for row in rows_of(rich, kind) if row["user"] == "bob"]
        assert rows_of(rich, kind, user="bob") == expected, kind
        assert rows_of(rich, kind, user="nobody") == []


def test_a_window_holds_what_begins_in_it_and_not_what_begins_at_its_end(books: Books):
    for number in range(4):
        books.do(grant("alice", 1, key=f"grant-{number}"))
        books.do(record("0.5", user="alice", key=f"call-{number}", at_us=books.clock.now_us()))
        books.advance(seconds=60)

    window = {"since": START + timedelta(seconds=60), "until": START + timedelta(seconds=180)}

    assert [row["key"] for row in rows_of(books, "events", **window)] == ["call-1", "call-2"]
    assert len(rows_of(books, "entries", **window)) == 8
    assert len(rows_of(books, "grants", **window)) == 2
    with pytest.raises(InvalidTime, match="until lies before since"):
        Export("events", since=window["until"], until=window["since"])


def test_an_export_cut_anywhere_goes_on_to_the_same_bytes(rich, tmp_path, oracle):
    file = tmp_path / "export"

    for (kind, form), whole in oracle.items():
        for length in {0, 10, len(whole) // 3, len(whole) * 9 // 10, len(whole) - 1, len(whole)}:
            file.write_bytes(whole[:length])
            done = export_file(file, rich.store, Export(kind, format=form), is_resumed=True)
            assert file.read_bytes() == whole, (kind, form, length)
            assert done.row_count == len(whole.splitlines()) - (form == "csv")


def test_an_export_of_one_user_goes_on_within_that_user(rich, tmp_path):
    for kind in KINDS:
        whole = exported(rich, kind, user="bob")
        file = tmp_path / kind
        file.write_bytes(whole[: len(whole) * 2 // 3])
        export_file(file, rich.store, Export(kind, user="bob"), is_resumed=True)
        assert file.read_bytes() == whole, kind


def test_what_was_written_since_an_export_was_cut_off_is_added_without_a_repeat(books: Books, tmp_path):
    books.do_all(grant("alice", 100), record(1, user="alice", key="a"), record(1, user="alice", key="c"))
    whole = exported(books, "events")
    (tmp_path / "export").write_bytes(whole)
    books.do(record(1, user="alice", key="d"))

    done = export_file(tmp_path / "export", books.store, Export("events"), is_resumed=True)

    assert (done.resumed_after, done.row_count) == (2, 3)
    assert (tmp_path / "export").read_bytes() == exported(books, "events")


def test_what_is_no_such_export_is_not_gone_on_with(rich, tmp_path):
    file = tmp_path / "export"

    for content, kind, form in [
        (exported(rich, "events"), "runs", "csv"),
        (exported(rich, "events", "jsonl"), "events", "csv"),
        (exported(rich, "events"), "events", "jsonl"),
        (exported(rich, "grants", "jsonl"), "runs", "jsonl"),
        (b"my diary\n", "events", "csv"),
        (b'{"db": "mine"}', "users", "jsonl"),
        (b"my diary", "users", "csv"),
    ]:
        file.write_bytes(content)
        with pytest.raises(InvalidInput, match="name another file"):
            export_file(file, rich.store, Export(kind, format=form), is_resumed=True)
        assert file.read_bytes() == content


def test_a_file_that_is_there_is_not_written_over(books: Books, tmp_path):
    (tmp_path / "precious").write_text("mine")

    with pytest.raises(Misconfigured, match="file exists"):
        export_file(tmp_path / "precious", books.store, Export("events"))

    assert (tmp_path / "precious").read_text() == "mine"


def test_what_is_no_kind_and_no_format_is_refused():
    with pytest.raises(InvalidInput, match="kind"):
        Export("wallets")
    with pytest.raises(InvalidInput, match="format"):
        Export("events", format="xml")


def test_an_export_sees_one_instant(books: Books):
    books.do_all(grant("alice", 100), open_run("r1", hold=10), record(1, run_id="r1"), close("r1"))
    export = Export("entries")

    lines = export.lines(books.store)
    first = next(lines)
    books.do(record(5, user="alice", key="later"))

    assert len([first, *lines]) == 4
    assert len(rows_of(books, "entries")) == 6
