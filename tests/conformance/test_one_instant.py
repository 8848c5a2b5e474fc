"""Reading everything while others write: what is read stood so at one instant."""

from __future__ import annotations

from callfare.ledger.rows import TABLES, Account, Event
from callfare.ledger.verify import verify
from tests.support.books import Books
from tests.support.commands import grant, open_run, record


def test_a_ledger_is_verified_as_it_stood_when_verification_began(books: Books):
    books.do_all(grant("alice", 100), open_run("r1", hold=40))

    with books.store.one_instant() as scan:
        assert len(list(scan(Account))) == 1
        books.do_all(record(5, run_id="r1", key="meanwhile"), record(3, user="bob", key="direct"), grant("bob", 10))
        verification = verify(scan)

    assert verification.faults == ()
    assert (verification.counted["accounts"], verification.counted["events"]) == (1, 0)
    assert len(books.rows(Event)) == 2


def test_every_table_reads_the_same_at_one_instant_as_by_itself(books: Books):
    books.do_all(grant("alice", 100), open_run("r1", hold=40), record(5, run_id="r1", raw='{"total_tokens":1200}'))

    with books.store.one_instant() as scan:
        read = {table.table: list(scan(table)) for table in TABLES}

    assert read == books.all_rows()


def test_writing_goes_on_once_everything_was_read(books: Books):
    books.do(grant("alice", 100))

    for key in ("first", "second"):
        with books.store.one_instant() as scan:
            assert verify(scan).is_clean
        books.do(record(5, user="alice", key=key))

    assert books.balance().posted == "90"
