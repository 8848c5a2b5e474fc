"""`callfare prices`: what is in force, beside the catalogue, and how it changes only when a person says so."""

from __future__ import annotations

import re
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest

from callfare import Callfare
from callfare.pricing import catalog
from callfare.pricing.edition import shipped_catalogue

NEW_ROW = ("set", "gpt-9", "input_tokens=0.25/1000000", "--provider", "openai", "--source", "p. 3", "--book", "o.toml")


@pytest.fixture
def dearer(monkeypatch):
    """The installed genai-prices with another price for the output of gpt-4o, one model more and one less."""
    made = catalog.get_snapshot().providers
    openai = next(provider for provider in made if provider.id == "openai")
    gpt_4o = next(model for model in openai.models if model.id == "gpt-4o")
    monkeypatch.setattr(gpt_4o.prices, "output_mtok", Decimal(20), raising=False)
    monkeypatch.setattr(gpt_4o, "price_variants", None)
    gone = next(model for model in openai.models if model.id == "ada")
    monkeypatch.setattr(gone, "id", "adele")


def traffic(cli):
    with Callfare("sqlite:///callfare.db") as fare:
        fare.grant("alice", 5000, key="g")
        fare.record("gpt-4o", {"output_tokens": 1_000_000}, user="alice", provider="openai")
        fare.record("gpt-5-mini", {"input_tokens": 1_000_000}, user="alice", provider="openai")
        fare.record("model-9", {"input_tokens": 1}, user="alice")


def cost(cli):
    with Callfare("sqlite:///callfare.db") as fare:
        return str(fare.price("gpt-4o", {"output_tokens": 1_000_000}, at=None).cost)


def test_prices_that_several_set_at_once_are_all_kept(cli, folder):
    models = [f"model-{number}" for number in range(6)]

    with ThreadPoolExecutor(6) as pool:
        said = list(pool.map(lambda model: run("prices", "set", model, *NEW_ROW[2:]), models))

    assert [process.returncode for process in said] == [0] * 6, said
    assert sorted(re.findall(r'name = "(.*)"', (folder / "o.toml").read_text())) == models


def test_a_book_that_is_written_anew_stays_what_it_was(cli, folder):
    (folder / "kept").mkdir()
    (folder / "o.toml").symlink_to(folder / "kept" / "prices.toml")
    cli.text("prices", *NEW_ROW)
    (folder / "kept" / "prices.toml").chmod(0o644)

    cli.text("prices", *NEW_ROW[:2], "output_tokens=1/1000000", *NEW_ROW[3:], "--from", "2030-01-01")

    assert (folder / "o.toml").is_symlink()
    assert stat.S_IMODE((folder / "kept" / "prices.toml").stat().st_mode) == 0o644


def run(*words):
    """Return a command's process, ended."""
    return subprocess.run([sys.executable, "-m", "callfare", *words], capture_output=True, text=True, check=False)


def test_list_names_the_layer_that_decides(cli):
    found = cli.json("prices", "list", "gpt-5-mini")["models"]

    layers = {row["layer"]: row for row in found if (row["provider"], row["model"]) == ("openai", "gpt-5-mini")}
    assert {name: row["decides"] for name, row in layers.items()} == {"seed-2024": True, "catalogue": False}
    assert layers["catalogue"]["rates"] == [
        {"meter": "input_tokens", "usd": "0.25", "most_usd": "0.25", "per": 1_000_000},
        {"meter": "output_tokens", "usd": "2", "most_usd": "2", "per": 1_000_000},
    ]
    assert cli.text("prices", "list", "no-such-model") == "no price book names such a model\n"


def test_list_tells_what_each_model_costs(cli):
    said = cli.text("prices", "list", "o3-mini").splitlines()
    seeds = cli.text("prices", "list", "sora-2", "--no-seed-prices")

    assert said[0].split() == ["model", "provider", "layer", "price", "note"]
    assert any("input_tokens $1.10, output_tokens $4.40 / 1,000,000" in line for line in said)
    assert "video_seconds $0.10 / 1, ended 2026-09-25" in seeds


def test_list_tells_the_range_where_size_and_quality_decide(cli):
    said = cli.text("prices", "list", "gpt-image-1.5")

    assert "input_tokens $5, output_tokens $10 / 1,000,000; images $0.009–$0.20 / 1" in said


