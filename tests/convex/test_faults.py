"""What goes wrong between here and Convex: lost answers, refusals, conflicts, a function that runs twice."""

from __future__ import annotations

import threading

import pytest
from msgspec import structs

from callfare.errors import CallfareError, LedgerCorrupt, LedgerUnavailable, Misconfigured
from callfare.ledger.rows import Account, Event, Grant, Rollup
from callfare.ledger.verify import verify
from callfare.store.convex import ConvexStore
from callfare.store.convex_http import Deployment
from callfare.store.convex_load import ConvexLoader
from callfare.store.convex_pages import Reading
from callfare.store.open import open_store
from callfare.store.protocol import EventsBetween, RollupsOf
from tests.support.audit import faults
from tests.support.commands import asked_by, close, grant, make_key, note, open_run, record, revoke_key

pytestmark = pytest.mark.all


def is_sound(books) -> bool:
    return faults(books.store) == [] and verify(books.store.scan).faults == ()


def test_a_write_whose_answer_was_lost_is_done_once(books, bridge, address):
    bridge.control(address, dropAnswers=1)

    receipt = books.do(grant("alice", 100, key="welcome"))

    assert receipt.nanocredits == 100_000_000_000
    assert bridge.control(address)["dropped"] == 1
    assert [lot.amount_nanocredits for lot in books.rows(Grant)] == [100_000_000_000]
    assert is_sound(books)


def test_a_charge_whose_answer_was_lost_is_charged_once_and_rolled_up_once(books, bridge, address):
    books.do_all(grant("alice", 100), open_run("r1", hold=40))
    bridge.control(address, dropAnswers=2)

    books.do(replace_repeat(record(5, run_id="r1")))

    assert bridge.control(address)["dropped"] == 2
    assert [event.nanocredits for event in books.rows(Event)] == [5_000_000_000]
    assert {rollup.calls for rollup in books.rows(Rollup)} == {1}
    assert is_sound(books)


def replace_repeat(command):
    """A call under a key that was made for it, which is not looked up before."""
    return structs.replace(command, repeat="never")


def test_a_write_that_was_refused_before_it_ran_is_done_once(books, bridge, address):
    bridge.control(address, refuse=3)

    books.do(grant("alice", 100))

    assert books.balance().posted == "100"
    assert is_sound(books)


def test_a_function_that_runs_twice_writes_once(books, bridge, address):
    bridge.control(address, discard=4)

    books.do_all(grant("alice", 100), open_run("r1", hold=40), record(5, run_id="r1"), close("r1"))

    assert bridge.control(address)["discarded"] == 4
    assert books.balance().posted == "95"
    assert is_sound(books)


def test_conflicts_are_met_by_trying_again(books, bridge, address):
    bridge.control(address, conflictEvery=2)

    for number in range(10):
        books.do(grant("alice", 1, key=f"grant-{number}"))

    assert bridge.control(address)["conflicts"] >= 9
    assert books.balance().posted == "10"
    assert is_sound(books)


def test_a_deployment_that_never_answers_is_unavailable_within_the_deadline(bridge, address):
    store = ConvexStore(open_store(address)._client.deployment, deadline_s=1)
    bridge.control(address, refuse=1000)

    with pytest.raises(LedgerUnavailable, match="503 ServiceUnavailable; retry with the same key"):
        store.apply([grant("alice", 1)])

    bridge.control(address, refuse=0)
    assert store.snapshot("alice") is None
    store.close()


def test_nobody_listening_is_an_unavailable_ledger():
    store = ConvexStore(Deployment("127.0.0.1", 9, "", is_secure=False, secret="x" * 24), deadline_s=1)

    with pytest.raises(LedgerUnavailable, match="Convex did not answer"):
        store.apply([grant("alice", 1)])


def before_its_write(patch, books, interruption):
    """Have something happen once between the reads and the write of a ledger's next batch."""
    real = ConvexStore._stands
    left = [interruption]

    def interrupted(store, *arguments):
        if store is books.store and left:
            left.pop()()
        return real(store, *arguments)

    patch.setattr(ConvexStore, "_stands", interrupted)


def test_what_another_process_spent_meanwhile_is_decided_again(opened, monkeypatch):
    one, other = opened(), opened()
    one.do_all(grant("alice", 100), open_run("r1", hold=60))

    before_its_write(monkeypatch, one, lambda: other.do(open_run("r2", hold=40)))
    (answer,) = one.batch(open_run("r3", hold=1))

    assert isinstance(answer, CallfareError)
    assert answer.code == "insufficient_credit"
    assert one.balance().held == "100"
    assert is_sound(one)


def test_a_key_that_is_revoked_meanwhile_grants_nothing(opened, monkeypatch):
    one, other = opened(), opened()
    one.do(make_key("key00001", audit=note("keys.make", number=1)))

    before_its_write(monkeypatch, one, lambda: other.do(revoke_key("key00001", audit=note("keys.revoke", number=2))))
    (answer,) = one.batch(asked_by(grant("alice", 12), "key00001", number=3))

    assert isinstance(answer, CallfareError)
    assert one.rows(Grant) == []


