"""`callfare prices set`: all that a book can hold, from the command line, with prices worked out by hand."""

from __future__ import annotations

import pytest

WHOSE = ("--provider", "openai", "--source", "p. 3", "--book", "o.toml")


def written(cli, *words):
    return cli.json("prices", "set", "gpt-9", *words, *WHOSE)


def price(cli, *words, at="2026-11-20"):
    return cli.json("price", "gpt-9", *words, "--book", "o.toml", "--at", at)["cost"]


def test_pictures_are_set_by_size_and_quality_in_one_command(cli):
    written(
        cli,
        "images=0.011@size=1024x1024,quality=low",
        "images=0.167@size=1024x1024,quality=high",
        "images=0.016@size=1024x1536,quality=low",
        "images=0.25@size=1024x1536,quality=high",
    )

    def picture(size, quality):
        return price(cli, "images=2", "--attr", f"size={size}", "--attr", f"quality={quality}")

    assert (picture("1024x1024", "low"), picture("1024x1024", "high")) == ("0.022", "0.334")
    assert (picture("1024x1536", "low"), picture("1024X1536", "HIGH")) == ("0.032", "0.5")
    missing = cli.error("price", "gpt-9", "images=2", "--book", "o.toml", "--attr", "size=1024x1024", exit_code=2)
    assert missing["code"] == "missing_attribute"
    other = cli.error(
        "price", "gpt-9", "images=1", "--book", "o.toml", "--attr", "size=8x8", "--attr", "quality=low", exit_code=3
    )
    assert "8x8" in other["message"]


def test_a_larger_request_has_its_own_rates(cli):
    written(
        cli,
        "input_tokens=1.25/1000000",
        "input_tokens=2.50/1000000@above_input_tokens=200_000",
        "output_tokens=10/1000000",
        "output_tokens=15/1000000@above_input_tokens=200000",
    )

    # 200,000 at 1.25 is 0.25, one more token puts all of them at 2.50: 0.5000025. A thousand out are 0.01, then 0.015.
    assert price(cli, "input_tokens=200000", "output_tokens=1000") == "0.26"
    assert price(cli, "input_tokens=200001", "output_tokens=1000") == "0.5150025"


def test_the_least_that_a_call_is_billed_for_is_set_shown_and_compared(cli):
    written(cli, "audio_seconds=0.36/3600@minimum=10,daily=00:00-12:00", "audio_seconds=0.18/3600@daily=12:00-00:00")

    # 3 seconds cost as 10 do in the morning, and what they are at night; 90 are 90.
    assert price(cli, "audio_seconds=3", at="2026-11-20T09:00:00Z") == "0.001"
    assert price(cli, "audio_seconds=3", at="2026-11-20T21:00:00Z") == "0.00015"
    assert price(cli, "audio_seconds=90", at="2026-11-20T09:00:00Z") == "0.009"
    told = cli.text("price", "gpt-9", "audio_seconds=3", "--book", "o.toml", "--at", "2026-11-20T09:00:00Z")
    assert "billed as 10" in told
    shown = cli.json("prices", "show", "gpt-9", "--book", "o.toml")
    assert [rate["minimum"] for rate in shown["prices"][0]["rates"]] == [10, None]
    assert "0.36 / 3,600, at least 10" in cli.text("prices", "show", "gpt-9", "--book", "o.toml")
    assert "at least 10" in cli.text("prices", "diff", "gpt-9", "--book", "o.toml", "--at", "2026-11-20T09:00:00Z")


def test_a_rate_that_goes_on_in_other_hours_keeps_its_minimum(cli):
    written(cli, "audio_seconds=0.36/3600@minimum=10")

    written(cli, "audio_seconds=0.18/3600@minimum=5,daily=00:00-12:00", "--from", "2026-06-01")

    assert price(cli, "audio_seconds=3", at="2026-06-02T09:00:00Z") == "0.00025"
    assert price(cli, "audio_seconds=3", at="2026-06-02T21:00:00Z") == "0.001"


def test_what_is_written_to_the_cache_is_set_by_how_long_it_stays(cli):
    written(
        cli,
        "input_tokens=3/1000000",
        "cached_input_tokens=0.30/1000000",
        "cache_write_5m_input_tokens=3.75/1000000",
        "cache_write_30m_input_tokens=4/1000000",
        "cache_write_1h_input_tokens=6/1000000",
        "cache_write_12h_input_tokens=7/1000000",
    )

    used = ("5m_input_tokens=1000", "30m_input_tokens=1000", "1h_input_tokens=1000", "12h_input_tokens=1000")
    # 10,000 - 4,000 written - 2,000 read = 4,000 at 3: 0.012; read 0.0006; written 0.00375 + 0.004 + 0.006 + 0.007.
    found = price(
        cli, "input_tokens=10000", "cached_input_tokens=2000", *(f"cache_write_{lifetime}" for lifetime in used)
    )
    assert found == "0.03335"


def test_a_night_rate_leaves_the_day_its_price(cli, folder):
    written(cli, "input_tokens=0.27/1000000")

    written(cli, "input_tokens=0.135/1000000@daily=16:30-00:30", "--from", "2026-06-01")

    def at(time):
        return price(cli, "input_tokens=1000000", at=f"{time}Z")

    assert (at("2026-05-31T20:00:00"), at("2026-06-01T00:00:00")) == ("0.27", "0.135")
    assert (at("2026-06-01T00:29:59"), at("2026-06-01T00:30:00")) == ("0.135", "0.27")
    assert (at("2026-06-01T16:29:59"), at("2026-06-01T16:30:00")) == ("0.27", "0.135")
    assert 'daily = ["00:30", "16:30"]' in (folder / "o.toml").read_text(encoding="utf-8")