def test_list_tells_that_a_provider_tells_what_it_charged(cli):
    said = cli.text("prices", "list", "claude-sonnet-4.5", "--provider", "openrouter")

    assert "what a reply says, else input_tokens $3, output_tokens $15 / 1,000,000" in said


def test_list_tells_books_of_one_name_apart(cli, folder):
    cli.text("prices", *NEW_ROW)
    (folder / "p.toml").write_text((folder / "o.toml").read_text().replace("gpt-9", "gpt-8").replace("0.25", "0.5"))

    said = cli.text("prices", "list", "--book", "o.toml", "--book", "p.toml", "gpt-8")

    assert "input_tokens $0.50 / 1,000,000" in said


def test_list_can_be_of_one_provider(cli):
    found = cli.json("prices", "list", "--provider", "anthropic")["models"]

    assert {row["provider"] for row in found} == {"anthropic"}


def test_list_takes_a_provider_in_any_case_and_names_the_one_that_was_meant(cli):
    found = cli.json("prices", "list", "opus", "--provider", "Anthropic")["models"]
    error = cli.error("prices", "list", "--provider", "antropic", exit_code=2)

    assert {row["provider"] for row in found} == {"anthropic"}
    assert error["param"] == "provider"
    assert error["message"] == "no price book has prices of 'antropic'; did you mean anthropic?"


def test_show_tells_rates_source_and_what_they_stand_before(cli):
    first, second = cli.json("prices", "show", "gpt-5-mini")["prices"]

    assert (first["layer"], first["decides"], second["layer"], second["decides"]) == (
        "seed-2024",
        True,
        "catalogue",
        False,
    )
    assert first["rates"][0] == {
        "meter": "input_tokens",
        "usd": "0.15",
        "per": 1_000_000,
        "attributes": {},
        "above_input_tokens": None,
        "hours": "",
        "holds": True,
        "list_usd": None,
        "adjustment": "",
        "minimum": None,
    }
    assert second["source"] == "https://developers.openai.com/api/docs/pricing"


def test_show_tells_sizes_and_hours(cli):
    by_size = cli.text("prices", "show", "gemini-2.5-pro")
    by_hour = cli.text("prices", "show", "deepseek-v4-flash")

    assert "above 200,000 read" in by_size
    assert re.search(r"[0-9]{2}:00–[0-9]{2}:00\n", by_hour)


def test_show_tells_the_rates_of_all_hours_and_which_hold(cli):
    (found,) = cli.json("prices", "show", "deepseek-chat", "--at", "2025-06-01T18:00Z")["prices"]
    said = cli.text("prices", "show", "deepseek-chat", "--at", "2025-06-01T18:00Z")

    by_hour = {row["hours"]: (row["usd"], row["holds"]) for row in found["rates"] if row["meter"] == "input_tokens"}
    assert by_hour == {
        "00:00–00:30": ("0.135", False),
        "00:30–16:30": ("0.27", False),
        "16:30–24:00": ("0.135", True),
    }
    assert "$0.135 / 1,000,000  -      -     16:30–24:00, now\n" in said
    assert "$0.27 / 1,000,000  -      -     00:30–16:30\n" in said


def test_show_says_when_prices_change(cli):
    (found,) = cli.json("prices", "show", "o3")["prices"]
    said = cli.text("prices", "show", "o3")

    assert found["changes"] == ["2025-06-10T00:00:00Z", "2026-10-12T00:00:00Z", "2026-10-14T00:00:00Z"]
    assert "changes    2025-06-10, 2026-10-12, 2026-10-14; --at DAY shows those of another time\n" in said


def test_show_tells_what_a_retired_model_cost_last(cli):
    (found,) = cli.json("prices", "show", "sora-2", "--no-seed-prices")["prices"]
    said = cli.text("prices", "show", "sora-2", "--no-seed-prices")

    assert (found["layer"], found["until"], found["has_ended"]) == ("media", "2026-09-25T00:00:00Z", True)
    assert "in force   until 2026-09-25; a call since then has no price\n" in said


def test_show_says_that_a_layer_stands_before_what_is_still_sold(cli):
    first, second = cli.json("prices", "show", "gpt-image-1", "--no-seed-prices")["prices"]

    assert (first["layer"], first["has_ended"], first["decides"]) == ("media", True, True)
    assert (second["layer"], second["has_ended"], second["decides"]) == ("catalogue", False, False)


