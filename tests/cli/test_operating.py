"""backup and restore: what they say, what they refuse, and that a ledger moves from file to file as it is."""

from __future__ import annotations

import gzip

import pytest

from callfare import Callfare
from callfare.engine.requests import Call, Subject
from callfare.ids import charge_id
from callfare.ledger.receipts import ChargeReceipt
from callfare.store.sqlite import SqliteStore
from tests.migration.older import make_old_file
from tests.support.postgres import shared_server


def metered(fare):
    """Record a call with the provider's own usage object, as a wrapped client does, and return its charge's id."""
    call = Call(model="gpt-5-mini", usage={"input_tokens": 7}, raw={"total_tokens": 7})
    engine = fare._engine
    receipt = engine.commit(engine.requests.usage(Subject(user="alice"), call), ChargeReceipt)
    return charge_id(receipt.account_id, receipt.key)


@pytest.fixture
def database():
    """The address of an empty PostgreSQL database."""
    url = shared_server().new_database()
    yield url
    shared_server().drop_database(url)


@pytest.mark.usefixtures("written")
def test_a_backup_says_how_many_rows_it_has_and_where_it_stands(cli, folder):
    said = cli.text("backup", "monday.callfare")

    assert said.startswith(f"backed up 47 rows to {folder}/monday.callfare\n  identities  3 rows\n")
    assert "\n  digest  " in said


@pytest.mark.usefixtures("written")
def test_a_ledger_moves_to_postgresql_and_back_as_it_is(cli, database, folder):
    before = cli.json("balance", "alice")

    cli.text("backup", "sqlite.callfare")
    moved = cli.json("--db", database, "restore", "sqlite.callfare")
    cli.text("--db", database, "backup", "postgres.callfare")
    said = cli.text("--db", "sqlite:///back.db", "restore", "postgres.callfare")

    assert (moved["row_count"], moved["fault_count"]) == (47, 0)
    assert said.startswith("restored 47 rows, and the ledger is sound\n")
    assert cli.json("--db", database, "balance", "alice") == before
    assert cli.json("--db", "sqlite:///back.db", "balance", "alice") == before
    first, second = (
        gzip.decompress((folder / f"{name}.callfare").read_bytes()).splitlines() for name in ("sqlite", "postgres")
    )
    assert first[1:-1] == second[1:-1]


@pytest.mark.usefixtures("written")
def test_a_restore_over_rows_is_a_conflict(cli):
    cli.text("backup", "monday.callfare")

    error = cli.error("restore", "monday.callfare", exit_code=5)

    assert error["code"] == "ledger_not_empty"


@pytest.mark.usefixtures("written")
def test_a_torn_backup_is_bad_input_and_makes_no_ledger(cli, folder):
    cli.text("backup", "monday.callfare")
    whole = (folder / "monday.callfare").read_bytes()
    (folder / "torn.callfare").write_bytes(whole[:-20])

    error = cli.error("--db", "sqlite:///new.db", "restore", "torn.callfare", exit_code=2)

    assert (error["code"], error["param"]) == ("backup_invalid", "file")
    assert not (folder / "new.db").exists()


def test_a_ledger_that_is_being_restored_is_unavailable_to_every_command(cli, folder):
    with SqliteStore(str(folder / "callfare.db")).upkeep().fill("backup-1"):
        errors = [
            cli.error(*words, exit_code=6)
            for words in (["balance", "alice"], ["grant", "alice", "5"], ["init"], ["verify"], ["backup", "x"])
        ]

    assert {error["code"] for error in errors} == {"ledger_incomplete"}
    assert "end it with the command that began it" in errors[0]["message"]


def test_there_is_nothing_to_back_up_without_a_ledger(cli, folder):
    assert cli.error("backup", "monday.callfare", exit_code=4)["code"] == "ledger_not_found"
    assert list(folder.iterdir()) == []


def test_a_ledger_in_memory_is_not_restored_from_the_command_line(cli):
    assert cli.error("--db", "memory://", "restore", "x", exit_code=2)["param"] == "db"


@pytest.mark.usefixtures("written")
def test_progress_is_shown_on_a_terminal_and_nowhere_else(script):
    shown, code = script.on_terminal("backup", "monday.callfare")
    piped = script.run("backup", "tuesday.callfare")

    assert code == 0
    assert "backing up" in shown
    assert piped.stderr == ""


