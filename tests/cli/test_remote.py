"""`--server URL`: every command on a ledger behind a server answers as on the ledger itself, or says why it cannot."""

from __future__ import annotations

import re

import apsw
import pytest

from callfare.auth.keys import KeyRequests
from callfare.auth.principal import LOCAL_PRINCIPAL, SCOPES
from callfare.ledger.receipts import KeyReceipt
from tests.support.serving import engine_on, served

# How each command is asked that only reads; `{first}` is a charge.
READING = {
    "balance": ("balance", "alice"),
    "usage": ("usage", "alice", "--period", "all"),
    "history": ("history", "alice"),
    "calls": ("calls", "story-1"),
    "transactions": ("transactions", "alice"),
    "estimate": ("estimate", "tweet", "--user", "alice"),
    "packages": ("packages",),
    "price": ("price", "gpt-5-mini", "input_tokens=1200"),
    "prices": ("prices", "list", "gpt-5-mini"),
    "explain": ("explain", "{first}"),
    "keys": ("keys", "list"),
    "audit": ("audit",),
}
ONLY_LOCAL = {
    "init": ("init",),
    "serve": ("serve", "--port", "0"),
    "migrate": ("migrate",),
    "backup": ("backup", "new.callfare"),
    "restore": ("restore", "old.callfare"),
    "prune-raw": ("prune-raw", "--before", "2026-01"),
    "migrate-store": ("migrate-store", "sqlite:///a.db", "sqlite:///b.db"),
    "convex": ("convex", "schema"),
    "conformance": ("conformance",),
    "tokens": ("tokens", "rotate"),
}
# Tested below, or by what is particular to them; these ask no ledger, or name theirs themselves.
OTHERS = {"grant", "reprice", "spool", "import", "watch", "mcp", "stripe", "config", "completion"}
OTHERS |= {"export", "verify", "doctor", "checkout", "portal"}


@pytest.fixture
def far(folder, written, monkeypatch):
    """The words that lead to a server in front of the ledger that was written."""
    monkeypatch.setenv("XDG_STATE_HOME", str(folder / "state"))
    monkeypatch.delenv("CALLFARE_API_KEY", raising=False)

    def key_of(engine, _):
        command, text = KeyRequests(engine.secrets, engine.clock).make("cli", scopes=SCOPES, by=LOCAL_PRINCIPAL)
        engine.commit(command, KeyReceipt)
        (folder / "key").write_text(text.written + "\n")
        return {}

    with served(engine_on("sqlite:///callfare.db"), shown=key_of) as serving:
        yield ("--server", serving.url, "--key-file", "key")


def test_every_command_is_asked_of_a_server_here(cli):
    named = re.findall(r"^  ([a-z-]+)  ", cli.text("--help").partition("Commands:")[2], re.MULTILINE)

    assert set(named) == READING.keys() | ONLY_LOCAL.keys() | OTHERS


@pytest.mark.parametrize("command", READING)
def test_a_server_is_asked_and_answers_as_the_ledger_does(cli, far, written, command):
    words = [word.format(**written) for word in READING[command]]

    there, here = cli.json(*far, *words), cli.json(*words)

    assert steady(there) == steady(here)


def steady(document):
    """Return a document without what changes by being asked about: when a key was used, and until when usage was."""
    if isinstance(document, dict):
        moving = {"last_used_at", "since", "until"}
        return {name: steady(value) for name, value in document.items() if name not in moving}
    return [steady(value) for value in document] if isinstance(document, list) else document


@pytest.mark.parametrize("command", ONLY_LOCAL)
def test_what_needs_the_ledger_itself_says_so(cli, far, command):
    error = cli.error(*far, *ONLY_LOCAL[command], exit_code=7)

    assert error["code"] == "only_local"
    assert f"{far[1]} is a server in front of it" in error["message"]


def test_a_server_that_the_environment_names_is_none_to_back_up_either(cli, far, monkeypatch):
    monkeypatch.setenv("CALLFARE_DATABASE_URL", far[1])

    error = cli.error("backup", "new.callfare", exit_code=7)

    assert error["code"] == "only_local"
    assert cli.json("--key-file", "key", "balance", "alice")["user"] == "alice"


def test_credit_is_granted_through_a_server_once(cli, far):
    granted = cli.json(*far, "grant", "carol", "100", "--key", "k")
    again = cli.json(*far, "grant", "carol", "100", "--key", "k")

    assert (granted["available"], granted["is_replay"], again["is_replay"]) == ("100", False, True)
    assert cli.json("balance", "carol")["available"] == "100"