def test_show_names_what_is_billed_and_not_what_has_no_rate(cli):
    said = cli.text("prices", "show", "o3")

    assert "billed by  input_tokens, output_tokens, web_searches and file_searches\n" in said


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (("list", "--at", "2026-01-01"), "--at"),
        (("show", "o3", "--days", "4"), "--days"),
        (("show", "o3", "--attr", "size=1"), "--attr"),
        (("check", "o3"), "MODEL"),
        (("check", "--provider", "openai"), "--provider"),
        (("diff", "--source", "p. 3"), "--source"),
        (("update", "--from", "2026-01-01"), "--from"),
        ((*NEW_ROW, "--at", "2026-01-01"), "--at"),
        (("list", "--file", "x"), "--file"),
    ],
)
def test_what_an_action_does_not_take_is_refused_and_not_passed_over(cli, words, option):
    error = cli.error("prices", *words, exit_code=2)

    assert error["message"].startswith(f"{words[0]} takes no {option}; ")


def test_show_says_why_a_model_has_no_price(cli):
    assert "has no price for it" in cli.error("prices", "show", "gemma-3", exit_code=3)["message"]


def test_show_tells_the_least_that_a_call_is_billed_for(cli):
    assert "$0.111 / 3,600, at least 10" in cli.text("prices", "show", "whisper-large-v3")


def test_diff_shows_the_seeds_figures_beside_the_catalogues(cli):
    rows = {
        (row["model"], row["meter"]): (row["usd"], row["other_usd"], row["change"])
        for row in cli.json("prices", "diff")["differences"]
    }

    assert rows["gpt-5-mini", "input_tokens"] == ("0.15", "0.25", "5/3")
    assert rows["gpt-5-mini", "cached_input_tokens"] == ("0.15", "0.025", "1/6")
    assert rows["gpt-5-mini", "output_tokens"] == ("0.60", "2", "10/3")
    assert rows["whisper-1", "audio_seconds"] == ("0.006", "0.36", "1")
    assert {model for model, _ in rows} == {"gpt-5-mini", "gpt-4o-mini-tts", "whisper-1", "gpt-image-1", "sora-2"}


def test_diff_says_which_of_the_catalogues_prices_have_ended(cli):
    rows = {
        (row["meter"], row["attributes"].get("resolution")): row["other_ended"]
        for row in cli.json("prices", "diff", "sora-2")["differences"]
    }

    assert rows["video_seconds", "720p"] == "2026-09-25T00:00:00Z"
    assert "$0.10 / 1, ended 2026-09-25" in cli.text("prices", "diff", "sora-2")
    assert {row["other_ended"] for row in cli.json("prices", "diff", "gpt-5-mini")["differences"]} == {None}


def test_diff_tells_what_past_calls_cost_by_the_catalogue(cli):
    traffic(cli)

    rows = {row["model"]: row for row in cli.json("prices", "diff")["traffic"]}

    assert (rows["gpt-5-mini"]["cost"], rows["gpt-5-mini"]["other_cost"]) == ("0.15", "0.25")
    assert (rows["gpt-4o"]["cost"], rows["gpt-4o"]["other_cost"]) == ("10", "10")
    assert (rows["model-9"]["unpriced"], rows["model-9"]["other_unpriced"]) == (1, 1)
    assert cli.json("prices", "diff", "--days", "0")["traffic"] == []


def test_check_says_that_nothing_would_change(cli):
    traffic(cli)

    said = cli.text("prices", "check")

    assert said.endswith("nothing would change\n")


def test_check_tells_what_would_change_and_for_which_calls_and_changes_nothing(cli, dearer, folder):
    traffic(cli)

    found = cli.json("prices", "check")

    assert found["edition"] == shipped_catalogue().edition != found["other_edition"]
    assert (found["added"], found["removed"]) == (["openai adele"], ["openai ada"])
    assert found["changed"] == ["openai gpt-4o"]
    (row,) = found["differences"]
    assert (row["meter"], row["usd"], row["other_usd"], row["change"]) == ("output_tokens", "10", "20", "2")
    first = found["traffic"][0]
    assert (first["model"], first["calls"], first["cost"], first["other_cost"]) == ("gpt-4o", 1, "10", "20")
    assert cost(cli) == "10"
    assert not (folder / "callfare.db.catalogue").exists()


