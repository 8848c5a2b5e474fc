"""What cannot be done: one line or one JSON object on standard error, an exit code, no traceback, nothing written."""

from __future__ import annotations

import json

import pytest

from callfare import Callfare
from callfare.errors import LedgerNotFound

BAD = [
    (("grant", "alice", "NaN"), "invalid_amount"),
    (("grant", "alice", "Infinity"), "invalid_amount"),
    (("grant", "alice", "1e3"), "invalid_amount"),
    (("grant", "alice", "0"), "invalid_amount"),
    (("grant", "alice", "--", "-5"), "invalid_amount"),
    (("grant", "alice", ""), "invalid_amount"),
    (("grant", "alice", "\u0665"), "invalid_amount"),
    (("grant", "alice", "0.0000000001"), "invalid_amount"),
    (("grant", "alice", "9223372036.854775808"), "amount_out_of_range"),
    (("grant", "alice", "9" * 40), "amount_out_of_range"),
    (("grant", "alice", "9" * 50_000), "invalid_amount"),
    (("grant", "", "5"), "invalid_user"),
    (("grant", "a" * 256, "5"), "invalid_user"),
    (("grant", "a\x1b[31m", "5"), "invalid_user"),
    (("grant", "half\udcff", "5"), "invalid_user"),
    (("grant", "alice", "5", "--key", ""), "invalid_input"),
    (("grant", "alice", "5", "--source", "gift"), "invalid_input"),
    (("grant", "alice", "5", "--expires", "2020-01-01"), "invalid_time"),
    (("grant", "alice", "5", "--expires", "soon"), "invalid_time"),
    (("grant", "alice", "5", "--expires", "2999-01-01T00:00:00"), "invalid_time"),
    (("grant", "alice", "5", "--expires", "2999-02-30"), "invalid_time"),
    (("grant", "alice", "5", "--expires", "0001-01-01T00:00:00+14:00"), "invalid_time"),
    (("balance", ""), "invalid_user"),
    (("usage", "alice", "--period", "year"), "invalid_input"),
    (("usage", "alice", "--tz", "Mars/Base"), "invalid_input"),
    (("usage", "alice", "--tz", "../../etc/passwd"), "invalid_input"),
    (("usage", "alice", "--since", "2026-04-01", "--until", "2026-03-01"), "invalid_time"),
    (("history", "alice", "--limit", "0"), "invalid_input"),
    (("history", "alice", "--limit", "201"), "invalid_input"),
    (("history", "alice", "--limit", "many"), "invalid_input"),
    (("history", "alice", "--cursor", "x"), "invalid_input"),
    (("transactions", "alice", "--cursor", "WzEsMl0"), "invalid_input"),
    (("estimate", "poem"), "unknown_workflow"),
    (("price", "gpt-5-mini", "input_tokens"), "invalid_input"),
    (("price", "gpt-5-mini", "=5"), "invalid_input"),
    (("price", "gpt-5-mini", "input_tokens=1", "input_tokens=2"), "invalid_input"),
    (("price", "gpt-5-mini", "tokens=1"), "unknown_meter"),
    (("price", "gpt-5-mini", "input_tokens=-1"), "invalid_quantity"),
    (("price", "gpt-5-mini", "input_tokens=nan"), "invalid_quantity"),
    (("price", "gpt-5-mini", "input_tokens=1.5"), "invalid_quantity"),
    (("price", "gpt-5-mini", "input_tokens=1000000000001"), "invalid_quantity"),
    (("price", "gpt-5-mini", "input_tokens=1", "--at", "2999-01-01"), "invalid_time"),
    (("price", "gpt-image-1", "images=1", "--attr", "colour=red"), "invalid_input"),
    (("price", "gpt-image-1", "images=1", "--attr", "size"), "invalid_input"),
    (("price", "gpt-image-1", "images=1"), "missing_attribute"),
    (("packages", "--markup", "x"), "invalid_amount"),
    (("packages", "--markup", "0"), "invalid_amount"),
    (("packages", "--markup", "-1"), "invalid_amount"),
    (("grant", "alice"), "invalid_input"),
    (("grant", "alice", "5", "6"), "invalid_input"),
    (("grant", "alice", "5", "--colour"), "invalid_input"),
    (("grand", "alice", "5"), "invalid_input"),
]
OTHERS = [
    (("price", "model-9", "input_tokens=1"), "unpriced_model", 3),
    (("price", "gpt-image-1", "images=1", "--attr", "size=1x1"), "unpriced_model", 3),
    (("calls", "nowhere"), "run_not_found", 4),
    (("explain", "nothing"), "charge_not_found", 4),
    (("explain", "chg_0000000000000_x"), "charge_not_found", 4),
    (("packages", "--db", "callfare.db"), "misconfigured", 7),
    (("packages", "--db", "mysql://x"), "misconfigured", 7),
    (("packages", "--book", "missing.toml"), "price_book_invalid", 7),
]
READING = [
    ("balance", "alice"),
    ("usage", "alice"),
    ("history", "alice"),
    ("transactions", "alice"),
    ("calls", "story-1"),
    ("explain", "chg_0000000000000_x"),
    ("explain", "c"),
    ("estimate", "story", "--user", "alice"),
    ("reprice",),
    ("verify",),
    ("doctor",),
]


