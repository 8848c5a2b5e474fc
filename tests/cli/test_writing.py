"""Commands that write: init, grant, reprice."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from callfare import Callfare
from callfare.errors import LedgerUnavailable

BOOK = """
book = "own"
[[model]]
provider = "acme"
name = "model-9"
basis = ["input_tokens"]
source = "our contract, page 3"
checked = 2026-03-01
[[model.rate]]
meter = "input_tokens"
usd = "0.01"
per = 1
"""


def test_init_makes_a_ledger_and_says_where(cli, folder):
    assert cli.text("init") == f"made a new ledger at {folder}/callfare.db\n"
    assert (folder / "callfare.db").stat().st_mode & 0o777 == 0o600


def test_init_again_changes_nothing(cli, folder):
    cli.text("init")
    cli.text("grant", "alice", "5")

    assert cli.text("init") == f"there is a ledger at {folder}/callfare.db\n"
    assert cli.json("balance", "alice")["available"] == "5"


def test_init_as_json(cli, folder):
    url = f"sqlite:///{folder}/other.db"

    made = cli.json("init", "--db", url)

    path = f"{folder}/other.db"
    assert made == {"path": path, "url": url, "schema_version": made["schema_version"], "is_new": True}


def test_a_grant_makes_the_ledger_and_says_so_once(cli, folder):
    first = cli("grant", "alice", "2000", "--key", "welcome")
    second = cli("grant", "alice", "1", "--key", "more")

    assert first.stderr == f"made a new ledger at sqlite:///{folder}/callfare.db\n"
    assert first.stdout == (
        "granted alice 2,000 credits ($20.00)\n  key        welcome\n  available  2,000.00 credits\n"
    )
    assert second.stderr == ""


def test_a_grant_as_json_that_makes_the_ledger_says_nothing_beside(cli):
    result = cli("--json", "grant", "alice", "2000")

    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout)["available"] == "2000"


@pytest.mark.parametrize("words", [("init",), ("grant", "alice", "5")], ids=["init", "grant"])
def test_no_directory_is_made_for_a_ledger(cli, folder, words):
    error = cli.error(*words, "--db", f"sqlite:///{folder}/deep/er/callfare.db", exit_code=7)

    assert error["code"] == "misconfigured"
    assert f"{folder}/deep/er" in error["message"]
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("words", [("init",), ("grant", "alice", "5")], ids=["init", "grant"])
def test_a_ledger_that_would_end_with_the_command_is_refused(cli, words):
    error = cli.error(*words, "--db", "memory://", exit_code=2)

    assert error["param"] == "db"
    assert error["message"] == (
        "a ledger in memory ends with this command, so nothing would be kept; "
        "name a file, such as --db sqlite:///callfare.db"
    )
    assert cli(*words, env={"CALLFARE_DATABASE_URL": "memory://"}).exit_code == 2


def test_a_grant_without_a_key_gets_one_that_repeats_it(cli):
    receipt = cli.json("grant", "alice", "18.5")

    assert re.fullmatch(r"grant_[0-9a-z]{26}", receipt["key"])
    again = cli.json("grant", "alice", "18.5", "--key", receipt["key"])
    assert again == receipt | {"is_replay": True}
    assert cli.json("balance", "alice")["available"] == "18.5"


def test_a_repeated_grant_is_told_as_one(cli):
    cli.text("grant", "alice", "10", "--key", "k")

    said = cli.text("grant", "alice", "10", "--key", "k")

    assert said.startswith("alice was granted 10 credits ($0.10) under this key before; nothing was added\n")


def test_one_key_for_two_grants_is_a_conflict(cli):
    cli.text("grant", "alice", "10", "--key", "k")

    assert cli.error("grant", "alice", "11", "--key", "k", exit_code=5)["code"] == "key_conflict"
    assert cli.json("balance", "alice")["available"] == "10"


def test_an_amount_is_taken_as_text_and_stays_exact(cli):
    assert cli.json("grant", "alice", "0.000000001")["credits"] == "0.000000001"
    assert cli.json("grant", "alice", "9007199254.740993")["credits"] == "9007199254.740993"


@pytest.mark.parametrize(
    ("given", "expires"),
    [
        ("2999-01-01", "2999-01-01T00:00:00Z"),
        ("2999-01-01T12:30:00Z", "2999-01-01T12:30:00Z"),
        ("2999-01-01T12:30:00+02:00", "2999-01-01T10:30:00Z"),
    ],
)
def test_a_grant_expires_at_a_date_or_a_time(cli, given, expires):
    assert cli.json("grant", "alice", "10", "--expires", given)["expires_at"] == expires


def test_a_grant_tells_when_it_expires(cli):
    assert "  expires    2999-01-01 00:00:00 UTC\n" in cli.text("grant", "alice", "10", "--expires", "2999-01-01")


@pytest.mark.usefixtures("written")
def test_a_grant_pays_older_debt_first_and_says_so(cli):
    said = cli.text("grant", "bob", "10", "--source", "purchase")

    assert "  repaid     1.2 credits of older debt\n" in said
    assert "  available  8.80 credits\n" in said


def test_a_grant_whose_answer_is_lost_tells_the_key_to_repeat_it_with(cli, monkeypatch):
    def lost(*_, **__):
        raise LedgerUnavailable("callfare.db cannot be used; retry with the same key")

    monkeypatch.setattr(Callfare, "grant", lost)

    result = cli("grant", "alice", "10")

    assert result.exit_code == 6
    assert re.fullmatch(
        r"error: callfare.db cannot be used; retry with the same key: --key grant_[0-9a-z]{26}\n", result.stderr
    )


@pytest.mark.usefixtures("written")
def test_reprice_charges_what_has_a_price_now(cli, folder):
    (folder / "own.toml").write_text(BOOK, encoding="utf-8")

    assert cli.text("reprice") == (
        "0 calls priced now, 0 credits charged\n1 call still without a price; `callfare doctor` names the models\n"
    )
    assert cli.json("reprice", "--book", "own.toml") == {"priced": 1, "still_unpriced": 0, "credits": "7"}
    assert cli.text("reprice", "--book", "own.toml") == "every call has a price; nothing to do\n"
    assert cli.json("balance", "alice")["available"] == "1990.9613"


@pytest.mark.usefixtures("written")
def test_what_was_repriced_stands_in_the_story_of_its_charge(cli, folder, written):
    (folder / "own.toml").write_text(BOOK, encoding="utf-8")
    cli.text("reprice", "--book", "own.toml")

    said = cli.text("explain", written["third"])

    assert re.search(
        r"4\. What was put right later\n   reprice at [-0-9 :]{19} UTC: \+7 credits, 7 input_tokens\n", said
    )
    assert "rates it once there is a price" not in said


@pytest.mark.parametrize(
    ("options", "said"), [((), "made something\nbeware\n"), (("--json",), "")], ids=["text", "json"]
)
def test_what_the_ledger_logs_stands_beside_the_answer_and_nowhere_in_json(folder, options, said):
    program = (
        "import logging, sys\n"
        "from callfare import Callfare\n"
        "from callfare.cli import main\n"
        "def packages(fare):\n"
        "    logging.getLogger('callfare').info('made something')\n"
        "    logging.getLogger('callfare').warning('beware')\n"
        "    return ()\n"
        "Callfare.packages = packages\n"
        f"sys.argv = ['callfare', 'packages', *{options!r}]\n"
        "main()\n"
    )

    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, said)
