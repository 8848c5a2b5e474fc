"""Commands that read, told to people and as JSON. Every figure was worked out by hand from the seed's table.

story-1: 400 × 0.15 + 800 × 0.15 + 345 × 0.60 per million = $0.000387; 4 × $0.08 = $0.32; model-9 has no price.
"""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from callfare import Callfare, Credits, Usd
from callfare.answers import Movement, Transaction
from callfare.cli.charge_story import _moved
from callfare.engine.requests import Call, Subject
from callfare.ids import charge_id
from callfare.ledger.receipts import ChargeReceipt, GrantReceipt

BOOK = """
book = "own"
[[model]]
provider = "acme"
name = "whisper-9"
basis = ["audio_seconds"]
source = "our contract, page 3"
checked = 2026-03-01
[[model.rate]]
meter = "audio_seconds"
usd = "0.0001"
per = 1
"""
MARCH = ("--since", "2026-03-01", "--until", "2026-04-01")

pytestmark = pytest.mark.usefixtures("written")


def test_balance_tells_what_a_user_has(cli):
    assert cli.text("balance", "alice") == (
        "alice\n"
        "  available  1,997.96 credits ($19.97)\n"
        "  posted     1,997.96 credits\n"
        "  held       0.00 credits\n"
        "  debt       none\n"
    )


def test_balance_tells_a_debt(cli):
    assert "  debt       1.20 credits; the next grant pays it first\n" in cli.text("balance", "bob")


def test_balance_as_json_is_exact(cli):
    assert cli.json("balance", "alice") == {
        "user": "alice",
        "posted": "1997.9613",
        "held": "0",
        "spent": "0",
        "available": "1997.9613",
        "debt": "0",
    }


def test_options_may_stand_before_the_command_or_after_it(cli):
    before = cli("--json", "--db", "sqlite:///callfare.db", "balance", "alice")
    after = cli("balance", "alice", "--json", "--db", "sqlite:///callfare.db")

    assert before.exit_code == after.exit_code == 0
    assert before.stdout == after.stdout
    assert before.stdout.startswith("{")


def test_the_environment_names_the_ledger_where_no_option_does(cli, folder):
    (folder / "callfare.db").rename(folder / "elsewhere.db")

    result = cli("balance", "alice", env={"CALLFARE_DATABASE_URL": "sqlite:///elsewhere.db"})

    assert result.exit_code == 0
    assert "1,997.96" in result.stdout


def test_usage_is_told_by_workflow_model_and_day(cli):
    assert cli.text("usage", "alice", *MARCH) == (
        "alice: 3 calls, 32.04 credits ($0.32) + 1 unpriced\n"
        "from 2026-03-01 00:00:00 until 2026-04-01 00:00:00 UTC, days of UTC\n"
        "1 call of these had no price; `callfare doctor` names the models\n"
        "\n"
        "workflow  calls  credits   cost  besides\n"
        "story         3    32.04  $0.32  + 1 unpriced\n"
        "\n"
        "model                  calls   credits      cost  besides  units\n"
        "gpt-image-1                1     32.00     $0.32  -        4 images\n"
        "gpt-5-mini-2025-08-07      1     0.039  $0.00039  -      "
        "  1,200 input_tokens, of which 800 cached_input_tokens; 345 output_tokens\n"
        "model-9                    1  unpriced  unpriced  -        7 input_tokens\n"
        "\n"
        "day         calls  credits   cost  besides\n"
        "2026-03-02      3    32.04  $0.32  + 1 unpriced\n"
    )


def test_usage_that_has_no_price_at_all_is_not_told_as_free(cli, clock):
    with Callfare("sqlite:///callfare.db", clock=clock) as fare:
        for number in range(2):
            fare.record("gpt-7", {"input_tokens": 7}, user="gina", key=f"k{number}")
        with fare.run("story", user="alice", run_id="story-2") as run:
            run.record("gpt-7", {"input_tokens": 7})

    said = cli.text("usage", "gina", *MARCH)
    history = single_spaced(cli.text("history", "alice"))

    assert said.startswith("gina: 2 calls, unpriced\n")
    assert "gpt-7      2  unpriced  unpriced  -        14 input_tokens\n" in said
    assert "2026-03-02 12:02:00 story-2 story completed 1 unpriced unpriced - - 100–500" in history


