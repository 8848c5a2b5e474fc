"""Bad input: every hostile value, given to every argument of every method, is refused by its code and writes nothing.

One ledger stands for all of them, on each store behind each façade: after each value all its rows are compared.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from callfare import Credits
from callfare.clock import ManualClock
from callfare.errors import CallfareError
from callfare.ledger.rows import TABLES
from tests.facade import hostile
from tests.facade.doors import KINDS, START, Ledger, chat, image
from tests.support.audit import faults

OPEN = {"workflow": "story", "user": "alice", "run_id": "open", "hold": 20}


class Standing:
    """A ledger that must stay as it is: alice with credit, an open run of hers, one that has ended, and one of bob."""

    def __init__(self, ledger: Ledger, fare: Any, run: Any, ended: Any) -> None:
        self.ledger, self.fare, self.run, self.ended = ledger, fare, run, ended
        self.store = ledger.store()
        self.before = self.rows()

    def rows(self) -> list[Any]:
        """Return every row with its seal."""
        return [row for table in TABLES for row in self.store.scan(table)]


async def build(ledger: Ledger) -> Standing:
    fare = ledger.open()
    await fare.grant("alice", 100, key="welcome")
    await fare.grant("bob", 100, key="welcome")
    run = await fare.open_run(**OPEN)
    await image(run, step="cover", key=None)
    await fare.record("gpt-9", {"input_tokens": 1}, user="alice", key="unpriced")
    ended = await fare.open_run("tweet", user="alice", run_id="ended", hold=5)
    await chat(ended)
    await ended.close()
    await fare.open_run("tweet", user="bob", run_id="bobs", hold=5)
    return Standing(ledger, fare, run, ended)


# What is refused before it reaches a store is refused alike before each; PostgreSQL would only take longer.
HERE = [*KINDS[:4], pytest.param(("postgres", "sync"), marks=pytest.mark.all)]


@pytest.fixture(scope="module", params=HERE, ids="-".join)
def standing(request, tmp_path_factory):
    """One ledger for the whole module, on each store behind each façade."""
    store, door = request.param
    ledger = Ledger(store, door, tmp_path_factory.mktemp("standing"), ManualClock(START))
    standing = asyncio.run(build(ledger))
    yield standing
    assert faults(standing.store) == []
    asyncio.run(ledger.close())


# A good request of each method. A case puts one hostile value into one argument of it.

Request = Callable[..., Awaitable[Any]]


def using(method: str, **good: Any) -> Request:
    """Return a request to the façade."""
    return lambda standing, **bad: getattr(standing.fare, method)(**(good | bad))


def running(method: str, **good: Any) -> Request:
    """Return a request to the open run."""
    return lambda standing, **bad: getattr(standing.run, method)(**(good | bad))


async def _workflow(standing, **bad):
    standing.fare.workflow(**({"name": "opera", "low": 1, "high": 2} | bad))


async def _user(standing, **bad):
    with standing.fare.user(**bad):
        pytest.fail("the block was entered")


async def _wrap(standing, **bad):
    standing.fare.wrap(**({"client": object()} | bad))


async def _step(standing, **bad):
    with standing.run.step(**bad):
        pytest.fail("the block was entered")


TOKENS = {"input_tokens": 10, "output_tokens": 5}
GRANT = using("grant", user="alice", credits=5, key="new")
RUN = using("open_run", workflow="story", user="alice", hold=5)
RECORD = using("record", model="gpt-5-mini", usage=TOKENS, user="alice")
RUN_RECORD = running("record", model="gpt-5-mini", usage=TOKENS)
PRICE = using("price", model="gpt-5-mini", usage=TOKENS)
USAGE = using("usage", user="alice")
CLOSE_RUN = using("close_run", run_id="open")
CALLS = using("calls", run="open")
EXTEND, CLOSE = running("extend", credits=1), running("close")

USERS = hostile.no_name("invalid_user")
SOME_USERS = hostile.no_name("invalid_user", but=("none",))
NAMES = hostile.no_name("invalid_input")
SOME_NAMES = hostile.no_name("invalid_input", but=("none",))
# An empty text says that there is none.
OPTIONAL = hostile.no_name("invalid_input", but=("none", "empty"))

TABLE: dict[str, tuple[Request, str, hostile.Cases]] = {
    "grant user": (GRANT, "user", USERS),
    "grant credits": (GRANT, "credits", hostile.NO_AMOUNT | hostile.OUT_OF_RANGE | hostile.NEGATIVE | hostile.NOTHING),
    "grant key": (GRANT, "key", NAMES),
    "grant source": (GRANT, "source", hostile.no_choice()),
    "grant expires_at": (GRANT, "expires_at", hostile.NO_TIME | hostile.NOT_TO_COME),
    "balance user": (using("balance"), "user", USERS),
    "run workflow": (RUN, "workflow", NAMES),
    "run user": (RUN, "user", USERS),
    "run run_id": (RUN, "run_id", SOME_NAMES),
    "run hold": (RUN, "hold", hostile.NO_AMOUNT | hostile.OUT_OF_RANGE | hostile.NEGATIVE),
    "run ttl_s": (RUN, "ttl_s", hostile.no_whole(least=1, most=30 * 24 * 3600)),
    "run input": (RUN, "input", hostile.NO_METADATA),
    "close_run run_id": (CLOSE_RUN, "run_id", NAMES),
    "close_run outcome": (CLOSE_RUN, "outcome", hostile.no_choice(expired="expired", open="open")),
    "close_run user": (CLOSE_RUN, "user", SOME_USERS),
    "close_run key": (CLOSE_RUN, "key", SOME_NAMES),
    "close outcome": (CLOSE, "outcome", hostile.no_choice(expired="expired", open="open")),
    "close key": (CLOSE, "key", SOME_NAMES),
    "extend credits": (
        EXTEND,
        "credits",
        hostile.NO_AMOUNT | hostile.OUT_OF_RANGE | hostile.NEGATIVE | hostile.NOTHING,
    ),
    "extend key": (EXTEND, "key", SOME_NAMES),
    "record user": (RECORD, "user", SOME_USERS),
    "wrap user": (_wrap, "user", SOME_USERS),
    "wrap client": (_wrap, "client", hostile.no_choice(client_of_another_sdk=json.JSONDecoder())),
    "user user": (_user, "user", USERS),
    "step name": (_step, "name", hostile.no_name("invalid_input", 128)),
    "price model": (PRICE, "model", NAMES),
    "price usage": (PRICE, "usage", hostile.NO_USAGE),
    "price attributes": (PRICE, "attributes", hostile.NO_ATTRIBUTES),
    "price at": (PRICE, "at", hostile.NO_TIME | hostile.NOT_AN_EVENT),
    "estimate workflow": (using("estimate"), "workflow", NAMES),
    "estimate user": (using("estimate", workflow="story"), "user", SOME_USERS),
    "usage user": (USAGE, "user", USERS),
    "usage period": (USAGE, "period", hostile.no_choice(year="year", case="DAY")),
    "usage since": (USAGE, "since", hostile.NO_TIME),
    "usage until": (USAGE, "until", hostile.NO_TIME),
    "usage tz": (USAGE, "tz", hostile.ZONES),
    "history user": (using("history"), "user", USERS),
    "history limit": (using("history", user="alice"), "limit", hostile.no_whole(least=1, most=200)),
    "calls run": (CALLS, "run", NAMES),
    "calls user": (CALLS, "user", SOME_USERS),
    "calls limit": (CALLS, "limit", hostile.no_whole(least=1, most=200)),
    "transactions user": (using("transactions"), "user", USERS),
    "transactions limit": (using("transactions", user="alice"), "limit", hostile.no_whole(least=1, most=200)),
    "history cursor": (using("history", user="alice"), "cursor", hostile.CURSORS),
    "history cursor of nobody": (using("history", user="nobody"), "cursor", hostile.CURSORS),
    "transactions cursor": (using("transactions", user="alice"), "cursor", hostile.CURSORS),
    "calls cursor": (CALLS, "cursor", hostile.CURSORS),
    "keys cursor": (using("keys"), "cursor", hostile.CURSORS),
    "audit cursor": (using("audit"), "cursor", hostile.CURSORS),
    "audit cursor of nobody": (using("audit", user="nobody"), "cursor", hostile.CURSORS),
    "explain charge": (using("explain"), "charge", hostile.no_name("invalid_input", 10_000)),
    "workflow name": (_workflow, "name", NAMES),
    "workflow low": (_workflow, "low", hostile.NO_AMOUNT | hostile.OUT_OF_RANGE | hostile.NEGATIVE),
    "workflow high": (_workflow, "high", hostile.NO_AMOUNT | hostile.OUT_OF_RANGE | hostile.NEGATIVE),
    "workflow on_failure": (_workflow, "on_failure", hostile.no_choice()),
}
for _name, _request in (("record", RECORD), ("run.record", RUN_RECORD)):
    TABLE |= {
        f"{_name} model": (_request, "model", NAMES),
        f"{_name} usage": (_request, "usage", hostile.NO_USAGE),
        f"{_name} operation": (_request, "operation", OPTIONAL),
        f"{_name} attributes": (_request, "attributes", hostile.NO_ATTRIBUTES),
        f"{_name} response_id": (_request, "response_id", hostile.no_name("invalid_input", 512, but=("none", "empty"))),
        f"{_name} metadata": (_request, "metadata", hostile.NO_METADATA),
        f"{_name} at": (_request, "at", hostile.NO_TIME | hostile.NOT_AN_EVENT),
        f"{_name} key": (_request, "key", SOME_NAMES),
        f"{_name} provider": (_request, "provider", OPTIONAL),
    }
TABLE["run.record step"] = (RUN_RECORD, "step", hostile.no_name("invalid_input", 128, but=("none",)))
for _name in ("low", "high"):
    # None leaves an end to the parts.
    del TABLE[f"workflow {_name}"][2]["none"]


async def refusal(standing: Standing, request: Request, arguments: dict[str, Any], code: str) -> str:
    """Return what is wrong with the refusal of a request; nothing when it is as it should be."""
    try:
        answer = await request(standing, **arguments)
    except CallfareError as error:
        if error.code != code:
            return f"refused as {error.code}: {error.message[:200]}"
        if len(error.message) > 1000:
            return f"a message of {len(error.message)} characters"
        json.dumps(error.facts(), ensure_ascii=False).encode()
    except BaseException as fault:  # noqa: BLE001 - whatever else comes is what this looks for
        return f"fell over: {type(fault).__name__}: {str(fault)[:200]!a}"
    else:
        return f"accepted: {str(answer)[:200]!a}"
    before, standing.before = standing.before, standing.rows()
    return "" if standing.before == before else "something was written"


@pytest.mark.parametrize("case", TABLE.values(), ids=TABLE.keys())
async def test_no_hostile_value_is_accepted_and_nothing_is_written(standing, case):
    request, argument, values = case

    wrong = {
        name: said
        for name, (value, code) in values.items()
        if (said := await refusal(standing, request, {argument: value}, code))
    }

    assert wrong == {}


# Requests that are well formed, and that nobody may make now.

NOT_NOW: dict[str, tuple[Request, dict[str, Any], str]] = {
    "a grant beyond the range together with what is there": (GRANT, {"credits": "9223372036"}, "amount_out_of_range"),
    "a grant under the key of another one": (GRANT, {"key": "welcome", "credits": 7}, "key_conflict"),
    "a grant under the key of a call": (GRANT, {"key": "unpriced"}, "key_conflict"),
    "a run above what is available": (RUN, {"hold": 80}, "insufficient_credit"),
    "a run above everything": (RUN, {"hold": "9223372036.854775807"}, "insufficient_credit"),
    "a run of a user without credit": (RUN, {"user": "nobody"}, "insufficient_credit"),
    "a run of an unknown workflow without an amount": (RUN, {"workflow": "opera", "hold": "low"}, "unknown_workflow"),
    "a run under the id of another one": (RUN, {"run_id": "ended"}, "key_conflict"),
    "closing a run nobody opened": (CLOSE_RUN, {"run_id": "ghost"}, "run_not_found"),
    "closing a run of another user": (CLOSE_RUN, {"user": "bob"}, "run_not_found"),
    "closing a run of a user nobody knows": (CLOSE_RUN, {"user": "nobody"}, "run_not_found"),
    "closing an ended run otherwise": (CLOSE_RUN, {"run_id": "ended", "outcome": "failed"}, "run_closed"),
    "closing under the key of a grant": (CLOSE_RUN, {"key": "welcome"}, "key_conflict"),
    "extending above what is available": (EXTEND, {"credits": 80}, "insufficient_credit"),
    "extending under the key of a grant": (EXTEND, {"key": "welcome"}, "key_conflict"),
    "a call under the key of another one": (RECORD, {"key": "unpriced"}, "key_conflict"),
    "a call under the key of a grant": (RECORD, {"key": "welcome"}, "key_conflict"),
    "a call that costs more than can be counted": (
        RECORD, {"model": "sora-2", "usage": {"video_seconds": 10**12}, "attributes": {"resolution": "1080p"}},
        "amount_out_of_range",
    ),
    "a call in a run that costs more than can be counted": (
        RUN_RECORD, {"model": "sora-2", "usage": {"video_seconds": 10**12}, "attributes": {"resolution": "1080p"}},
        "amount_out_of_range",
    ),
    "a price beyond what can be counted": (
        PRICE, {"model": "sora-2", "usage": {"video_seconds": 10**12}, "attributes": {"resolution": "1080p"}},
        "amount_out_of_range",
    ),
    "the price of an unknown model": (PRICE, {"model": "gpt-9"}, "unpriced_model"),
    "a price without what decides it": (PRICE, {"model": "sora-2", "usage": {"video_seconds": 1}}, "missing_attribute"),
    "the calls of a run nobody opened": (CALLS, {"run": "ghost"}, "run_not_found"),
    "the calls of a run of another user": (CALLS, {"user": "bob"}, "run_not_found"),
    "a charge nobody made": (using("explain"), {"charge": "chg_0000000000000_x"}, "charge_not_found"),
}  # fmt: skip


@pytest.mark.parametrize("case", NOT_NOW.values(), ids=NOT_NOW.keys())
async def test_what_may_not_be_done_now_is_refused_and_nothing_is_written(standing, case):
    request, arguments, code = case

    assert await refusal(standing, request, arguments, code) == ""


@pytest.mark.parametrize(
    ("method", "arguments", "code"),
    [
        ("touch", {}, "run_closed"),
        ("extend", {"credits": 1}, "run_closed"),
        ("close", {"outcome": "failed"}, "run_closed"),
        ("close", {"outcome": "cancelled"}, "run_closed"),
    ],
)
async def test_what_comes_after_the_end_of_a_run_is_refused(standing, method, arguments, code):
    async def request(standing, **named):
        return await getattr(standing.ended, method)(**named)

    assert await refusal(standing, request, arguments, code) == ""


@pytest.mark.parametrize("method", ["touch", "extend", "close", "record"])
async def test_what_comes_before_the_beginning_of_a_run_is_refused(standing, method):
    good = {"extend": {"credits": 1}, "record": {"model": "gpt-5-mini", "usage": TOKENS}}

    async def request(standing, **named):
        return await getattr(standing.fare.run("story", user="alice", run_id="new", hold=1), method)(**named)

    assert await refusal(standing, request, good.get(method, {}), "run_not_found") == ""


async def test_the_run_that_bore_all_of_this_is_still_the_same(standing):
    again = await standing.fare.open_run(**OPEN)

    assert again.left == Credits(12)
    assert standing.rows() == standing.before


# What is odd and allowed


@pytest.mark.parametrize("metadata", hostile.PLAIN_METADATA.values(), ids=hostile.PLAIN_METADATA.keys())
async def test_metadata_that_is_plain_is_kept_as_it_is(alice, metadata):
    run = await alice.open_run("story", user="alice", run_id="r1", hold=1, input=metadata)

    await chat(run, metadata=metadata)

    (call,) = (await alice.calls("r1")).items
    assert json.dumps(call.metadata) == json.dumps(metadata, default=dict)


async def test_names_at_their_longest_are_kept(alice):
    longest = "\U0001f642" * 127 + "n" * 128
    await alice.grant(longest, 10, key=longest)
    run = await alice.open_run(longest, user=longest, run_id=longest, hold=1)

    charge = await run.record(
        longest, {"input_tokens": 10**12}, operation=longest, provider=longest, step="\U0001f642" * 80,
        response_id="\U0001f642" * 256 + "n" * 256, attributes={"size": "\U0001f642" * 128},
    )  # fmt: skip
    await run.close(key="\U0001f680" * 127 + "n" * 128)

    assert (charge.status, charge.run_id) == ("unpriced", longest)
    assert (await alice.explain(charge.id)).call.model == longest
    assert (await alice.history(longest)).items[0].workflow == longest


async def test_the_greatest_balance_there_can_be_is_kept(fare):
    await fare.grant("alice", "9223372036.854775807", key="all")

    assert str((await fare.balance("alice")).available) == "9223372036.854775807"
