"""What front ends may ask, and of whom they learn it; and that the functions are as TypeScript and Convex want them."""

from __future__ import annotations

import subprocess
from datetime import timedelta

import pytest

from callfare.clock import ManualClock, SystemClock, moment_of
from callfare.ledger.verify import verify
from callfare.store.convex_http import from_wire, to_wire
from callfare.store.open import open_store
from tests.support.books import Books
from tests.support.commands import START, close, grant, open_run, record
from tests.support.convex import ROOT, running_bridge, why_missing
from tests.support.rich import write_rich_ledger

pytestmark = pytest.mark.all


@pytest.fixture
def ask(bridge, address):
    """Asks one of the queries as somebody who signed in, or as nobody."""
    name = address.rpartition("/")[2]

    def asked(function, who=None, **args):
        body = {"path": f"callfare/billing:{function}", "format": "convex_encoded_json", "args": [to_wire(args)]}
        headers = {} if who is None else {"Authorization": f"Bearer {who}"}
        return bridge.post(f"/{name}/api/query", body, **headers)

    return asked


@pytest.mark.parametrize(("function", "args"), [("balance", {}), ("recentRuns", {}), ("usage", {"period": "day"})])
def test_whoever_did_not_sign_in_learns_nothing(ask, books, function, args):
    books.do(grant("alice", 100))

    told = ask(function, **args)

    assert (told["status"], told["errorData"]["code"]) == ("error", "unauthorized")


def test_people_see_their_own_balance_and_no_other(ask, books):
    books.do_all(grant("alice", 100), grant("bob", 7), open_run("r1", hold="40.5"))

    assert ask("balance", "alice")["value"] == {
        "creditsBalance": "59.500000000",
        "held": "40.500000000",
        "debt": "0.000000000",
    }
    assert ask("balance", "bob")["value"]["creditsBalance"] == "7.000000000"
    assert ask("balance", "nobody yet")["value"]["creditsBalance"] == "0.000000000"
    refused = ask("balance", "bob", user="alice")
    assert refused["status"] == "error"


def test_a_lot_past_its_end_does_not_count(ask, books):
    # The tests' clock stands in November 2026; the deployment's own goes by today.
    books.clock.advance(-10 * 365 * 86_400)
    soon = moment_of(books.clock.now_us()) + timedelta(seconds=60)
    books.do_all(grant("alice", 5, key="lasting"), grant("alice", 3, key="over", expires_at=soon))

    assert ask("balance", "alice")["value"]["creditsBalance"] == "5.000000000"


def test_runs_come_newest_first_with_the_fields_of_the_specification(ask, books):
    books.do_all(grant("alice", 100), open_run("r1", hold=5, workflow="story"), record(2, run_id="r1"), close("r1"))
    books.advance(seconds=1)
    books.do_all(open_run("r2", hold=5, workflow="tweet"), grant("bob", 5), open_run("other", "bob", hold=1))

    runs = from_wire(ask("recentRuns", "alice")["value"])

    assert [(run["runId"], run["workflowType"], run["status"]) for run in runs] == [
        ("r2", "tweet", "open"),
        ("r1", "story", "completed"),
    ]
    assert (runs[1]["totalCostCents"], runs[1]["calls"]) == ("2.0000000000", 1)
    assert runs[0]["completedAt"] is None


def test_usage_is_summed_by_model(ask, books):
    # The window of a report ends now, by the deployment's own clock.
    books.clock.advance((SystemClock().now_us() - books.clock.now_us()) // 1_000_000)
    books.do_all(grant("alice", 100), record(2, user="alice", key="one"), record(3, user="alice", key="two"))

    shown = from_wire(ask("usage", "alice", period="month")["value"])

    assert (shown["calls"], shown["credits"], shown["costCents"]) == (2, "5.000000000", "5.0000000000")
    assert shown["isComplete"]
    assert from_wire(ask("usage", "bob", period="month")["value"])["calls"] == 0


# The functions as a project


def checked(*command):
    if reason := why_missing():
        pytest.skip(reason)
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_functions_pass_typescripts_strictest_look():
    done = checked("node", "node_modules/typescript/bin/tsc", "-p", "convex")

    assert (done.returncode, done.stdout) == (0, "")


def test_what_convex_generates_is_current():
    done = checked("node", "tests/convex/codegen.mjs", "--check")

    assert (done.returncode, done.stdout) == (0, "")


def test_the_bridges_indexes_answer_as_convex_test_does():
    """Each question of a rich ledger is put to convex-test's own search as well."""
    with running_bridge(CALLFARE_BRIDGE_CHECK="1") as bridge:
        clock = ManualClock(START)
        books = Books(open_store(bridge.lend_ledger(), clock), clock)
        write_rich_ledger(books)
        assert verify(books.store.scan).is_clean
        books.store.close()