def test_usage_as_json_is_exact(cli):
    report = cli.json("usage", "alice", *MARCH)

    assert (report["calls"], report["credits"], report["cost"]) == (3, "32.0387", "0.320387")
    assert report["by_workflow"] == [
        {
            "name": "story",
            "calls": 3,
            "unpriced_calls": 1,
            "cost": "0.320387",
            "credits": "32.0387",
            "units": {"cached_input_tokens": 800, "images": 4, "input_tokens": 1207, "output_tokens": 345},
        }
    ]


def test_dates_and_days_are_those_of_the_zone_that_was_asked_for(cli):
    window = ("--since", "2026-03-03", "--until", "2026-03-04", "--tz", "Pacific/Kiritimati")

    report = cli.json("usage", "alice", *window)

    assert report["since"] == "2026-03-02T10:00:00Z"
    assert [day["name"] for day in report["by_day"]] == ["2026-03-03"]
    assert report["calls"] == 3


def test_usage_outside_runs_stands_apart_from_workflows(cli):
    assert "(no run)      1     1.20  $0.012  -\n" in cli.text("usage", "bob", *MARCH, "--since", "2026-02-01")


def test_usage_of_nobody_is_told_without_tables(cli):
    assert cli.text("usage", "nobody", "--period", "all").splitlines()[0] == "nobody: 0 calls, 0.00 credits ($0.00)"


def test_history_lists_runs_newest_first(cli):
    assert cli.text("history", "alice") == (
        "opened (UTC)         run      workflow  status     calls  charged   cost  besides       held  estimate\n"
        "2026-03-02 12:02:00  tweet-1  tweet     expired        0     0.00  $0.00  -                -     15–50\n"
        "2026-03-02 12:01:00  story-1  story     completed      3    32.04  $0.32  + 1 unpriced     -   100–500\n"
    )


def test_a_page_says_beside_it_how_to_go_on(cli):
    first = cli("history", "alice", "--limit", "1", "--db", "sqlite:///callfare.db")

    assert "tweet-1" in first.stdout
    assert "more:" not in first.stdout
    words = first.stderr.strip().removeprefix("more: callfare ").split()
    assert words[:3] == ["history", "--limit", "1"]
    assert words[-3:] == ["--db", "sqlite:///callfare.db", "alice"]
    second = cli(*words)
    assert "story-1" in second.stdout
    assert second.stderr == ""


def test_a_page_as_json_holds_its_cursor_and_says_nothing_beside(cli):
    result = cli("history", "alice", "--limit", "1", "--json")

    assert result.stderr == ""
    page = cli.json("history", "alice", "--limit", "1")
    rest = cli.json("history", "alice", "--cursor", page["next_cursor"])
    assert [run["run_id"] for run in page["items"] + rest["items"]] == ["tweet-1", "story-1"]
    assert rest["next_cursor"] is None


def test_a_list_without_items_says_so(cli):
    assert cli.text("history", "nobody") == "no runs of nobody\n"
    assert cli.text("transactions", "nobody") == "no transactions of nobody\n"
    assert cli.text("calls", "tweet-1") == "no calls of tweet-1\n"


def test_calls_are_listed_with_the_ids_of_their_charges(cli, written):
    units = "1,200 input_tokens, of which 800 cached_input_tokens; 345 output_tokens"

    assert single_spaced(cli.text("calls", "story-1")) == [
        "at (UTC) model provider credits cost step notes units charge",
        f"2026-03-02 12:01:00 gpt-5-mini-2025-08-07 openai 0.0387 $0.000387 outline - {units} {written['first']}",
        f"2026-03-02 12:01:00 gpt-image-1 - 32 $0.32 - - 4 images {written['second']}",
        f"2026-03-02 12:01:00 model-9 - unpriced unpriced - - 7 input_tokens {written['third']}",
    ]


def test_calls_page_in_their_order(cli, written):
    first = cli.json("calls", "story-1", "--limit", "2", "--user", "alice")
    second = cli.json("calls", "story-1", "--cursor", first["next_cursor"])

    assert [call["id"] for call in first["items"] + second["items"]] == list(written.values())


