"""The law of reports: over any window and in any zone, every part sums to what the calls in it sum to."""

from __future__ import annotations

import random
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from callfare import Callfare
from callfare.clock import ManualClock
from tests.support.fixtures import address, give_back

ZONES = (
    "UTC", "Europe/Vienna", "America/St_Johns", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe",
    "Pacific/Chatham", "America/Caracas", "Africa/Casablanca", "Pacific/Apia", "Etc/GMT+12",
)  # fmt: skip
QUARTER = timedelta(minutes=15)
BEGIN, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 11, 23, 12, tzinfo=UTC)
# Days on which some zone moves its clocks.
SWITCHES = [
    datetime(2026, month, day, tzinfo=UTC) for month, day in [(3, 8), (3, 29), (4, 5), (10, 4), (10, 25), (11, 1)]
]
MODELS = {
    "gpt-5-mini": "input_tokens", "gpt-4o-mini-tts": "characters", "whisper-1": "audio_seconds", "gpt-9": "images",
}  # fmt: skip


def moments(chance):
    """Return instants that fall on, just before and just after quarters, and anywhere, most near switches of clocks."""
    for _ in range(260):
        near = chance.choice(SWITCHES) + chance.randrange(-120, 240) * QUARTER
        yield near + timedelta(microseconds=chance.choice([-1, 0, 1, chance.randrange(900_000_000)]))
    for _ in range(60):
        yield BEGIN + timedelta(microseconds=chance.randrange((END - BEGIN) // timedelta(microseconds=1)))


@pytest.fixture(scope="module", params=["memory", "sqlite", "postgres", pytest.param("convex", marks=pytest.mark.all)])
def told(request, tmp_path_factory):
    """A façade on a ledger of 320 calls, and those calls as its caller knows them."""
    folder = tmp_path_factory.mktemp("usage")
    fare = Callfare(address(request.param, folder), clock=ManualClock(END))
    fare.grant("alice", 9_000_000_000, key="welcome")
    chance = random.Random(20261123)
    runs = [fare.open_run(name, user="alice", hold=0) for name in ("story", "tweet")]
    calls = []
    for moment in moments(chance):
        model, meter = chance.choice(list(MODELS.items()))
        run = chance.choice([None, *runs])
        quantity = chance.randrange(1, 10**9) * (Fraction(1, 1000) if meter == "audio_seconds" else 1)
        if run:
            charge = run.record(model, {meter: quantity}, at=moment)
        else:
            charge = fare.record(model, {meter: quantity}, user="alice", at=moment)
        calls.append((moment, run.workflow if run else "", model, meter, quantity, charge))
    yield fare, calls
    fare.close()
    give_back(folder)


def summed(calls, name_of):
    """Return the calls, unpriced calls, cost, credits and units under each name."""
    sums = defaultdict(lambda: [0, 0, 0, 0, defaultdict(Fraction)])
    for call in calls:
        _, _, _, meter, quantity, charge = call
        part = sums[name_of(call)]
        part[0] += 1
        part[1] += charge.status == "unpriced"
        part[2] += charge.cost.picousd
        part[3] += charge.credits.nanocredits
        part[4][meter] += quantity
    return {name: (*part[:4], dict(part[4])) for name, part in sums.items()}


def said(shares):
    return {
        share.name: (
            share.calls, share.unpriced_calls, share.cost.picousd, share.credits.nanocredits, dict(share.units),
        )
        for share in shares
    }  # fmt: skip


instants = st.one_of(
    st.datetimes(BEGIN.replace(tzinfo=None), END.replace(tzinfo=None)).map(lambda naive: naive.replace(tzinfo=UTC)),
    st.builds(
        lambda switch, quarters, microseconds: switch + quarters * QUARTER + timedelta(microseconds=microseconds),
        st.sampled_from(SWITCHES), st.integers(-120, 240), st.sampled_from([-1, 0, 1]),
    ),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(window=st.tuples(instants, instants).map(sorted), zone=st.sampled_from(ZONES))
@example(window=[BEGIN, END + timedelta(hours=1)], zone="Europe/Vienna")
@example(window=[BEGIN, END + timedelta(hours=1)], zone="UTC")
@example(window=[SWITCHES[1], SWITCHES[1] + timedelta(minutes=1)], zone="Asia/Kathmandu")
def test_every_part_of_a_report_sums_to_its_calls(told, window, zone):
    fare, calls = told
    since, until = window
    inside = [call for call in calls if since <= call[0] < until]

    report = fare.usage("alice", since=since, until=until, tz=zone)

    assert said(report.by_day) == summed(inside, lambda call: call[0].astimezone(ZoneInfo(zone)).date().isoformat())
    assert said(report.by_workflow) == summed(inside, lambda call: call[1])
    assert said(report.by_model) == summed(inside, lambda call: call[2])
    total = (report.calls, report.unpriced_calls, report.cost.picousd, report.credits.nanocredits)
    assert total == summed(inside, lambda _: "all").get("all", (0, 0, 0, 0))[:4]


@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(instants, min_size=1, max_size=6).map(sorted), zone=st.sampled_from(ZONES))
def test_windows_that_follow_one_another_sum_to_the_window_they_make_up(told, cuts, zone):
    fare, _ = told
    edges = [BEGIN, *cuts, END + timedelta(hours=1)]

    parts = [fare.usage("alice", since=one, until=next_one, tz=zone) for one, next_one in pairwise(edges)]
    whole = fare.usage("alice", since=edges[0], until=edges[-1], tz=zone)

    assert sum(part.calls for part in parts) == whole.calls == 320
    assert sum(part.credits.nanocredits for part in parts) == whole.credits.nanocredits
    assert sum(part.cost.picousd for part in parts) == whole.cost.picousd