@pytest.mark.usefixtures("written")
def test_pruning_raw_usage_says_how_many_by_month_and_explain_says_so(cli, clock):
    with Callfare("sqlite:///callfare.db", clock=clock) as fare:
        old = metered(fare)
        clock.advance(40 * 86_400)
        new = metered(fare)

    dry = cli.json("prune-raw", "--before", "2026-04", "--dry-run")
    said = cli.text("prune-raw", "--before", "2026-04")
    again = cli.text("prune-raw", "--before", "2026-04")

    assert (dry["row_count"], dry["months"], dry["is_dry_run"]) == (1, {"2026-03": 1}, True)
    assert said == "1 raw usage object from before 2026-04 removed\n  2026-03  1 object\n"
    assert again == "0 raw usage objects from before 2026-04 removed\n"
    assert cli.json("verify")["is_clean"] is True
    assert "its own usage object was removed by retention, as all from before 2026-04-01\n" in cli.text("explain", old)
    assert cli.json("explain", old)["raw_removed_before"] == "2026-04-01T00:00:00Z"
    assert cli.json("explain", new)["raw"] == {"total_tokens": 7}


def test_a_month_must_be_one(cli):
    assert cli.error("prune-raw", "--before", "yesterday", exit_code=2)["param"] == "before"


def test_migrate_says_from_where_to_where(cli, folder):
    make_old_file(folder / "callfare.db")

    checked = cli("migrate", "--check")
    pending = cli.json("migrate", "--check", exit_code=7)
    done = cli.text("migrate")
    again = cli.text("migrate")

    assert (checked.exit_code, pending["is_pending"]) == (7, True)
    assert checked.stdout == "the schema is 1, this callfare needs 4; run `callfare migrate`\n"
    assert done == "the schema went from 1 to 4\n"
    assert again == "the schema is 4, the newest\n"
    assert cli("migrate", "--check").exit_code == 0


def test_migrate_makes_no_ledger(cli, folder):
    assert cli.error("migrate", exit_code=4)["code"] == "ledger_not_found"
    assert list(folder.iterdir()) == []


@pytest.mark.usefixtures("written")
def test_an_export_goes_to_standard_output_or_to_a_file(cli, folder):
    shown = cli.text("export", "grants")
    done = cli.json("export", "grants", "--out", "grants.csv")

    head, *rows = shown.splitlines()
    assert head.startswith("user,account_id,number,source,amount_credits,")
    assert [row.split(",")[0] for row in rows] == ["alice", "alice"]
    assert (folder / "grants.csv").read_text() == shown
    assert (done["row_count"], done["resumed_after"]) == (2, 0)


@pytest.mark.usefixtures("written")
def test_an_export_that_was_cut_off_goes_on(cli, folder):
    whole = cli.text("export", "events", "--format", "jsonl")
    (folder / "events.jsonl").write_text(whole[: len(whole) // 2])

    said = cli.text("export", "events", "--format", "jsonl", "--out", "events.jsonl", "--resume")

    assert said == f"exported 5 rows, 2 of them before to {folder}/events.jsonl\n"
    assert (folder / "events.jsonl").read_text() == whole


@pytest.mark.usefixtures("written")
def test_a_window_and_a_user_narrow_an_export(cli):
    assert len(cli.text("export", "events", "--user", "bob").splitlines()) == 2
    assert len(cli.text("export", "events", "--until", "2026-03-01").splitlines()) == 2
    assert len(cli.text("export", "events", "--since", "2026-03-02T12:00:00Z").splitlines()) == 5


@pytest.mark.parametrize(
    ("words", "param"),
    [
        (["export", "wallets"], "kind"),
        (["export", "events", "--format", "xml"], "format"),
        (["export", "events", "--since", "yesterday"], "since"),
        (["export", "events", "--resume"], "out"),
        (["export", "events"], "out"),
    ],
)
def test_an_export_that_cannot_be_is_bad_input(cli, words, param):
    assert cli.error(*words, exit_code=2)["param"] == param


@pytest.mark.usefixtures("written")
def test_an_export_in_a_pipe_says_nothing_beside_its_rows(script):
    done = script.run("export", "events")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 6
