"""Laws that hold whatever happened: who looks, and when, changes nothing; lots keep their order; totals are sums."""

from __future__ import annotations

import random
from collections import Counter
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, seed
from hypothesis import strategies as st

from callfare.clock import ManualClock
from callfare.errors import CallfareError
from callfare.ledger.commands import ClaimBatch, Command
from callfare.ledger.counted import add_to, difference, units_of, units_text
from callfare.ledger.holds import spending_order
from callfare.ledger.rollups import fold
from callfare.ledger.rows import HOUSE, Event, Grant, Hold
from callfare.store.memory import MemoryStore
from tests.property.ledgers import USERS, commands, effort
from tests.property.ledgers import Names as NamesSoFar
from tests.support import commands as make
from tests.support import seeds
from tests.support.books import Books

MINUTES = st.integers(0, 180)


def fresh(clock: ManualClock) -> Books:
    books = Books(MemoryStore(clock), clock)
    books.do_all(make.grant("alice", 100, key="first"), make.grant("bob", 30, key="first"))
    return books


@seed(seeds.chosen)
@effort(60)
@given(choice=st.data(), pauses=st.lists(MINUTES, min_size=5, max_size=40))
def test_it_does_not_matter_whether_anybody_settles_what_is_due(choice, pauses):
    """Expiry holds at read time, whether or not a job ran: one ledger is swept after every step, the other never."""
    clock = ManualClock(make.START)
    swept, left, names = fresh(clock), fresh(clock), NamesSoFar()
    for minutes in pauses:
        command: Command = choice.draw(commands(clock, names))
        for user in USERS:
            swept.do(make.expire(user))
        (answer,) = swept.batch(command)
        (same,) = left.batch(command)
        assert type(answer) is type(same), (answer, same)
        if not isinstance(answer, CallfareError):
            names.learn(command, answer)
        clock.advance(minutes * 60)
        for user in USERS:
            assert swept.view(user) == left.view(user)
            swept.do(make.expire(user))

    for user in USERS:
        left.do(make.expire(user))
        swept.do(make.expire(user))
        assert swept.sums(user) == left.sums(user)


@seed(seeds.chosen)
@effort(60)
@given(choice=st.data(), count=st.integers(5, 40))
def test_a_refusal_can_be_left_out(choice, count):
    """A ledger that was asked for things it refused is the same as one that was not."""
    clock = ManualClock(make.START)
    asked, spared, names = fresh(clock), fresh(clock), NamesSoFar()
    for _ in range(count):
        command: Command = choice.draw(commands(clock, names))
        (answer,) = asked.batch(command)
        if isinstance(answer, CallfareError):
            continue
        names.learn(command, answer)
        spared.do(command)
        clock.advance(choice.draw(MINUTES) * 60)

    assert asked.all_rows() == spared.all_rows()


@seed(seeds.chosen)
@effort(60)
@given(choice=st.data(), count=st.integers(5, 30))
def test_users_do_not_touch_each_other(choice, count):
    """What one user does leaves every row of the others as it was, house accounts included."""
    clock = ManualClock(make.START)
    books, names = fresh(clock), NamesSoFar()
    for _ in range(count):
        command: Command = choice.draw(commands(clock, names))
        before = _by_account(books)
        (answer,) = books.batch(command)
        after = _by_account(books)
        if isinstance(answer, CallfareError):
            continue
        names.learn(command, answer)
        owner = getattr(answer, "account_id", None)
        # Whose a batch is stands with the house.
        allowed = {owner, HOUSE} if isinstance(command, ClaimBatch) else {owner}
        assert {number for number in after if after[number] != before.get(number)} <= allowed


def _by_account(books: Books) -> dict[int, list[object]]:
    rows: dict[int, list[object]] = {}
    for table in books.all_rows().values():
        for row, _ in table:
            rows.setdefault(row.account_id, []).append(row)  # type: ignore[attr-defined]
    return rows


lots = st.builds(
    lambda number, source, hours: Grant(
        1, number, source, 10, 10, 0, None, None, 0, None if hours is None else hours * 3_600_000_000
    ),
    st.integers(1, 1000),
    st.sampled_from(["purchase", "promo", "plan", "adjustment"]),
    st.sampled_from([None, 1, 2, 3]),
)


