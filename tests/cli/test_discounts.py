"""`callfare prices set --discount`: what a provider takes off all it lists, and how a charge leads back to it."""

from __future__ import annotations

import re
import shlex
from datetime import UTC, datetime

import pytest

from callfare import Callfare

OURS = ("set", "--provider", "anthropic", "--source", "agreement of 2026-11-20, page 4", "--book", "o.toml")
SONNET = ("claude-sonnet-4-5", "input_tokens=100000")


def paid(cli, *words, at="2026-11-20"):
    return cli.json("price", *(words or SONNET), "--book", "o.toml", "--at", at)["cost"]


def test_a_discount_is_set_in_one_line_and_holds_from_its_day(cli, folder):
    said = cli.text("prices", *OURS, "--discount", "15%", "--from", "2026-06-01")

    # 100,000 at 3 a million are 0.30; 85 of a hundred of that 0.255.
    assert (paid(cli, at="2026-05-31"), paid(cli, at="2026-06-01")) == ("0.3", "0.255")
    assert "-15% of what anthropic lists from 2026-06-01, for " in said
    assert "source: agreement of 2026-11-20, page 4, " in said
    assert (folder / "o.toml").read_text(encoding="utf-8").startswith('book = "o"\n\n[[adjustment]]\n')


def test_a_new_share_ends_the_one_before_it(cli, folder):
    cli.text("prices", *OURS, "--discount", "15%", "--from", "2026-06-01")
    cli.text("prices", *OURS, "--discount", "20%", "--from", "2026-09-01")
    cli.text("prices", *OURS, "--discount", "0%", "--from", "2026-10-01")

    days = ("2026-05-31", "2026-08-31", "2026-09-01", "2026-09-30", "2026-10-01")
    assert [paid(cli, at=day) for day in days] == ["0.3", "0.255", "0.24", "0.24", "0.3"]


def test_free_credits_end_on_their_day(cli):
    cli.text("prices", *OURS, "--discount", "100%", "--from", "2026-06-01", "--until", "2026-06-15")

    days = ("2026-05-31", "2026-06-01", "2026-06-14", "2026-06-15")
    assert [paid(cli, at=day) for day in days] == ["0.3", "0", "0", "0.3"]


def test_a_surcharge_is_set_alike(cli):
    cli.text("prices", *OURS, "--surcharge", "10%")

    assert paid(cli) == "0.33"
    assert "+10% of $3\n" in cli.text("price", *SONNET, "--book", "o.toml", "--at", "2026-11-20")


def test_rates_that_the_book_itself_has_are_not_adjusted_and_set_says_so(cli):
    rate = ("input_tokens=2/1000000", "--provider", "anthropic", "--source", "p. 5", "--book", "o.toml")
    cli.text("prices", "set", "claude-sonnet-4-5", *rate)

    said = cli.text("prices", *OURS, "--discount", "15%")

    assert paid(cli) == "0.2"
    assert paid(cli, "claude-haiku-4-5", "input_tokens=100000") == "0.085"
    assert "not adjusted, since the book itself says what they cost: claude-sonnet-4-5" in said


def test_a_charge_leads_to_the_page_of_its_rate_and_to_the_discount(cli):
    cli.text("prices", *OURS, "--discount", "15%")
    with Callfare("sqlite:///callfare.db", books=["o.toml"]) as fare:
        fare.grant("alice", 5000, key="g")
        charge = fare.record("claude-sonnet-4-5", {"input_tokens": 100_000}, user="alice", provider="anthropic")
        (line,) = charge.lines
        assert (str(line.rate), str(line.list_rate), line.adjustment) == ("2.55", "3", "-15%")
        assert str(charge.cost) == "0.255"

    story = cli.text("explain", charge.id, "--book", "o.toml")
    without_it = cli.text("explain", charge.id)

    assert "not among the books opened here" not in story
    assert re.search(r"not among the books opened here: o\+[0-9a-f]{8}; name your own with --book FILE\n", without_it)
    assert "100000 × $2.55 / 1000000 (-15% of $3) = $0.255" in story
    assert re.search(r"by price book catalogue\+[0-9a-f]{8},o\+[0-9a-f]{8}\n", story)
    (command,) = re.findall(r"where it was read: `callfare (.*)`", story)
    shown = " ".join(cli.text(*shlex.split(command)).split())
    assert "https://" in shown
    assert "-15% by o: agreement of 2026-11-20, page 4" in shown
    assert "-15% of $3" in shown
    assert "$2.55 / 1,000,000" in shown
    assert cli("verify").exit_code == 0