def test_the_next_page_of_calls_names_the_same_user(cli):
    said = cli("calls", "story-1", "--limit", "2", "--user", "alice").stderr

    assert said.startswith("more: callfare calls --limit 2 --user=alice --cursor ")
    assert said.endswith(" story-1\n")


def test_transactions_list_what_was_added_and_taken(cli):
    assert single_spaced(cli.text("transactions", "alice")) == [
        "number at (UTC) kind credit debt run or reference",
        "3 2026-03-02 12:01:00 capture -32.0387 - story-1",
        "2 2026-03-02 12:00:00 grant +2,000 - cs_1",
        "1 2026-03-02 12:00:00 grant +30 - welcome",
    ]


def test_a_debt_stands_in_its_own_column(cli):
    assert " charge - +1.2 " in single_spaced(cli.text("transactions", "bob"))[1]


def test_an_estimate_tells_its_range_and_what_it_rests_on(cli):
    assert cli.text("estimate", "story") == (
        "story: 100–500 credits ($1.00–$5.00)\n"
        "  rests on    the range it was declared with\n"
        "  failed run  pays for what it used\n"
    )


def test_an_estimate_tells_the_past_of_a_user_beside_it(cli):
    said = cli.text("estimate", "story", "--user", "alice")

    assert "  alice's past  1 completed run, median 32.04, highest 32.04 credits\n" in said
    assert "  bob's past  none completed\n" in cli.text("estimate", "story", "--user", "bob")


def test_an_estimate_as_json(cli):
    found = cli.json("estimate", "story", "--user", "alice")

    assert (found["low"], found["high"], found["past_runs"], found["past_median"]) == ("100", "500", 1, "32.0387")


def test_packages_are_the_four_of_the_specification(cli):
    assert cli.text("packages") == (
        "id             name     credits    price  credits per $\n"
        "credits_500    Starter      500    $5.00            100\n"
        "credits_2000   Creator    2,000   $18.00            111\n"
        "credits_5000   Pro        5,000   $40.00            125\n"
        "credits_15000  Studio    15,000  $100.00            150\n"
    )
    assert cli.json("packages")[1]["price"] == "18"


def test_a_price_is_told_line_by_line(cli):
    said = cli.text("price", "gpt-5-mini", "input_tokens=1200", "cached_input_tokens=800", "output_tokens=345")

    assert said.splitlines()[0] == "gpt-5-mini of openai: $0.000387, 0.0387 credits"
    assert single_spaced(said)[1:5] == [
        "meter quantity rate per cost credits note",
        "input_tokens 400 $0.15 1,000,000 $0.00006 0.006 -",
        "cached_input_tokens 800 $0.15 1,000,000 $0.00012 0.012 at the rate of input_tokens",
        "output_tokens 345 $0.60 1,000,000 $0.000207 0.0207 -",
    ]


def test_a_price_takes_attributes_and_names_what_it_does_not_bill(cli):
    said = cli.text("price", "gpt-image-1", "images=2", "output_tokens=100", "--attr", "size=1024x1536")

    assert said.splitlines()[0] == "gpt-image-1 of openai: $0.16, 16 credits"
    assert "  not billed  100 output_tokens\n" in said


def test_a_price_is_multiplied_by_the_markup(cli):
    assert cli.json("price", "sora-2", "video_seconds=8", "--attr", "resolution=720p")["credits"] == "32"
    marked = cli.json("price", "sora-2", "video_seconds=8", "--attr", "resolution=720p", "--markup", "1.5")
    assert (marked["cost"], marked["credits"]) == ("0.32", "48")


def test_fractions_of_seconds_are_exact(cli):
    assert cli.json("price", "whisper-1", "audio_seconds=8.47")["cost"] == "0.000847"


def test_a_book_of_ones_own_decides(cli, folder):
    (folder / "own.toml").write_text(
        """
        book = "own"
        [[model]]
        provider = "openai"
        name = "gpt-5-mini"
        basis = ["input_tokens"]
        source = "our contract, page 3"
        checked = 2026-03-01
        [[model.rate]]
        meter = "input_tokens"
        usd = "0.25"
        per = 1_000_000
        until = 2026-03-02
        [[model.rate]]
        meter = "input_tokens"
        usd = "0.20"
        per = 1_000_000
        from = 2026-03-02
        """,
        encoding="utf-8",
    )
    call = ("price", "gpt-5-mini", "input_tokens=1000000")

    assert cli.json(*call)["cost"] == "0.15"
    assert cli.json(*call, "--book", "own.toml")["cost"] == "0.2"
    assert cli.json(*call, "--book", "own.toml", "--at", "2026-03-01")["cost"] == "0.25"
    assert cli.json(*call, "--no-seed-prices")["cost"] == "0.25"
    assert cli.error("price", "gpt-unheard-of", "input_tokens=1", exit_code=3)["code"] == "unpriced_model"