def test_a_new_night_rate_ends_the_old_one_and_no_other(cli, folder):
    written(cli, "input_tokens=0.27/1000000@daily=00:30-16:30", "input_tokens=0.135/1000000@daily=16:30-00:30")

    written(cli, "input_tokens=0.10/1000000@daily=16:30-00:30", "--from", "2026-06-01")

    assert price(cli, "input_tokens=1000000", at="2026-06-01T12:00:00Z") == "0.27"
    assert price(cli, "input_tokens=1000000", at="2026-06-01T17:00:00Z") == "0.1"
    assert (folder / "o.toml").read_text(encoding="utf-8").count("until = 2026-06-01") == 1


def test_a_rate_for_a_part_of_the_night_leaves_what_stood_on_both_sides(cli):
    written(cli, "input_tokens=0.27/1000000@daily=00:30-16:30", "input_tokens=0.135/1000000@daily=16:30-00:30")

    written(cli, "input_tokens=0.05/1000000@daily=22:00-23:00", "--from", "2026-06-01")

    def at(hour):
        return price(cli, "input_tokens=1000000", at=f"2026-06-01T{hour}:00Z")

    assert [at(hour) for hour in ("21:59", "22:00", "22:59", "23:00", "00:29", "00:30")] == [
        "0.135",
        "0.05",
        "0.05",
        "0.135",
        "0.135",
        "0.27",
    ]


def test_one_rate_for_all_hours_takes_the_place_of_all_of_them(cli):
    written(cli, "input_tokens=0.27/1000000@daily=00:30-16:30", "input_tokens=0.135/1000000@daily=16:30-00:30")

    written(cli, "input_tokens=0.20/1000000", "--from", "2026-06-01")

    assert price(cli, "input_tokens=1000000", at="2026-06-01T12:00:00Z") == "0.2"
    assert price(cli, "input_tokens=1000000", at="2026-06-01T20:00:00Z") == "0.2"


def test_a_larger_requests_rate_is_followed_by_its_own_kind_only(cli):
    written(cli, "input_tokens=1.25/1000000", "input_tokens=2.50/1000000@above_input_tokens=200000")

    written(cli, "input_tokens=2/1000000@above_input_tokens=200000", "--from", "2026-06-01")

    assert price(cli, "input_tokens=100000", at="2026-06-01") == "0.125"
    assert price(cli, "input_tokens=300000", at="2026-06-01") == "0.6"
    assert price(cli, "input_tokens=300000", at="2026-05-31") == "0.75"


def test_a_size_that_was_set_in_capitals_is_followed_by_the_same_size(cli):
    written(cli, "images=0.25@size=1024X1536")

    written(cli, "images=0.20@size=1024x1536", "--from", "2026-06-01")

    assert price(cli, "images=1", "--attr", "size=1024x1536", at="2026-06-01") == "0.2"


def test_set_says_which_rates_of_larger_requests_the_model_lacks_now(cli):
    words = ("gemini-2.5-pro", "input_tokens=1/1000000", "output_tokens=8/1000000", "--provider", "google")

    found = cli.json("prices", "set", *words, *WHOSE[2:])

    lacks = {(row["meter"], row["above_input_tokens"]) for row in found["lacks"] if not row["attributes"]}
    assert {("input_tokens", 200_000), ("output_tokens", 200_000)} <= lacks
    assert "above 200,000 read" in cli.text("prices", "set", *words, *WHOSE[2:], "--from", "2027-01-01")


@pytest.mark.parametrize(
    ("rate", "said"),
    [
        ("images=1@", "not of the form"),
        ("images=1@size", "NAME=VALUE"),
        ("images=1@size=", "NAME=VALUE"),
        ("images=1@=1", "NAME=VALUE"),
        ("images=1@size=1,size=2", "each name once"),
        ("images=1@above_input_tokens=0", "above_input_tokens is '0'"),
        ("images=1@minimum=0", "minimum is '0'"),
        ("images=1@minimum=2.5", "minimum is '2.5'"),
        ("images=1@above_input_tokens=1e6", "above_input_tokens is '1e6'"),
        ("images=1@above_input_tokens=-5", "above_input_tokens is '-5'"),
        ("images=1@daily=16:30", "hours in UTC"),
        ("images=1@daily=16:30-16:30", "hours in UTC"),
        ("images=1@daily=25:00-26:00", "hours in UTC"),
        ("images=1@daily=\uff11\uff16:30-17:30", "hours in UTC"),
        ("images=1@size=\u0000", "is not printable"),
    ],
)
def test_set_refuses_what_no_book_can_hold(cli, folder, rate, said):
    error = cli.error("prices", "set", "gpt-9", rate, *WHOSE, exit_code=2)

    assert said in error["message"]
    assert not (folder / "o.toml").exists()


def test_what_is_said_twice_is_refused(cli):
    error = cli.error("prices", "set", "gpt-9", "images=1@size=2x2", "--attr", "size=1x1", *WHOSE, exit_code=2)

    assert error["message"] == "images=1@size=2x2 says size, and --attr does too"


def test_rates_of_one_command_that_could_both_apply_leave_the_book_as_it_was(cli, folder):
    written(cli, "input_tokens=1/1000000")
    before = (folder / "o.toml").read_bytes()

    rates = ("input_tokens=2/1000000@daily=01:00-03:00", "input_tokens=3/1000000@daily=02:00-04:00")
    error = cli.error("prices", "set", "gpt-9", *rates, *WHOSE, "--from", "2026-06-01", exit_code=7)

    assert error["code"] == "price_book_invalid"
    assert (folder / "o.toml").read_bytes() == before