def test_update_holds_for_who_opens_the_ledger_from_then_on(cli, dearer):
    traffic(cli)
    with Callfare("sqlite:///callfare.db") as running:
        said = cli.json("prices", "update")

        assert str(running.price("gpt-4o", {"output_tokens": 1_000_000}).cost) == "10"
    assert said["file"].endswith("callfare.db.catalogue")
    assert cost(cli) == "20"
    assert cli.text("prices", "check").endswith("nothing would change\n")


def test_what_is_in_force_can_be_pinned(cli, folder, monkeypatch):
    traffic(cli)
    cli.text("prices", "update")
    monkeypatch.setattr("callfare.pricing.shipped.shipped_catalogue", lambda: pytest.fail("it is pinned"))

    assert cost(cli) == "10"
    # With the day on which its prices were read, for nobody has read them since.
    assert (folder / "callfare.db.catalogue").read_bytes() == shipped_catalogue().text


def test_update_needs_a_file_where_the_ledger_has_none(cli, dearer, folder):
    error = cli.error("prices", "update", "--db", "memory://", exit_code=2)
    cli.text("prices", "update", "--db", "memory://", "--file", "accepted")

    assert error["param"] == "file"
    assert (folder / "accepted").read_bytes().startswith(b'{"attributes"')


def test_set_makes_a_book_and_ends_a_rate_where_the_next_begins(cli, folder):
    cli.text("prices", *NEW_ROW)
    before = (folder / "o.toml").read_text(encoding="utf-8")
    (folder / "o.toml").write_text(before.replace("[[model]]", "# Ours.\n[[model]]"), encoding="utf-8")
    cli.text("prices", *NEW_ROW[:2], "input_tokens=0.35/1_000_000", *NEW_ROW[3:], "--from", "2026-06-01")

    def price(day):
        return cli.json("price", "gpt-9", "input_tokens=1000000", "--book", "o.toml", "--at", day)["cost"]

    assert (price("2026-05-31"), price("2026-06-01")) == ("0.25", "0.35")
    assert "# Ours.\n" in (folder / "o.toml").read_text(encoding="utf-8")


def test_set_takes_a_meter_that_the_model_did_not_bill(cli, folder):
    cli.text("prices", *NEW_ROW)
    words = ("web_searches=10/1000", "output_tokens=2/1000000", "reasoning_tokens=3/1000000")

    cli.text("prices", *NEW_ROW[:2], *words, *NEW_ROW[3:], "--from", "2026-06-01")

    def price(day):
        used = ("input_tokens=1000000", "web_searches=2", "output_tokens=1000000", "reasoning_tokens=500000")
        return cli.json("price", "gpt-9", *used, "--book", "o.toml", "--at", day)["cost"]

    # 0.25 for input; from June on 0.02 for searches, 1 for what is shown and 1.50 for what was thought besides.
    assert (price("2026-05-31"), price("2026-06-01")) == ("0.25", "2.77")
    assert 'basis = ["web_searches", "output_tokens", ' in (folder / "o.toml").read_text(encoding="utf-8")


def test_set_takes_a_new_meter_for_all_times(cli, folder):
    cli.text("prices", *NEW_ROW)

    cli.text("prices", *NEW_ROW[:2], "characters=15/1000000", *NEW_ROW[3:])

    used = ("input_tokens=1000000", "characters=1000000")
    assert cli.json("price", "gpt-9", *used, "--book", "o.toml", "--at", "2020-01-01")["cost"] == "15.25"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("input_tokens=0.35/1000000",), "say with --from"),
        (("input_tokens=0.35/1000000",), "correct the row in o.toml, line 10"),
        (("input_tokens=-1/1000000", "--from", "2026-06-01"), "not of the form"),
        (("input_tokens=0.35/0", "--from", "2026-06-01"), "per is 0"),
        (("inputtokens=1/1000", "--from", "2026-06-01"), "no meter 'inputtokens'; did you mean input_tokens?"),
        (("output_tokens=2",), "is dollars for how many? such as output_tokens=2/1000000"),
        (("characters=15",), "is dollars for how many? such as characters=15/1000000"),
    ],
)
def test_set_leaves_a_book_as_it_is_where_a_rate_cannot_be(cli, folder, words, said):
    cli.text("prices", *NEW_ROW)
    before = (folder / "o.toml").read_bytes()

    error = cli.error("prices", *NEW_ROW[:2], *words, *NEW_ROW[3:], exit_code=2)

    assert said in error["message"]
    assert (folder / "o.toml").read_bytes() == before


