"""verify and doctor: what they say of a sound ledger and of one that somebody altered."""

from __future__ import annotations

import apsw
import pytest


def alter(folder, statement):
    """Change rows behind the ledger's back."""
    connection = apsw.Connection(str(folder / "callfare.db"))
    connection.execute(statement)
    connection.close()


@pytest.mark.usefixtures("written")
def test_verify_counts_the_rows_of_a_sound_ledger(cli):
    said = cli.text("verify")

    assert said.startswith("the ledger is sound: 47 rows recomputed\n  identities  3 rows\n  accounts    3 rows\n")
    assert said.endswith("  held  15 credits\n  debt  1.2847 credits\n")


@pytest.mark.usefixtures("written")
def test_verify_as_json_says_that_it_is_clean(cli):
    found = cli.json("verify")

    assert (found["is_clean"], found["fault_count"], found["faults"]) == (True, 0, [])
    assert found["counted"]["events"] == 5


@pytest.mark.usefixtures("written")
def test_verify_names_the_first_row_that_is_wrong_and_ends_with_1(cli, folder):
    alter(folder, "UPDATE accounts SET posted_nanocredits = posted_nanocredits + 1 WHERE posted_nanocredits > 0")

    result = cli("verify")

    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[0].startswith("the ledger has ")
    assert lines[1].startswith("first: accounts (")


@pytest.mark.usefixtures("written")
def test_verify_as_json_names_every_row_that_is_wrong(cli, folder):
    alter(folder, "UPDATE accounts SET posted_nanocredits = posted_nanocredits + 1 WHERE posted_nanocredits > 0")

    found = cli.json("verify", exit_code=1)

    assert found["is_clean"] is False
    assert found["faults"][0]["table"] == "accounts"


@pytest.mark.usefixtures("written")
def test_doctor_tells_what_to_look_at_with_figures(cli, folder):
    said = cli.text("doctor")

    size = [line for line in said.splitlines() if line.startswith("ok    database")]
    assert size[0].startswith(f"ok    database      {folder}/callfare.db, ")
    assert size[0].endswith(" rows, mode 0600")
    assert "warn  unattributed  1 call named no user: 0.0847 credits, $0.000847\n" in said
    assert "warn  unpriced      1 call without a price: model-9 1\n" in said
    assert (
        "warn  packages      3 packages below cost at markup 1: Creator sold for $18.00 pays for $20.00 of list cost; "
        "Pro sold for $40.00 pays for $50.00 of list cost; Studio sold for $100.00 pays for $150.00 of list cost\n"
    ) in said
    assert "                    next: a markup of 1.5 or more, set with Callfare(markup=…) in the app and " in said
    assert (
        "warn  debts         1 user in debt, 1.2 credits in all; the most, 1.2, by bob; "
        "calls that named no user owe 0.0847 credits, which nobody pays\n"
    ) in said
    assert "warn  expired       past their time and not yet settled: 1 run and 0 jobs, with 15 credits held\n" in said
    assert said.endswith("\n0 failed, 5 to look at, 7 fine\n")


@pytest.mark.usefixtures("written")
def test_doctor_as_json_holds_exact_figures(cli):
    found = cli.json("doctor", "--markup", "1.5")

    assert found["status"] == "warn"
    by_check = {finding["check"]: finding for finding in found["findings"]}
    assert by_check["packages"]["status"] == "ok"
    assert by_check["prices"]["figures"]["markup"] == "1.5"
    assert by_check["debts"]["figures"] == {
        "users": 1,
        "total": "1.2",
        "largest": "1.2",
        "largest_user": "bob",
        "unattributed": "0.0847",
    }
    assert by_check["unpriced"]["figures"] == {"calls": 1, "models": {"model-9": 1}}


@pytest.mark.usefixtures("written")
def test_doctor_ends_with_1_when_something_has_failed(cli, folder):
    alter(folder, "PRAGMA user_version = 999")

    result = cli("doctor")

    assert result.exit_code == 1
    assert result.stdout.startswith("FAIL  database  ")
    assert "next: upgrade callfare\n" in result.stdout
    assert cli.json("doctor", exit_code=1)["status"] == "fail"