def test_a_write_that_does_not_compare_what_was_read_is_noticed(opened, monkeypatch):
    monkeypatch.setattr(ConvexLoader, "checks", lambda _: [])

    with pytest.raises(AssertionError):
        test_a_key_that_is_revoked_meanwhile_grants_nothing(opened, monkeypatch)


def test_two_processes_that_spend_one_account_spend_what_is_there_and_no_more(opened):
    processes = [opened() for _ in range(3)]
    processes[0].do(grant("alice", 30))
    answers: list[object] = []

    def spend(books, place):
        for number in range(8):
            answers.extend(books.batch(open_run(f"run-{place}-{number}", hold=2)))

    threads = [threading.Thread(target=spend, args=pair) for pair in zip(processes, range(3), strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(not isinstance(answer, CallfareError) for answer in answers) == 15
    assert {answer.code for answer in answers if isinstance(answer, CallfareError)} == {"insufficient_credit"}
    assert processes[0].balance().available == "0"
    assert is_sound(processes[0])


# The door


def test_a_wrong_secret_opens_nothing_and_is_not_told(address):
    deployment = open_store(address)._client.deployment._replace(secret="not the secret at all, but long")
    store = ConvexStore(deployment)

    for used in (lambda: store.apply([grant("alice", 1)]), lambda: store.snapshot("alice"), store.create):
        with pytest.raises(Misconfigured, match="does not take this secret") as caught:
            used()
        assert "not the secret" not in str(caught.value)
    store.close()


@pytest.mark.parametrize(
    "path", ["callfare/ledger:apply", "callfare/upkeep:put", "callfare/readings:begin", "nowhere:x"]
)
def test_no_function_but_the_door_and_what_front_ends_ask_is_public(bridge, address, path):
    name = address.rpartition("/")[2]
    body = {"path": path, "format": "convex_encoded_json", "args": [{}]}

    for kind in ("query", "mutation"):
        told = bridge.post(f"/{name}/api/{kind}", body)
        assert "Could not find public function" in told["errorMessage"]


def test_a_client_that_means_something_else_by_a_row_is_refused(address, monkeypatch):
    store = open_store(address)
    monkeypatch.setattr(store._client, "_layout", "another")

    with pytest.raises(Misconfigured, match=r"npx convex deploy"):
        store.apply([grant("alice", 1)])
    store.close()


# The second path of the rules


def changed(write, **fields):
    names = {"accounts": ["account_id", "posted", "held"]}[write["table"]]
    values = list(write["values"])
    for name, value in fields.items():
        values[names.index(name)] = value
    return write | {"values": values}


def test_the_functions_refuse_a_row_that_breaks_a_rule_whoever_sends_it(books, monkeypatch):
    books.do(grant("alice", 100))
    real = ConvexStore.write

    def tampered(store, name, args, *rest):
        writes = [changed(one, held=10**15) if one["table"] == "accounts" else one for one in args.get("writes", [])]
        return real(store, name, args | {"writes": writes} if writes else args, *rest)

    monkeypatch.setattr(ConvexStore, "write", tampered)
    with pytest.raises(LedgerCorrupt, match="accounts: held lies between 0 and posted"):
        books.do(open_run("r1", hold=5))

    monkeypatch.undo()
    assert [account.held_nanocredits for account in books.rows(Account)] == [0]


def test_a_transfer_whose_entries_do_not_balance_is_refused(books, monkeypatch):
    real = ConvexStore.write

    def tampered(store, name, args, *rest):
        writes = args.get("writes", [])
        kept = [one for place, one in enumerate(writes) if one["table"] != "entries" or place % 2]
        return real(store, name, args | {"writes": kept} if writes else args, *rest)

    monkeypatch.setattr(ConvexStore, "write", tampered)
    with pytest.raises(LedgerCorrupt, match="does not balance"):
        books.do(grant("alice", 100))

    monkeypatch.undo()
    assert books.rows(Grant) == []


def test_history_is_never_changed(books):
    books.do_all(grant("alice", 100), record(5, user="alice"))
    [(event, seal)] = list(books.store.scan(Event))
    values = [getattr(event, name) for name in event.__struct_fields__]

    with pytest.raises(LedgerCorrupt, match="usageEvents are history"):
        books.store.write(
            "apply",
            {
                "checks": [],
                "writes": [{"table": "usageEvents", "values": [*values, seal], "was": seal, "isGone": False}],
            },
        )


# More than one call may read


def test_a_long_answer_is_of_one_instant_and_in_order(books, monkeypatch):
    books.do(grant("alice", 1000))
    for start in range(0, 2160, 120):
        books.batch(*(record("0.001", user="alice", key=f"call-{number:05}") for number in range(start, start + 120)))
    account_id = books.rows(Account)[0].account_id
    windows = [
        EventsBetween(account_id=account_id, since_us=0, until_us=2**62),
        RollupsOf(account_id=account_id, grain="day", since_us=0, until_us=2**62),
    ]
    real = Reading.rows

    def interrupted(reading, wanted):
        books.do(record("0.001", user="alice", key=f"meanwhile {wanted.table.table}"))
        return real(reading, wanted)

    monkeypatch.setattr(Reading, "rows", interrupted)
    events, rollups = books.store.select_all(windows)

    assert [event.key for event in events] == [f"call-{number:05}" for number in range(2160)]
    assert [rollup.calls for rollup in rollups] == [2160]
    assert is_sound(books)