@pytest.mark.usefixtures("written")
@pytest.mark.parametrize(("words", "code"), BAD, ids=[f"{at} {words[0]}" for at, (words, _) in enumerate(BAD)])
def test_bad_input_is_an_error_with_its_code_and_writes_nothing(cli, folder, words, code):
    before = (folder / "callfare.db").read_bytes(), cli.json("verify")["counted"]

    error = cli.error(*words, exit_code=2)

    assert error["code"] == code
    assert error["message"]
    assert ((folder / "callfare.db").read_bytes(), cli.json("verify")["counted"]) == before


@pytest.mark.usefixtures("written")
@pytest.mark.parametrize(("words", "code", "exit_code"), OTHERS, ids=[" ".join(words) for words, _, _ in OTHERS])
def test_every_kind_of_refusal_has_its_exit_code(cli, words, code, exit_code):
    assert cli.error(*words, exit_code=exit_code)["code"] == code


@pytest.mark.parametrize("words", READING, ids=[" ".join(words) for words in READING])
def test_reading_a_ledger_that_is_not_there_is_an_error_and_makes_none(cli, folder, words):
    error = cli.error(*words, exit_code=4)

    assert error["code"] == "ledger_not_found"
    assert str(folder / "callfare.db") in error["message"]
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("words", [("packages",), ("estimate", "story"), ("price", "whisper-1", "audio_seconds=60")])
def test_what_needs_no_ledger_makes_none(cli, folder, words):
    cli.text(*words)

    assert list(folder.iterdir()) == []


def test_an_error_is_one_line_for_people(cli):
    result = cli("price", "gpt-5-mini", "tokens=1")

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "error: there is no meter 'tokens'; did you mean input_tokens?\n"


def test_an_error_in_how_a_command_is_written_names_its_help(cli):
    assert cli("grant").stderr == "error: Missing argument 'USER'; see `callfare grant --help`\n"
    assert "did you mean 'balance'" in cli("balanc", "x").stderr.lower()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("grant", "u", "1,000"), "credits is '1,000'; write it without the comma: 1000"),
        (("grant", "u", "1,234,567.5"), "credits is '1,234,567.5'; write it without the comma: 1234567.5"),
        (("grant", "u", "18,5"), "credits is '18,5'; write decimals after a point, such as 18.5"),
        (("packages", "--markup", "abc"), "markup is 'abc'; give a factor such as 1.5"),
        (("packages", "--markup", ""), "markup is ''; give a factor such as 1.5"),
        (
            ("estimate", "caption"),
            (
                "the command line knows no workflow 'caption': it knows those that come with callfare, tweet, thread, "
                "carousel, story and video; others stand in the file that CALLFARE_WORKFLOWS_FILE names, or in an "
                "application's own code"
            ),
        ),
    ],
    ids=["thousands", "millions", "decimal comma", "markup", "empty markup", "workflow"],
)
def test_a_message_says_what_to_write_instead(cli, words, told):
    assert cli.error(*words, exit_code=2)["message"] == told


