"""Lists: runs, calls and transactions, page by page, and cursors that no page gave."""

from __future__ import annotations

import base64
import json

import pytest

from callfare import Credits, plain
from callfare.errors import InvalidInput
from tests.facade.doors import START, chat, image, speech, texts


async def pages(ask, limit):
    """Return all items of a list, asked for a page at a time, and how long the pages were."""
    items, lengths, cursor = [], [], None
    while True:
        page = await ask(limit=limit, cursor=cursor)
        items += page.items
        lengths.append(len(page.items))
        cursor = page.next_cursor
        if cursor is None:
            return items, lengths


@pytest.fixture
async def busy(alice, clock):
    """A façade on a ledger with seven runs of alice, three of them opened in one instant."""
    for number in range(1, 8):
        async with alice.run("tweet", user="alice", run_id=f"r{number}", hold=1) as run:
            await chat(run)
        clock.advance(60 if number < 5 else 0)
    return alice


async def test_runs_are_listed_newest_first(busy):
    page = await busy.history("alice")

    assert [run.run_id for run in page.items] == ["r7", "r6", "r5", "r4", "r3", "r2", "r1"]
    assert page.next_cursor is None


async def test_a_run_in_a_list_says_what_it_did(alice):
    async with alice.run("tweet", user="alice", run_id="r1", hold="low") as run:
        await image(run)

    (summary,) = (await alice.history("alice")).items

    assert (summary.run_id, summary.workflow, summary.status, summary.calls) == ("r1", "tweet", "completed", 1)
    assert texts(summary, "charged", "held", "cost", "low", "high") == ("8", "0", "0.08", "15", "50")
    assert (summary.opened_at, summary.closed_at, summary.unpriced_calls) == (START, START, 0)


@pytest.mark.parametrize(("limit", "lengths"), [(1, [1] * 7), (2, [2, 2, 2, 1]), (7, [7]), (200, [7])])
async def test_pages_of_runs_make_up_the_list(busy, limit, lengths):
    items, found = await pages(lambda **page: busy.history("alice", **page), limit)

    assert [run.run_id for run in items] == ["r7", "r6", "r5", "r4", "r3", "r2", "r1"]
    assert found == lengths


async def test_a_run_opened_while_one_pages_disturbs_no_page(busy):
    first = await busy.history("alice", limit=3)
    await busy.open_run("tweet", user="alice", run_id="r8", hold=1)

    second = await busy.history("alice", limit=3, cursor=first.next_cursor)

    assert [run.run_id for run in second.items] == ["r4", "r3", "r2"]


async def test_ten_runs_are_listed_without_a_word(alice):
    for number in range(12):
        await alice.open_run("tweet", user="alice", run_id=f"r{number:02}", hold=1)

    page = await alice.history("alice")

    assert (len(page.items), page.next_cursor is None) == (10, False)


async def test_calls_are_listed_in_their_order(alice):
    async with alice.run("tweet", user="alice", run_id="r1", hold=1) as run:
        for number in range(12):
            await chat(run, 1000 + number, operation=f"call-{number}")

    items, lengths = await pages(lambda **page: alice.calls("r1", **page), 5)

    assert [call.operation for call in items] == [f"call-{number}" for number in range(12)]
    assert lengths == [5, 5, 2]


async def test_a_call_in_a_list_says_everything_that_was_told_of_it(alice):
    run = await alice.open_run("tweet", user="alice", run_id="r1", hold=20)
    charge = await run.record(
        "gpt-image-1",
        {"images": 1, "output_tokens": 100},
        operation="image",
        attributes={"size": "1024x1536", "quality": "high"},
        step="cover",
        response_id="img_1",
        metadata={"scene": 3, "tags": ["a", None, True, 1.5]},
        at=START.replace(year=2025),
        provider="openai",
    )

    (call,) = (await alice.calls(run)).items

    assert (call.id, call.kind, call.run_id, call.workflow, call.step) == (charge.id, "usage", "r1", "tweet", "cover")
    assert (call.provider, call.model, call.operation, call.response_id) == ("openai", "gpt-image-1", "image", "img_1")
    assert (call.status, call.reason, call.flags) == ("priced", None, ())
    assert dict(call.usage) == {"images": 1, "output_tokens": 100}
    assert dict(call.attributes) == {"size": "1024x1536", "quality": "high"}
    assert call.metadata == {"scene": 3, "tags": ["a", None, True, 1.5]}
    assert (call.lines, call.credits, call.edition) == (charge.lines, Credits(8), charge.edition)
    assert (call.at, call.recorded_at) == (START.replace(year=2025), START)


async def test_a_run_without_calls_has_an_empty_list(alice):
    await alice.open_run("tweet", user="alice", run_id="r1", hold=1)

    assert (await alice.calls("r1")).items == ()


