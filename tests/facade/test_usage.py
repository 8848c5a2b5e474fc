"""Usage: totals, by workflow, by model with units, by day of any zone, over any window."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest

from callfare import Credits, plain
from callfare.errors import InvalidTime
from tests.facade.doors import START, chat, image, speech, texts


def at(text):
    """Return an instant from its text."""
    return datetime.fromisoformat(text)


def days(report):
    """Return the days of a report with their calls."""
    return {share.name: share.calls for share in report.by_day}


@pytest.fixture
async def paid(fare):
    """A façade on a ledger in which alice has credit enough for anything here."""
    await fare.grant("alice", 1_000_000, key="welcome")
    return fare


async def test_a_call_that_its_provider_says_was_free_is_priced_and_costs_nothing(paid):
    used = {"input_tokens": 1200, "output_tokens": 350, "billed_usd": "0"}

    charge = await paid.record("deepseek/deepseek-r1:free", used, user="alice", provider="openrouter")

    assert (charge.status, charge.credits, (await paid.balance("alice")).spent) == ("priced", Credits(0), Credits(0))


async def test_a_user_without_usage_has_an_empty_report(paid):
    report = await paid.usage("nobody")

    assert plain(report) == {
        "user": "nobody",
        "since": "2026-10-24T12:00:00.000001Z",
        "until": "2026-11-23T12:00:00.000001Z",
        "tz": "UTC",
        "calls": 0,
        "unpriced_calls": 0,
        "cost": "0",
        "credits": "0",
        "by_workflow": [],
        "by_model": [],
        "by_day": [],
    }


async def test_a_report_sums_by_workflow_by_model_and_by_day(paid):
    async with paid.run("story", user="alice", hold=50) as run:
        await image(run, 2)
        await chat(run, 1000, 200)
        await chat(run, 3000, 0, at=START - timedelta(days=1))
    async with paid.run("tweet", user="alice", hold=20) as run:
        await speech(run, 2000)
        await run.record("gpt-9", {"input_tokens": 5})
    await paid.record("whisper-1", {"audio_seconds": "90.5"}, user="alice")

    report = await paid.usage("alice")

    assert (report.calls, report.unpriced_calls) == (6, 1)
    assert texts(report, "cost", "credits") == ("0.19377", "19.377")
    assert [(share.name, share.calls, *texts(share, "cost", "credits")) for share in report.by_workflow] == [
        ("story", 3, "0.16072", "16.072"),
        ("tweet", 2, "0.024", "2.4"),
        ("", 1, "0.00905", "0.905"),
    ]
    assert [(share.name, share.calls, share.unpriced_calls, dict(share.units)) for share in report.by_model] == [
        ("gpt-image-1", 1, 0, {"images": 2}),
        ("gpt-4o-mini-tts", 1, 0, {"characters": 2000}),
        ("whisper-1", 1, 0, {"audio_seconds": Fraction("90.5")}),
        ("gpt-5-mini", 2, 0, {"input_tokens": 4000, "output_tokens": 200}),
        ("gpt-9", 1, 1, {"input_tokens": 5}),
    ]
    assert [(share.name, share.calls, str(share.credits)) for share in report.by_day] == [
        ("2026-11-22", 1, "0.045"),
        ("2026-11-23", 5, "19.332"),
    ]


async def test_usage_is_that_of_one_user(paid):
    await chat(paid, user="alice")
    await chat(paid, user="bob")

    assert (await paid.usage("bob")).calls == 1


@pytest.mark.parametrize(("period", "length"), [("day", 1), ("week", 7), ("month", 30)])
async def test_a_period_ends_now_and_begins_its_days_ago(paid, period, length):
    first = START - timedelta(days=length) + timedelta(microseconds=1)
    await chat(paid, user="alice", at=first - timedelta(microseconds=1))
    await chat(paid, user="alice", at=first)
    await chat(paid, user="alice")

    report = await paid.usage("alice", period)

    assert (report.calls, report.since, report.until) == (2, first, START + timedelta(microseconds=1))


async def test_all_is_from_the_beginning(paid):
    await chat(paid, user="alice", at=at("2000-01-01T00:00:00Z"))
    await chat(paid, user="alice")

    assert (await paid.usage("alice", "all")).calls == 2


async def test_without_a_word_a_report_is_of_a_month(paid):
    await chat(paid, user="alice", at=START - timedelta(days=31))
    await chat(paid, user="alice", at=START - timedelta(days=29))

    assert (await paid.usage("alice")).calls == 1


async def test_a_window_has_its_first_instant_and_not_its_last(paid):
    since, until = at("2026-11-20T10:07:13.000001Z"), at("2026-11-20T10:07:13.000003Z")
    for microsecond in range(5):
        await chat(paid, user="alice", at=since + timedelta(microseconds=microsecond - 1))

    report = await paid.usage("alice", since=since, until=until)

    assert (report.calls, report.since, report.until) == (2, since, until)


async def test_a_window_without_length_is_empty(paid):
    await chat(paid, user="alice", at=START)

    assert (await paid.usage("alice", since=START, until=START)).calls == 0


async def test_a_window_may_be_open_at_its_end_or_counted_back_from_it(paid):
    await chat(paid, user="alice", at=START - timedelta(days=40))
    await chat(paid, user="alice", at=START - timedelta(days=3))
    await chat(paid, user="alice")

    since_only = await paid.usage("alice", since=START - timedelta(days=3))
    until_only = await paid.usage("alice", "week", until=START - timedelta(days=1))

    assert (since_only.calls, until_only.calls) == (2, 1)
    assert until_only.since == START - timedelta(days=8)


async def test_a_window_is_asked_for_in_any_zone(paid):
    await chat(paid, user="alice", at=at("2026-11-20T10:00:00Z"))

    report = await paid.usage(
        "alice", since=at("2026-11-20T15:45:00+05:45"), until=at("2026-11-20T05:00:01-05:00"), tz="Asia/Kathmandu"
    )

    assert (report.calls, report.since) == (1, at("2026-11-20T10:00:00Z"))


async def test_a_window_before_there_was_anything_is_empty(paid):
    await chat(paid, user="alice")

    report = await paid.usage("alice", since=datetime.min.replace(tzinfo=UTC), until=at("1999-01-01T00:00:00Z"))

    assert report.calls == 0


async def test_a_window_up_to_the_end_of_time_holds_everything(paid):
    await chat(paid, user="alice")

    report = await paid.usage("alice", since=datetime.min.replace(tzinfo=UTC), until=datetime.max.replace(tzinfo=UTC))

    assert report.calls == 1


async def test_a_window_that_ends_before_it_begins_is_refused(paid):
    with pytest.raises(InvalidTime) as caught:
        await paid.usage("alice", since=START, until=START - timedelta(microseconds=1))

    assert caught.value.param == "since"


@pytest.mark.parametrize(
    ("zone", "before", "first", "last", "after", "day"),
    [
        # The day on which clocks go forward has 23 hours, the one on which they go back 25.
        ("Europe/Vienna", "2026-03-28T22:59:59.999999Z", "2026-03-28T23:00:00Z", "2026-03-29T21:59:59.999999Z",
         "2026-03-29T22:00:00Z", "2026-03-29"),
        ("Europe/Vienna", "2026-10-24T21:59:59.999999Z", "2026-10-24T22:00:00Z", "2026-10-25T22:59:59.999999Z",
         "2026-10-25T23:00:00Z", "2026-10-25"),
        ("America/St_Johns", "2026-03-08T03:29:59.999999Z", "2026-03-08T03:30:00Z", "2026-03-09T02:29:59.999999Z",
         "2026-03-09T02:30:00Z", "2026-03-08"),
        ("America/St_Johns", "2026-11-01T02:29:59.999999Z", "2026-11-01T02:30:00Z", "2026-11-02T03:29:59.999999Z",
         "2026-11-02T03:30:00Z", "2026-11-01"),
        ("Asia/Kolkata", "2026-06-30T18:29:59.999999Z", "2026-06-30T18:30:00Z", "2026-07-01T18:29:59.999999Z",
         "2026-07-01T18:30:00Z", "2026-07-01"),
        ("Asia/Kathmandu", "2026-06-30T18:14:59.999999Z", "2026-06-30T18:15:00Z", "2026-07-01T18:14:59.999999Z",
         "2026-07-01T18:15:00Z", "2026-07-01"),
        # Lord Howe Island moves its clocks by half an hour.
        ("Australia/Lord_Howe", "2026-04-04T12:59:59.999999Z", "2026-04-04T13:00:00Z", "2026-04-05T13:29:59.999999Z",
         "2026-04-05T13:30:00Z", "2026-04-05"),
        ("Australia/Lord_Howe", "2026-10-03T13:29:59.999999Z", "2026-10-03T13:30:00Z", "2026-10-04T12:59:59.999999Z",
         "2026-10-04T13:00:00Z", "2026-10-04"),
        ("UTC", "2026-06-30T23:59:59.999999Z", "2026-07-01T00:00:00Z", "2026-07-01T23:59:59.999999Z",
         "2026-07-02T00:00:00Z", "2026-07-01"),
    ],
)  # fmt: skip
async def test_a_day_begins_and_ends_where_its_zone_says(paid, zone, before, first, last, after, day):
    for moment in (before, first, last, after):
        await chat(paid, user="alice", at=at(moment))

    report = await paid.usage("alice", "all", tz=zone)

    assert days(report)[day] == 2
    assert sorted(days(report).values()) == [1, 1, 2]
    assert sum(days(report).values()) == report.calls == 4


async def test_a_correction_counts_where_the_call_was_made(paid, ledger, clock, tmp_path):
    own = tmp_path / "own.toml"
    own.write_text(
        'book = "own"\n[[model]]\nprovider = "openai"\nname = "gpt-9"\nbasis = ["input_tokens"]\n'
        'source = "ours"\nchecked = 2026-11-20\n[[model.rate]]\nmeter = "input_tokens"\nusd = "1"\nper = 1\n'
    )
    await paid.record("gpt-9", {"input_tokens": 3}, user="alice")
    clock.advance(3 * 24 * 3600)
    await ledger.open(books=[own]).reprice()

    report = await paid.usage("alice", since=START, until=START + timedelta(hours=1))

    assert (report.calls, report.unpriced_calls, report.credits) == (1, 0, Credits(300))
    assert days(report) == {"2026-11-23": 1}
    assert dict(report.by_model[0].units) == {"input_tokens": 3}