def test_explain_tells_a_charge_from_raw_usage_to_the_lots_that_paid(cli, written):
    said = cli.text("explain", written["first"])

    assert said == (
        f"{written['first']}\n"
        "gpt-5-mini-2025-08-07, responses.create, openai, at 2026-03-02 12:01:00 UTC: $0.000387, 0.0387 credits\n"
        "\n"
        "1. What the provider reported\n"
        "   response resp_1\n"
        "   its own usage object was not kept; the counts below were reported by the caller\n"
        "\n"
        "2. What was counted\n"
        "   1,200 input_tokens, of which 800 cached_input_tokens; 345 output_tokens\n"
        '   metadata {"topic": "boats"}\n'
        "\n"
        "3. What it cost\n"
        "   input_tokens: 400 × $0.15 / 1000000 = $0.00006 = 0.006 credits\n"
        "   cached_input_tokens: 800 × $0.15 / 1000000 (the rate of input_tokens) = $0.00012 = 0.012 credits\n"
        "   output_tokens: 345 × $0.60 / 1000000 = $0.000207 = 0.0207 credits\n"
        "   together $0.000387 = 0.0387 credits\n"
        "   by price book seed-2024+6c53b8aa\n"
        "   where it was read: "
        "`callfare prices show --provider openai --at 2026-03-02T12:01:00Z gpt-5-mini-2025-08-07`\n"
        "\n"
        "4. What was put right later\n"
        "   nothing\n"
        "\n"
        "5. The run it was part of\n"
        "   story-1, story, opened 2026-03-02 12:01:00 UTC\n"
        "   expected to cost 100–500 credits\n"
        "   completed 2026-03-02 12:01:00 UTC: 3 calls, 1 of them unpriced, 32.0387 credits\n"
        "\n"
        "6. What moved in the ledger\n"
        f"   {transaction_of(written['first'], 3)}, capture of 32.0387 credits for the whole run,"
        " 2026-03-02 12:01:00 UTC\n"
        "     -30 credits on the customer's lot welcome, given as promotion\n"
        "     -2.0387 credits on the customer's lot cs_1, bought\n"
        "     +32.0387 credits on the house's revenue\n"
    )


def test_explain_as_json_holds_the_same(cli, written):
    found = cli.json("explain", written["first"])

    assert found["call"]["cost"] == "0.000387"
    assert [(move["account"], move["amount"], move["lot"]) for move in found["movements"]] == [
        ("customer", "-30", "welcome"),
        ("customer", "-2.0387", "cs_1"),
        ("revenue", "32.0387", None),
    ]


def test_explain_tells_what_has_no_price_yet(cli, written):
    said = cli.text("explain", written["third"])

    assert ", at 2026-03-02 12:01:00 UTC: unpriced, no price book names model-9\n" in said
    assert "`callfare reprice` rates it once there is a price" in said
    assert "$0.00" not in said


def test_explain_tells_the_entries_of_each_transfer_under_it(cli, folder, clock):
    (folder / "own.toml").write_text(BOOK, encoding="utf-8")
    with Callfare("sqlite:///callfare.db", clock=clock) as fare:
        fare.grant("dora", "0.5", key="small")
        call = {"audio_seconds": 60}
        charge = fare.record("whisper-9", call, user="dora", provider="acme").id
        first = fare.record("whisper-1", call, user="dora").id
    cli.text("reprice", "--book", "own.toml")

    entries = cli.text("explain", first).split("6. What moved in the ledger\n")[1].splitlines()
    later = cli.text("explain", charge).split("6. What moved in the ledger\n")[1].splitlines()

    assert entries[0].startswith(f"   {transaction_of(first, 2)}, charge of 0.6 credits, ")
    assert entries[1:] == [
        "     -0.5 credits on the customer's lot small, an adjustment",
        "     -0.1 credits on the customer's debt",
        "     +0.6 credits on the house's revenue",
    ]
    assert later[0].startswith(f"   {transaction_of(first, 3)}, ")