def test_events_are_imported_through_a_server_once(cli, far, folder):
    (folder / "usage.csv").write_text("user,model,input_tokens\nalice,gpt-5-mini,1000\nalice,gpt-5-mini,2000\n")

    first = cli.json(*far, "import", "usage.csv")
    again = cli.json(*far, "import", "usage.csv")

    assert (first["recorded"], again["recorded"]) == (2, 0)


@pytest.mark.parametrize("kind", ["events", "entries"])
def test_rows_are_exported_through_a_server_as_they_are_here(cli, far, folder, kind):
    done = cli.json(*far, "export", kind, "--out", "there.csv")
    cli.json("export", kind, "--out", "here.csv")
    there = (folder / "there.csv").read_bytes()
    (folder / "there.csv").write_bytes(there[:-7])
    again = cli.json(*far, "export", kind, "--out", "there.csv", "--resume")

    assert cli.text(*far, "export", kind).encode() == there == (folder / "here.csv").read_bytes()
    assert (folder / "there.csv").read_bytes() == there
    assert again["resumed_after"] == done["row_count"] - 1 > 0


def test_a_ledger_is_verified_through_a_server(cli, far, folder):
    there, here = cli.json(*far, "verify"), cli.json("verify")
    connection = apsw.Connection(str(folder / "callfare.db"))
    connection.execute("UPDATE accounts SET posted_nanocredits = posted_nanocredits + 1")
    connection.close()
    faults = cli.json(*far, "verify", exit_code=1)

    assert there == here
    assert faults["faults"] == cli.json("verify", exit_code=1)["faults"] != []


def test_the_doctor_looks_at_the_server_and_the_spool(cli, far, folder):
    well = cli.json(*far, "doctor")
    (folder / "key").write_text("cf_test_wrong")
    ill = cli.json(*far, "doctor", exit_code=1)

    assert [one["check"] for one in well["findings"]] == ["server", "version", "clock", "key", "spool"]
    assert (well["status"], ill["status"], ill["findings"][0]["check"]) == ("ok", "fail", "server")


def test_nothing_is_written_of_an_export_that_cannot_begin(cli, folder):
    (folder / "key").write_text("cf_test_x")
    nowhere = ("--server", "http://127.0.0.1:9", "--key-file", "key")

    said = cli(*nowhere, "export", "events")
    written = cli(*nowhere, "export", "events", "--out", "events.csv")

    assert (said.exit_code, said.stdout, written.exit_code) == (6, "", 6)
    assert not (folder / "events.csv").exists()


def test_a_server_rates_again_and_mints_for_itself(cli, far):
    repriced = cli.json(*far, "reprice")
    token = cli.json(*far, "tokens", "mint", "alice")
    waiting = cli.json(*far, "spool")

    assert (repriced["priced"], repriced["still_unpriced"]) == (0, 1)
    assert (token["user"], waiting["waiting"]) == ("alice", 0)


def test_the_configuration_names_the_server_that_is_asked(cli, far):
    assert cli.json(*far, "config")["CALLFARE_DATABASE_URL"] == {"value": far[1], "source": "argument"}


def test_the_next_command_names_the_server_and_its_key_file(cli, far):
    error = cli.error(*far, "calls", "nowhere", exit_code=4)

    assert f"`callfare --server {far[1]} --key-file key history USER`" in error["message"]


def test_prices_are_the_servers_to_say(cli, far):
    error = cli.error(*far, "price", "gpt-5-mini", "input_tokens=1", "--markup", "2", exit_code=7)

    assert (error["code"], error["param"]) == ("misconfigured", "markup")


@pytest.mark.parametrize(
    ("words", "param", "exit_code"),
    [
        (("--server", "https://billing.example.com"), "api_key", 7),
        (("--server", "billing.example.com"), "server", 2),
        (("--server", "http://127.0.0.1:9", "--db", "sqlite:///x.db"), "server", 2),
        (("--server", "http://127.0.0.1:9", "--key-file", "nowhere"), "key_file", 2),
        (("--server", "http://billing.example.com", "--key-file", "key"), "url", 7),
    ],
    ids=str,
)
def test_a_server_that_cannot_be_asked_is_refused_before(cli, folder, monkeypatch, words, param, exit_code):
    monkeypatch.delenv("CALLFARE_API_KEY", raising=False)
    (folder / "key").write_text("cf_test_x")

    error = cli.error(*words, "balance", "alice", exit_code=exit_code)

    assert error["param"] == param
    assert list(folder.iterdir()) == [folder / "key"]