@seed(seeds.chosen)
@effort(200)
@given(st.lists(lots, max_size=12, unique_by=lambda lot: lot.grant_id))
def test_lots_are_spent_by_expiry_then_promotion_then_age(found):
    order = sorted(found, key=spending_order)

    for first, second in pairwise(order):
        never = 2**63
        ends = [lot.expires_at_us if lot.expires_at_us is not None else never for lot in (first, second)]
        assert ends[0] <= ends[1]
        if ends[0] == ends[1]:
            assert (first.source == "promo") >= (second.source == "promo")
            if (first.source == "promo") == (second.source == "promo"):
                assert first.grant_id < second.grant_id


@pytest.mark.parametrize("number", range(20))
def test_holds_stand_in_the_lots_that_would_be_spent(number):
    """Whatever lots there are, a hold takes them in spending order and nothing beyond its amount."""
    chance = random.Random(seeds.chosen + number)
    clock = ManualClock(make.START)
    books = Books(MemoryStore(clock), clock)
    for lot in range(chance.randrange(1, 8)):
        books.do(
            make.grant("alice", chance.randrange(1, 20), key=f"lot-{lot}", source=chance.choice(["promo", "plan"]))
        )
    available = books.view().available_nanocredits
    amount = chance.randrange(available + 1)

    books.do(make.open_run("r1", hold=0))
    books.do(make.open_run("r2", hold=books_credits(amount)))

    held = {hold.grant_id: hold.amount_nanocredits for hold in books.rows(Hold)}
    assert sum(held.values()) == amount
    left = amount
    for lot in sorted(books.rows(Grant), key=spending_order):
        part = min(left, lot.amount_nanocredits)
        assert held.get(lot.grant_id, 0) == part
        left -= part


def books_credits(nanocredits: int) -> str:
    return f"{nanocredits // 10**9}.{nanocredits % 10**9:09d}"


# Units and roll-ups

quantities = st.one_of(
    st.integers(0, 10**12), st.fractions(min_value=0, max_value=10**6, max_denominator=1000), st.just(Fraction(1, 3))
)
units = st.dictionaries(st.sampled_from(["input_tokens", "output_tokens", "audio_seconds"]), quantities, max_size=3)


@seed(seeds.chosen)
@effort(200)
@given(units, units)
def test_a_difference_added_again_is_what_was_there(now, before):
    total = dict(before)

    add_to(total, units_of(difference(units_text(now), units_text(before))))

    assert units_text(total) == units_text(now)


@seed(seeds.chosen)
@effort(100)
@given(
    st.lists(st.tuples(st.integers(0, 50), st.sampled_from(["a", "b"]), st.integers(0, 10**9)), max_size=20),
    st.integers(0, 20),
)
def test_roll_ups_do_not_depend_on_where_a_batch_ends(calls, cut):  # fmt: skip
    events = [_event(minute, model, nanocredits, number) for number, (minute, model, nanocredits) in enumerate(calls)]

    together = {pk: part.added_to(None) for pk, part in fold(events).items()}
    apart = {pk: part.added_to(None) for pk, part in fold(events[:cut]).items()}
    apart |= {pk: part.added_to(apart.get(pk)) for pk, part in fold(events[cut:]).items()}

    assert apart == together
    for grain in ("day", "quarter"):
        said = sum(row.nanocredits for row in together.values() if row.grain == grain)
        assert said == sum(event.nanocredits for event in events)
        counted = Counter(event.model for event in events)
        assert {row.model for row in together.values()} == set(counted)


def _event(minute: int, model: str, nanocredits: int, number: int) -> Event:
    return Event(
        account_id=1, key=f"call-{number}", kind="usage", corrects=None, run_id=None, workflow="", call_number=0,
        step=None, provider="openai", base_url="", model=model, operation="chat", response_id="", status="priced",
        flags="", reason=None, nanocredits=nanocredits, picousd=nanocredits * 10, debt_nanocredits=0, charge_seq=None,
        edition="", markup="1", usage='{"input_tokens":"3"}', counted=None, attributes="{}", lines="[]", metadata=None,
        raw_digest=None, at_us=minute * 60_000_000, recorded_at_us=0, fingerprint=0, held_after_nanocredits=0,
        used_after_nanocredits=0,
    )  # fmt: skip