def test_several_transfers_keep_their_entries_apart(cli, clock):
    at = datetime(2026, 3, 2, tzinfo=UTC)
    amounts = [("txn_1", "5"), ("txn_2", "2")]
    transfers = tuple(
        Transaction(
            id=name, number=1, kind="charge", amount=Credits(amount), change=Credits(f"-{amount}"),
            debt_change=Credits(0), run_id=None, reference=None, at=at,
        )
        for name, amount in amounts
    )  # fmt: skip
    moves = (("customer", "-3"), ("customer", "-2"), ("revenue", "5"), ("customer", "-2"), ("revenue", "2"))
    found = SimpleNamespace(
        transfers=transfers,
        run=None,
        movements=tuple(
            Movement(account=account, amount=Credits(amount), lot=None, source=None, paid=None)
            for account, amount in moves
        ),
    )

    assert list(_moved(found)) == [
        "txn_1, charge of 5 credits, 2026-03-02 00:00:00 UTC",
        "  -3 credits on the customer's credit",
        "  -2 credits on the customer's credit",
        "  +5 credits on the house's revenue",
        "txn_2, charge of 2 credits, 2026-03-02 00:00:00 UTC",
        "  -2 credits on the customer's credit",
        "  +2 credits on the house's revenue",
    ]


def test_explain_reaches_from_the_providers_own_object_to_the_card_payment(cli, clock):
    with Callfare("sqlite:///callfare.db", clock=clock) as fare:
        engine = fare._engine
        bought = engine.requests.grant(
            "carol", 2000, key="order_7", source="purchase", expires_at=None, paid=Usd("18"), reference="pi_123"
        )
        engine.commit(bought, GrantReceipt)
        raw = {"prompt_tokens": 1000, "details": {"cached": 0}}
        call = Call(model="gpt-5-mini", usage={"input_tokens": 1000}, provider="openai", response_id="r", raw=raw)
        receipt = engine.commit(engine.requests.usage(Subject(user="carol"), call), ChargeReceipt)

    said = cli.text("explain", charge_id(receipt.account_id, receipt.key))

    assert '   {\n     "details": {\n       "cached": 0\n     },\n     "prompt_tokens": 1000\n   }\n' in said
    assert "5. The run it was part of\n   none: it was charged directly\n" in said
    assert "     -0.015 credits on the customer's lot pi_123, bought for $18.00\n" in said
    assert "     +0.015 credits on the house's revenue\n" in said


def test_hints_name_the_ledger_and_the_books_that_were_given(cli, folder, written):
    (folder / "callfare.db").rename(folder / "my other.db")
    (folder / "own.toml").write_text(BOOK, encoding="utf-8")
    given = ("--db", "sqlite:///my other.db", "--book", "own.toml")
    shown = "--db 'sqlite:///my other.db'"

    told = cli.text("explain", written["third"], *given)
    usage = cli.text("usage", "alice", *MARCH, *given)
    doctor = cli.json("doctor", *given)["findings"]
    repriced = cli.text("reprice", *given)

    assert f"`callfare reprice {shown} --book own.toml` rates it once there is a price" in told
    assert f"`callfare doctor {shown}` names the models" in usage
    assert f"`callfare doctor {shown}` names the models" in repriced
    (unpriced,) = (finding["next_step"] for finding in doctor if finding["check"] == "unpriced")
    assert unpriced == f"add their rates to a price book, then `callfare {shown} reprice --book own.toml`"


def test_doctors_next_step_for_unpriced_usage_takes_a_book_where_none_was_given(cli):
    said = cli.text("doctor", "--db", "sqlite:///callfare.db")

    assert "then `callfare --db sqlite:///callfare.db reprice --book FILE`\n" in said


def single_spaced(text):
    """The lines of a table without its alignment."""
    return [" ".join(line.split()) for line in text.splitlines()]


def transaction_of(charge, number):
    """The id of a transfer on the account that a charge is on."""
    return f"txn_{charge.split('_')[1]}_{number}"