@pytest.mark.parametrize(
    ("call", "option"),
    [
        (("gpt-image-1", "images=4"), "such as --attr size=1024x1024"),
        (("sora-2", "video_seconds=4"), "such as --attr resolution=1080p"),
    ],
    ids=["size", "resolution"],
)
def test_a_price_that_misses_an_attribute_says_the_option_to_give_it_with(cli, call, option):
    error = cli.error("price", *call, exit_code=2)

    assert error["code"] == "missing_attribute"
    assert error["message"].endswith(option)


def test_an_id_that_cannot_be_one_is_no_excuse_for_a_ledger_that_is_not_there(cli, folder):
    error = cli.error("explain", "c", "--db", "sqlite:///other.db", exit_code=4)

    assert error["code"] == "ledger_not_found"
    assert error["message"] == (
        f"there is no ledger at {folder}/other.db; `callfare --db sqlite:///other.db init` makes one, "
        "and so does the first grant"
    )


@pytest.mark.usefixtures("written")
def test_the_next_step_of_a_refusal_names_the_ledger_that_was_given(cli, monkeypatch):
    monkeypatch.setattr(Callfare, "balance", lambda fare, user: fare.run("story", user=user).open())

    error = cli.error("balance", "poor", "--db", "sqlite:///callfare.db?mode=rw", exit_code=3)

    assert error["message"].endswith("`callfare --db 'sqlite:///callfare.db?mode=rw' grant poor 100`")


def test_the_next_step_of_a_refusal_tells_no_password(cli, monkeypatch):
    def refused(*_, **__):
        raise LedgerNotFound("there is no schema; `callfare init` makes it")

    monkeypatch.setattr("callfare.facade.open_store", refused)

    error = cli.error("balance", "poor", "--db", "postgresql://ada:hidden@db.example/x", exit_code=4)

    assert error["message"] == "there is no schema; `callfare --db postgresql://ada@db.example/x init` makes it"


@pytest.mark.usefixtures("written")
def test_an_error_as_json_carries_what_a_person_needs(cli, monkeypatch):
    monkeypatch.setattr(Callfare, "balance", lambda fare, user: fare.run("story", user=user).open())

    assert cli.error("balance", "poor", exit_code=3) == {
        "code": "insufficient_credit",
        "message": "poor needs 100 credits and has 0 available, 100 short; grant more with `callfare grant poor 100`",
        "param": None,
        "user": "poor",
        "needed": "100",
        "available": "0",
        "shortfall": "100",
    }


def test_json_after_the_two_dashes_is_an_operand(cli):
    result = cli("grant", "alice", "--", "--json")

    assert result.exit_code == 2
    assert result.stderr.startswith("error: credits is not a decimal number")


def test_an_error_never_writes_to_the_terminal_what_its_input_would_do_there(cli):
    result = cli("calls", "\x1b]0;title\x07\x1b[31m")

    assert "\x1b" not in result.stderr
    assert result.exit_code == 2


def test_a_file_that_is_no_ledger_is_named(cli, folder):
    (folder / "notes.txt").write_text("these are notes, far longer than any header of a database\n" * 20)

    error = cli.error("balance", "alice", "--db", "sqlite:///notes.txt", exit_code=1)

    assert error["code"] == "ledger_corrupt"
    assert str(folder / "notes.txt") in error["message"]


def test_an_interrupted_command_ends_with_130(cli, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Callfare, "balance", interrupted)

    result = cli("balance", "alice")

    assert (result.exit_code, result.stdout) == (130, "")
    assert "Traceback" not in result.stderr


def test_a_fault_of_ours_shows_its_traceback_and_ends_with_70(cli, monkeypatch):
    def broken(*_):
        raise AssertionError("entries sum to 3")

    monkeypatch.setattr(Callfare, "balance", broken)

    result = cli("balance", "alice")

    assert result.exit_code == 70
    assert "Traceback" in result.stderr
    assert "entries sum to 3" in result.stderr


@pytest.mark.usefixtures("written")
def test_an_answer_as_json_is_one_document_in_ascii(cli):
    cli.text("grant", "größe-日本-👍", "5")

    said = cli("balance", "größe-日本-👍", "--json").stdout

    assert said.isascii()
    assert json.loads(said)["user"] == "größe-日本-👍"