def test_what_was_charged_stays_when_a_discount_comes_later(cli):
    with Callfare("sqlite:///callfare.db") as fare:
        fare.grant("alice", 5000, key="g")
        fare.record("claude-sonnet-4-5", {"input_tokens": 100_000}, user="alice", provider="anthropic", key="one")
        before = fare.balance("alice").available

    cli.text("prices", *OURS, "--discount", "15%")
    cli.text("reprice", "--book", "o.toml")

    with Callfare("sqlite:///callfare.db", books=["o.toml"]) as fare:
        again = fare.record(
            "claude-sonnet-4-5", {"input_tokens": 100_000}, user="alice", provider="anthropic", key="one"
        )
        assert (again.is_replay, str(again.cost)) == (True, "0.3")
        assert fare.balance("alice").available == before


def test_who_runs_already_prices_on_as_it_began(cli):
    cli.text("prices", *OURS, "--discount", "15%")
    with Callfare("memory://", books=["o.toml"]) as running:
        cli.text("prices", *OURS, "--discount", "50%", "--from", "2020-01-01")

        at = datetime(2026, 11, 22, tzinfo=UTC)
        assert str(running.price("claude-sonnet-4-5", {"input_tokens": 100_000}, at=at).cost) == "0.255"


def test_diff_tells_the_discount_and_what_it_took_off_past_calls(cli):
    cli.text("prices", *OURS, "--discount", "15%")
    with Callfare("sqlite:///callfare.db", books=["o.toml"]) as fare:
        fare.grant("alice", 5000, key="g")
        fare.record("claude-sonnet-4-5", {"input_tokens": 100_000}, user="alice", provider="anthropic")

    found = cli.json("prices", "diff", "--book", "o.toml")

    (share,) = found["adjustments"]
    assert (share["provider"], share["adjustment"], share["holds"]) == ("anthropic", "-15%", True)
    (row,) = found["traffic"]
    assert (row["cost"], row["other_cost"]) == ("0.255", "0.3")
    assert "-15% of what anthropic lists" in cli.text("prices", "diff", "--book", "o.toml")


def test_list_has_what_one_pays(cli):
    cli.text("prices", *OURS, "--discount", "15%")

    (row,) = (
        row
        for row in cli.json("prices", "list", "claude-sonnet-4-5", "--provider", "anthropic", "--book", "o.toml")[
            "models"
        ]
        if row["model"] == "claude-sonnet-4-5"
    )

    assert {rate["meter"]: rate["usd"] for rate in row["rates"]}["input_tokens"] == "2.55"


@pytest.mark.parametrize(
    ("words", "said", "param"),
    [
        (("--discount", "15"), "a share such as 15%", "discount"),
        (("--discount", "0.15"), "a share such as 15%", "discount"),
        (("--discount", "-15%"), "a share such as 15%", "discount"),
        (("--discount", ""), "a share such as 15%", "discount"),
        (("--surcharge", "nan%"), "a share such as 15%", "surcharge"),
        (("--discount", "15%", "--surcharge", "1%"), "one of the two", "surcharge"),
        (("--discount", "15%", "--attr", "size=1"), "all that a provider lists", "attr"),
        (("claude-sonnet-4-5", "--discount", "15%"), "all that a provider lists", "model"),
        (("--discount", "15%", "--from", "2027-01-01", "--until", "2026-01-01"), "is not after from", "until"),
        (("--discount", "15%", "--provider", "antropic"), "did you mean anthropic?", "provider"),
        (("--discount", "15%", "--provider", "nobody-at-all"), "no price book has prices of", "provider"),
    ],
)
def test_what_is_no_discount_is_refused_and_nothing_is_written(cli, folder, words, said, param):
    error = cli.error("prices", *OURS, *words, exit_code=2)

    assert said in error["message"]
    assert error["param"] == param
    assert not (folder / "o.toml").exists()


