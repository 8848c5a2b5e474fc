"""Every figure of the demo, recomputed from the specification's table with nothing of callfare's at hand."""

from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from tests.demo.masked import masked

GOLDEN = Path(__file__).parent / "once.jsonl"

# seed/billing.md, Pricing: dollars for one.
PRICES = {
    "input_tokens": Fraction(15, 100 * 1_000_000),
    "output_tokens": Fraction(60, 100 * 1_000_000),
    "characters": Fraction(12, 1_000_000),
    "audio_seconds": Fraction(6, 1000 * 60),
    "images 1024x1024": Fraction(4, 100),
    "images 1024x1536": Fraction(8, 100),
    "images 1536x1024": Fraction(8, 100),
    "video_seconds 1280x720": Fraction(4, 100),
}
BILLED = {
    "chat": ("input_tokens", "output_tokens"),
    "responses": ("input_tokens", "output_tokens"),
    "speech": ("characters",),
    "transcription": ("audio_seconds",),
    "image": ("images",),
    "video": ("video_seconds",),
}


def dollars(call: dict) -> Fraction:
    size = call["attributes"].get("size", "")
    return sum(
        (Fraction(call["units"][meter]) * PRICES[f"{meter} {size}".rstrip()] for meter in BILLED[call["operation"]]),
        Fraction(0),
    )


def test_the_demo_says_that_all_is_as_it_should_be(told):
    assert told.exit_code == 0, told.lines[-2:]
    assert told.of("summary")[0]["faults"] == []
    assert told.errors == ""


def test_its_figures_are_the_same_every_time(told):
    assert masked(told.lines) == GOLDEN.read_text(encoding="utf-8").splitlines()


def test_each_call_costs_what_the_table_says(told):
    calls = told.of("call")

    assert len(calls) == 29
    assert [Fraction(call["cost"]) for call in calls] == [dollars(call) for call in calls]
    assert [Fraction(call["credits"]) for call in calls] == [100 * dollars(call) for call in calls]


def test_some_calls_were_worked_out_on_paper(told):
    first_tweet = told.of("call")[0]
    transcript = next(call for call in told.of("call") if call["operation"] == "transcription")

    # 90 × 0.15 / 1,000,000 = 0.0000135, and 124 × 0.60 / 1,000,000 = 0.0000744
    assert (first_tweet["units"]["input_tokens"], first_tweet["units"]["output_tokens"]) == ("90", "124")
    assert first_tweet["cost"] == "0.0000879"
    # 93.5 s × 0.006 / 60 = 0.00935 dollars, which are 0.935 credits
    assert (transcript["units"], transcript["credits"]) == ({"audio_seconds": "93.5"}, "0.935")


def test_the_credits_left_fall_by_each_call(told):
    left = Decimal(2000)
    for call in told.of("call"):
        left -= Decimal(call["credits"])

        assert Decimal(call["left"]) == left

    assert Decimal(told.of("summary")[0]["left"]) == left


def test_a_run_is_charged_the_sum_of_its_calls_and_given_the_rest_of_its_hold_back(told):
    ends = told.of("run_end")

    assert [end["workflow"] for end in ends] == ["tweet", "thread", "carousel", "story", "video", "thread", "tweet"]
    for end in ends:
        calls = [call for call in told.of("call") if call["run_id"] == end["run_id"]]
        assert Decimal(end["charged"]) == sum(Decimal(call["credits"]) for call in calls)
    assert [Decimal(end["charged"]) + Decimal(end["given_back"]) for end in ends if end["workflow"] == "story"] == [500]


@pytest.mark.parametrize(
    ("workflow", "low", "high", "charged"),
    [
        ("tweet", 15, 50, "16.016305"),
        ("thread", 20, 75, "32.01752"),
        ("carousel", 50, 200, "64.00861"),
        ("story", 100, 500, "128.243345"),
        ("video", 200, 1000, "249.11398"),
    ],
)
def test_each_workflow_lies_within_its_estimate(told, workflow, low, high, charged):
    end = next(end for end in told.of("run_end") if end["workflow"] == workflow)

    assert (end["low"], end["high"], end["charged"]) == (str(low), str(high), charged)
    assert low <= Decimal(end["charged"]) <= high


def test_all_kinds_of_calls_occur(told):
    assert {call["operation"] for call in told.of("call")} == set(BILLED)


def test_the_totals_are_those_of_the_calls(told):
    summary = told.of("summary")[0]

    # 12 + 240 + … by model: 32 images, of which 2 are square, are 2 × 4 + 30 × 8 = 248 credits.
    assert {total["model"]: total["credits"] for total in summary["by_model"]} == {
        "gpt-image-1": "248",
        "sora-2": "240",
        "whisper-1": "0.935",
        "gpt-4o-mini-tts": "0.4068",
        "gpt-5-mini-2025-08-07": "0.063885",
    }
    assert summary["charged"] == summary["by_hand"] == "489.405685"
    # 4.8941101 dollars less the second attempt's 11 × 0.15 + 86 × 0.60 millionths are 4.89405685.
    assert (summary["cost"], summary["uncharged"]) == ("4.8941101", "0.00005325")
    assert Decimal(summary["granted"]) - Decimal(summary["charged"]) == Decimal(summary["left"])


def test_what_is_refused_reaches_no_provider_and_costs_nothing(told):
    refusals = told.of("refusal")

    assert [refusal["code"] for refusal in refusals] == ["insufficient_credit", "unpriced_model", "key_conflict"]
    for refusal in refusals:
        assert refusal["requests_before"] == refusal["requests_after"]
        assert refusal["left_before"] == refusal["left_after"]


def test_what_is_repeated_has_no_effect(told):
    replays = told.of("replay")

    assert len(replays) == 3
    assert all(replay["left_before"] == replay["left_after"] for replay in replays)


def test_a_stream_that_was_left_is_charged_for_what_was_received(told):
    call = told.of("call")[-1]

    # The prompt has 47 bytes and the words received have 27: 12 and 7 tokens, at four bytes each.
    assert call["flags"] == ["estimated"]
    assert call["units"] == {"input_tokens": "12", "output_tokens": "7"}
    assert call["cost"] == "0.000006"


def test_the_ledger_is_clean(told):
    verified = told.of("verify")[0]

    assert (verified["is_clean"], verified["faults"]) == (True, [])
    assert verified["rows"] > 100


def test_each_line_is_an_event_and_nothing_else(told):
    kinds = [json.loads(line)["event"] for line in told.lines]

    assert (kinds[0], kinds[-1]) == ("begun", "summary")
    assert set(kinds) == {"begun", "grant", "run", "call", "run_end", "refusal", "replay", "verify", "summary"}