async def test_transactions_are_listed_newest_first_with_what_they_changed(alice, clock):
    async with alice.run("tweet", user="alice", run_id="r1", hold=10) as run:
        await image(run)
    await speech(alice, user="alice")
    await image(alice, 12, user="alice")
    await alice.grant("alice", 50, key="more")

    items, lengths = await pages(lambda **page: alice.transactions("alice", **page), 2)

    assert [(item.number, item.kind, *texts(item, "change", "debt_change"), item.run_id) for item in items] == [
        (6, "repay", "-5.2", "-5.2", None),
        (5, "grant", "50", "0", None),
        (4, "charge", "-90.8", "5.2", None),
        (3, "charge", "-1.2", "0", None),
        (2, "capture", "-8", "0", "r1"),
        (1, "grant", "100", "0", None),
    ]
    assert lengths == [2, 2, 2]
    assert sum(item.change.nanocredits for item in items) == (await alice.balance("alice")).posted.nanocredits


async def test_a_grant_in_a_list_is_named_by_its_key(alice):
    (grant,) = (await alice.transactions("alice")).items

    assert (grant.reference, grant.at, grant.id.endswith("_1")) == ("welcome", START, True)


@pytest.mark.parametrize("ask", ["history", "transactions"])
async def test_a_user_nobody_has_heard_of_has_empty_lists(alice, ask):
    page = await getattr(alice, ask)("nobody")

    assert (page.items, page.next_cursor) == ((), None)


# Pages that go on by themselves


async def all_of(page, ledger):
    """Return what iterating over a page gives, in the way of its façade."""
    return [item async for item in page] if ledger.is_async else list(page)


@pytest.mark.parametrize("limit", [1, 2, 7, 200])
async def test_iterating_over_a_page_goes_on_through_those_after_it(busy, ledger, limit):
    runs = await all_of(await busy.history("alice", limit=limit), ledger)
    transfers = await all_of(await busy.transactions("alice", limit=limit), ledger)

    assert [run.run_id for run in runs] == [run.run_id for run in (await busy.history("alice", limit=200)).items]
    assert transfers == list((await busy.transactions("alice", limit=200)).items)
    assert len(runs) == 7


async def test_calls_keys_and_the_audit_go_on_as_well(alice, ledger):
    run = await alice.open_run("tweet", user="alice", run_id="r1", hold=1)
    for number in range(3):
        await chat(run, 10 + number, 0)
    for label in "ab":
        await alice.make_key(label, scopes=["usage:write"])

    calls = await all_of(await alice.calls("r1", limit=1), ledger)
    keys = await all_of(await alice.keys(limit=1), ledger)
    audit = await all_of(await alice.audit(limit=1), ledger)

    assert [call.usage["input_tokens"] for call in calls] == [10, 11, 12]
    assert {"a", "b"} <= {key.label for key in keys}
    assert audit == list((await alice.audit(limit=200)).items)


async def test_what_a_page_shows_is_what_it_has(busy):
    page = await busy.history("alice", limit=2)

    assert set(plain(page)) == {"items", "next_cursor"}
    assert "following" not in repr(page)
    assert page == await busy.history("alice", limit=2)


# Cursors


async def test_a_cursor_is_taken_for_the_list_that_gave_it_and_for_no_other(busy):
    await busy.grant("bob", 10, key="welcome")
    for number in (8, 9):
        async with busy.run("tweet", user="bob", run_id=f"r{number}", hold=1) as run:
            await chat(run)
            await chat(run)
        await busy.make_key(f"key {number}", scopes=["usage:write"])
    await busy.grant("alice", 10, key="more")
    lists = {
        "alice's runs": lambda **page: busy.history("alice", **page),
        "bob's runs": lambda **page: busy.history("bob", **page),
        "alice's transfers": lambda **page: busy.transactions("alice", **page),
        "calls of a run": lambda **page: busy.calls("r8", **page),
        "calls of another": lambda **page: busy.calls("r9", **page),
        "keys": busy.keys,
        "who did what": busy.audit,
        "who did what for alice": lambda **page: busy.audit(user="alice", **page),
    }
    cursors = {name: (await ask(limit=1)).next_cursor for name, ask in lists.items()}

    taken = [(of, given) for of in lists for given in lists if await is_taken(lists[of], cursors[given])]

    assert None not in cursors.values()
    assert taken == [(name, name) for name in lists]


async def is_taken(ask, cursor):
    """Tell whether a list takes a cursor."""
    try:
        await ask(cursor=cursor)
    except InvalidInput:
        return False
    return True


async def test_a_cursor_is_short_and_safe_in_an_address(alice):
    for letter in "äb":
        await alice.open_run("tweet", user="alice", run_id=letter * 255, hold=1)

    cursor = (await alice.history("alice", limit=1)).next_cursor
    page = await alice.history("alice", limit=1, cursor=cursor)

    assert set(cursor) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    assert [run.run_id for run in page.items] == ["b" * 255]
    assert json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))[1] == "ä" * 255