def test_an_open_discount_has_to_be_ended_by_a_day(cli, folder):
    cli.text("prices", *OURS, "--discount", "15%", "--from", "2026-12-01")
    before = (folder / "o.toml").read_bytes()

    without = cli.error("prices", *OURS, "--discount", "20%", exit_code=2)
    earlier = cli.error("prices", *OURS, "--discount", "20%", "--from", "2026-12-01", exit_code=2)

    assert "in o.toml, line 3; say with --from" in without["message"]
    assert "has an adjustment from 2026-12-01 on" in earlier["message"]
    assert (folder / "o.toml").read_bytes() == before


def test_a_share_above_all_of_it_is_refused(cli, folder):
    error = cli.error("prices", *OURS, "--discount", "101%", exit_code=7)

    assert "give a share from 0% to 100%" in error["message"]
    assert not (folder / "o.toml").exists()


def test_a_discount_is_written_above_the_models_and_their_comments(cli, folder):
    rate = ("input_tokens=2/1000000", "--provider", "openai", "--source", "p. 5", "--book", "o.toml")
    cli.text("prices", "set", "gpt-9", *rate)
    made = (folder / "o.toml").read_text(encoding="utf-8")
    (folder / "o.toml").write_text(made.replace("[[model]]", "# Ours.\n[[model]]"), encoding="utf-8")

    cli.text("prices", *OURS, "--discount", "15%")
    cli.text("prices", "set", "gpt-9", "input_tokens=1/1000000", *rate[1:], "--from", "2026-09-01")

    text = (folder / "o.toml").read_text(encoding="utf-8")
    assert text.index("[[adjustment]]") < text.index("# Ours.\n[[model]]")
    assert paid(cli, "gpt-9", "input_tokens=1000000", at="2026-11-20") == "1"
    assert paid(cli) == "0.255"


def test_a_provider_is_written_as_the_catalogue_names_it(cli, folder):
    words = ("--source", "p. 1", "--book", "o.toml", "--discount", "5%")
    cli.text("prices", "set", "--provider", "Bedrock", *words)
    cli.text("prices", "set", "--provider", "azure", *words)

    text = (folder / "o.toml").read_text(encoding="utf-8")
    assert 'provider = "aws"' in text
    # 100,000 of gpt-4o at 2.50 a million are 0.25; 95 of a hundred of that 0.2375.
    assert paid(cli, "gpt-4o", "input_tokens=100000", "--provider", "azure") == "0.2375"
    assert paid(cli, "gpt-4o", "input_tokens=100000", "--provider", "openai") == "0.25"


def test_a_share_that_stands_below_the_models_ends_where_the_next_one_begins(cli, folder):
    cli.text("prices", "set", "m", "input_tokens=3/1000000", "--provider", "anthropic", *OURS[3:])
    book = folder / "o.toml"
    share = '[[adjustment]]\nprovider = "anthropic"\ndiscount = "10%"\nsource = "s"\nchecked = 2026-11-23\n'
    book.write_text(f"{book.read_text(encoding='utf-8')}\n{share}", encoding="utf-8")

    cli.text("prices", *OURS, "--discount", "15%", "--from", "2026-06-01")

    assert (paid(cli, at="2026-05-31"), paid(cli, at="2026-06-01")) == ("0.27", "0.255")


def test_what_is_told_is_the_share_that_was_set_and_not_one_to_come(cli):
    cli.text("prices", *OURS, "--discount", "15%", "--from", "2027-01-01", "--until", "2027-02-01")

    said = cli.text("prices", *OURS, "--discount", "5%", "--from", "2026-06-01", "--until", "2027-01-01")

    assert "-5% of what anthropic lists from 2026-06-01 until 2027-01-01" in said


@pytest.mark.parametrize("begins", ["2026-06-01T12:00:00Z", "2026-06-01T00:00:00-05:00", "0001-01-01T00:00:00+14:00"])
def test_a_time_of_day_is_refused_and_not_taken_for_its_day(cli, folder, begins):
    for what in (("--discount", "15%"), ("claude-sonnet-4-5", "input_tokens=1/1000000")):
        error = cli.error("prices", *OURS, *what, "--from", begins, exit_code=2)

        assert "give a day such as 2027-01-01" in error["message"]
    assert not (folder / "o.toml").exists()
