"""Keys, tokens and who asked for what, on the command line."""

from __future__ import annotations

import re

import pytest

ADDRESS = "https://api.example.com"


@pytest.fixture
def made(cli):
    return cli.json("keys", "make", "backend", "--scope", "usage:write", "--scope", "credits:read")


def test_a_key_is_shown_once(cli, made):
    listed = cli.text("keys")

    assert re.fullmatch(rf"cf_test_{made['id']}_[0-9A-Za-z]{{36}}", made["key"])
    assert (made["scopes"], made["grant_cap"], made["user"]) == (["credits:read", "usage:write"], "100000", None)
    assert made["id"] in listed
    assert made["key"] not in listed
    assert made["key"] not in str(cli.json("keys", "list"))


def test_a_person_sees_the_key_on_a_line_of_its_own(cli):
    said = cli.text("keys", "make", "admin", "--admin", "--cap", "none", "--live").splitlines()

    assert re.fullmatch(r"cf_live_[0-9A-Za-z]{8}_[0-9A-Za-z]{36}", said[0])
    assert "shown this once" in said[1]
    assert any("without a bound" in line for line in said)


def test_repeating_a_request_shows_no_secret(cli):
    first = cli.json("keys", "make", "one", "--admin", "--key", "deploy-1")

    again = cli.json("keys", "make", "one", "--admin", "--key", "deploy-1")

    assert (again["id"], again["key"], again["is_replay"]) == (first["id"], None, True)
    assert "cannot be shown again" in cli.text("keys", "make", "one", "--admin", "--key", "deploy-1")


def test_a_key_is_bounded_as_asked(cli):
    made = cli.json(
        "keys", "make", "narrow", "--scope", "credits:grant", "--user", "alice", "--network", "10.0.0.0/8",
        "--cap", "12.5", "--expires", "2199-01-01",
    )  # fmt: skip

    assert (made["user"], made["networks"], made["grant_cap"], made["expires_at"]) == (
        "alice", ["10.0.0.0/8"], "12.5", "2199-01-01T00:00:00Z",
    )  # fmt: skip


def test_a_key_is_rolled_and_revoked(cli, made):
    rolled = cli.json("keys", "roll", made["id"])
    revoked = cli.json("keys", "revoke", rolled["id"])
    statuses = {key["id"]: key["status"] for key in cli.json("keys")["items"]}

    assert rolled["replaces"] == made["id"]
    assert rolled["key"] != made["key"]
    assert revoked["status"] == "revoked"
    assert statuses == {made["id"]: "rolled", rolled["id"]: "revoked"}


@pytest.mark.parametrize(
    ("words", "code", "exit_code"),
    [
        (["keys", "make"], "invalid_input", 2),
        (["keys", "make", "x"], "invalid_input", 2),
        (["keys", "make", "x", "--scope", "everything"], "invalid_input", 2),
        (["keys", "make", "x", "--admin", "--network", "10.0.0.1/8"], "invalid_input", 2),
        (["keys", "make", "x", "--admin", "--cap", "-1"], "invalid_amount", 2),
        (["keys", "make", "x", "--admin", "--expires", "2001-01-01"], "invalid_time", 2),
        (["keys", "roll"], "invalid_input", 2),
        (["keys", "burn", "x"], "invalid_input", 2),
        (["tokens", "mint"], "invalid_input", 2),
        (["tokens", "mint", "alice"], "misconfigured", 7),
        (["tokens", "mint", "alice", "--audience", ADDRESS, "--scope", "credits:grant"], "invalid_input", 2),
        (["tokens", "mint", "alice", "--audience", ADDRESS, "--ttl", "3601"], "invalid_input", 2),
    ],
)
def test_what_cannot_be_is_refused_and_makes_nothing(cli, folder, words, code, exit_code):
    assert cli.error(*words, exit_code=exit_code)["code"] == code
    assert not (folder / "callfare.db").exists()


@pytest.mark.parametrize("action", ["roll", "revoke"])
def test_a_key_that_is_not_there_is_not_found(cli, made, action):
    assert cli.error("keys", action, "nobody00", exit_code=4)["code"] == "not_found"


def test_a_token_is_minted_without_a_ledger(cli, folder, monkeypatch):
    monkeypatch.setenv("CALLFARE_PUBLIC_URL", ADDRESS)

    minted = cli.json("tokens", "mint", "alice", "--scope", "me:checkout", "--ttl", "60")
    said = cli.text("tokens", "mint", "alice").splitlines()

    assert (minted["user"], minted["scopes"], minted["token"].count(".")) == ("alice", ["me:checkout"], 2)
    assert said[0].count(".") == 2
    assert not (folder / "callfare.db").exists()


def test_another_secret_signs_after_a_rotation(cli):
    first = cli.json("tokens", "rotate")["kid"]

    assert cli.json("tokens", "rotate", "--drop-others")["kid"] != first


def test_who_made_keys_is_listed_newest_first(cli, made):
    cli.json("keys", "revoke", made["id"])

    entries = cli.json("audit")["items"]
    page = cli.json("audit", "--limit", "1")

    assert [(entry["principal"], entry["operation"], entry["object"]) for entry in entries] == [
        ("local", "keys.revoke", f"key:{made['id']}"),
        ("local", "keys.make", f"key:{made['id']}"),
    ]
    assert cli.json("audit", "--cursor", page["next_cursor"])["items"] == entries[1:]
    assert "keys.revoke" in cli.text("audit")


def test_nobody_has_asked_for_anything_of_a_user_without_requests(cli, made):
    assert cli.json("audit", "--user", "alice")["items"] == []