def test_set_takes_a_price_of_one_picture_as_it_is_said(cli):
    cli.text("prices", *NEW_ROW[:2], "images=0.05", *NEW_ROW[3:])

    assert cli.json("price", "gpt-9", "images=2", "--book", "o.toml")["cost"] == "0.1"


@pytest.mark.parametrize(
    ("left_out", "said"),
    [("--provider", "whose model"), ("--source", "where it was read"), ("--book", "--book FILE")],
)
def test_set_names_the_option_that_is_missing(cli, left_out, said):
    at = NEW_ROW.index(left_out)

    error = cli.error("prices", *NEW_ROW[:at], *NEW_ROW[at + 2 :], exit_code=2)

    assert error["param"] == left_out.removeprefix("--")
    assert said in error["message"]


def test_set_keeps_the_source_of_each_price(cli, folder):
    cli.text("prices", *NEW_ROW)

    later = ("input_tokens=0.35/1000000", "--provider", "openai", "--source", 'p. "4"', "--book", "o.toml")
    cli.text("prices", *NEW_ROW[:2], *later, "--from", "2027-01-01")

    (shown,) = cli.json("prices", "show", "gpt-9", "--book", "o.toml")["prices"]
    assert shown["source"] == 'p. 3; input_tokens from 2027-01-01: p. "4"'


@pytest.mark.parametrize("name", ["service_tier", "processing"])
def test_a_tier_that_is_set_leaves_ordinary_calls_their_price(cli, name):
    cli.text("prices", *NEW_ROW)
    for tier, usd in (("flex", "0.09"), ("priority", "0.5")):
        cli.text("prices", *NEW_ROW[:2], f"input_tokens={usd}/1000000", *NEW_ROW[3:], "--attr", f"{name}={tier}")

    def price(*words):
        return cli.json("price", "gpt-9", "input_tokens=1000000", "--book", "o.toml", *words)["cost"]

    assert (price(), price("--attr", "service_tier=default")) == ("0.25", "0.25")
    assert (price("--attr", "service_tier=flex"), price("--attr", "service_tier=priority")) == ("0.09", "0.5")
    unpriced = cli.error(
        "price", "gpt-9", "input_tokens=1", "--book", "o.toml", "--attr", "service_tier=scale", exit_code=3
    )
    assert "scale" in unpriced["message"]


def test_a_tier_is_set_above_the_model_that_stands_next(cli, folder):
    cli.text("prices", *NEW_ROW)
    made = (folder / "o.toml").read_text(encoding="utf-8")
    own = '\n[model.ordinary]\nregion = ["us"]\n\n[[model]]' + made.partition("[[model]]")[2].replace("gpt-9", "gpt-8")
    (folder / "o.toml").write_text(made + own, encoding="utf-8")

    cli.text("prices", *NEW_ROW[:2], "input_tokens=0.09/1000000", *NEW_ROW[3:], "--attr", "service_tier=flex")

    words = ("input_tokens=1000000", "--book", "o.toml", "--attr", "service_tier=flex")
    assert cli.json("price", "gpt-9", *words)["cost"] == "0.09"
    assert cli.json("price", "gpt-8", *words)["cost"] == "0.25"


def test_set_says_what_the_model_had_below_and_has_no_more(cli):
    said = cli.text("prices", "set", "gpt-5-mini", "input_tokens=0.2/1000000", "output_tokens=1/1000000", *NEW_ROW[3:])
    found = cli.json("prices", "set", "gpt-5", "input_tokens=0.2/1000000", *NEW_ROW[3:])

    assert "gpt-5-mini of openai is billed by input_tokens and output_tokens" in said
    assert "seed-2024 has rates that it lacks now: web_searches, file_searches" in said
    assert found["below"] == "catalogue"
    assert {"meter": "output_tokens", "attributes": {}, "above_input_tokens": None} in found["lacks"]
    flex = {"meter": "input_tokens", "attributes": {"processing": "flex"}, "above_input_tokens": None}
    assert flex in found["lacks"]


@pytest.mark.parametrize(
    "words",
    [
        ("sell",),
        ("show",),
        ("show", ""),
        ("list", "--provider", ""),
        ("list", "x", "input_tokens=1"),
        ("check", "--days", "-1"),
        ("diff", "--at", "yesterday"),
        ("set", "gpt-9"),
        NEW_ROW[:-2],
        (*NEW_ROW, "--book", "p.toml"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_meant_is_refused(cli, words):
    assert cli("prices", *words).exit_code == 2
