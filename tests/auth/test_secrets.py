"""The server's secrets: made once, for one owner, never shown, never blank."""

from __future__ import annotations

import json
import multiprocessing
import os
import stat
import traceback
from pathlib import Path

import pytest

from callfare.auth.tokens import mint, read_token
from callfare.clock import ManualClock
from callfare.errors import Misconfigured, Unauthorized
from callfare.secrets import open_secrets
from callfare.spool_place import secrets_folder
from tests.auth.conftest import AUDIENCE
from tests.support.commands import START

LONG = "0123456789abcdefghijklmnopqrstuvwxyz"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "callfare.db.secrets"


def opened(folder, **environ):
    return open_secrets(folder, ManualClock(START), environ)


def test_they_are_made_in_a_file_that_only_its_owner_reads(folder):
    old = os.umask(0)
    try:
        secrets = opened(folder)
    finally:
        os.umask(old)

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()] == [0o600]
    kept = json.loads((folder / "secrets.json").read_text())
    assert len(kept["pepper"]) == 43
    assert len(kept["signing"][0]["secret"]) == 43
    assert secrets.path == folder / "secrets.json"


def test_they_are_made_once(folder):
    first, second = opened(folder), opened(folder)

    assert first.digest("x") == second.digest("x")
    assert first.signing == second.signing


def _pepper_of(folder: str) -> str:
    return opened(Path(folder)).pepper_id


def test_processes_that_start_at_once_agree(folder):
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        found = pool.map(_pepper_of, [str(folder)] * 8)

    assert len(set(found)) == 1
    assert [file.name for file in folder.iterdir()] == ["secrets.json"]


def test_a_file_that_others_may_read_is_refused_with_the_way_out(folder):
    opened(folder)
    (folder / "secrets.json").chmod(0o640)

    with pytest.raises(Misconfigured, match="chmod 600"):
        opened(folder)


def test_the_environment_names_another_file(folder, tmp_path):
    named = tmp_path / "elsewhere" / "own.json"

    secrets = opened(folder, CALLFARE_SECRETS_FILE=str(named))

    assert secrets.path == named
    assert named.exists()
    assert not folder.exists()


def test_the_environment_gives_them(folder):
    secrets = opened(folder, CALLFARE_KEY_PEPPER=LONG, CALLFARE_TOKEN_SECRETS=f"2026b:{LONG}2, 2026a:{LONG}1")

    assert secrets.signing.kid == "2026b"
    assert secrets.signing_of("2026a").secret == f"{LONG}1"
    assert not folder.exists()


@pytest.mark.parametrize(
    "environ",
    [
        {"CALLFARE_SECRETS_FILE": ""},
        {"CALLFARE_SECRETS_FILE": "  "},
        {"CALLFARE_KEY_PEPPER": LONG},
        {"CALLFARE_TOKEN_SECRETS": f"a:{LONG}"},
        {"CALLFARE_KEY_PEPPER": "", "CALLFARE_TOKEN_SECRETS": f"a:{LONG}"},
        {"CALLFARE_KEY_PEPPER": " " * 40, "CALLFARE_TOKEN_SECRETS": f"a:{LONG}"},
        {"CALLFARE_KEY_PEPPER": "short", "CALLFARE_TOKEN_SECRETS": f"a:{LONG}"},
        {"CALLFARE_KEY_PEPPER": LONG, "CALLFARE_TOKEN_SECRETS": ""},
        {"CALLFARE_KEY_PEPPER": LONG, "CALLFARE_TOKEN_SECRETS": "a:"},
        {"CALLFARE_KEY_PEPPER": LONG, "CALLFARE_TOKEN_SECRETS": "a:" + " " * 40},
        {"CALLFARE_KEY_PEPPER": LONG, "CALLFARE_TOKEN_SECRETS": LONG},
        {"CALLFARE_KEY_PEPPER": LONG, "CALLFARE_TOKEN_SECRETS": f"a/../b:{LONG}"},
        {"CALLFARE_KEY_PEPPER": LONG, "CALLFARE_TOKEN_SECRETS": f"a:{LONG},a:{LONG}x"},
        {"CALLFARE_KEY_PEPPER": LONG, "CALLFARE_TOKEN_SECRETS": f"a:{LONG},b:short"},
    ],
)
def test_blank_short_and_half_given_ones_are_refused(folder, environ):
    with pytest.raises(Misconfigured) as refusal:
        opened(folder, **environ)

    assert LONG not in str(refusal.value)


@pytest.mark.parametrize("text", ["", "{}", '{"pepper": 7}', f'{{"pepper": "{LONG}", "signing": "{LONG}"}}', "\xff"])
def test_a_file_that_is_none_of_ours_is_refused_without_quoting_it(folder, text):
    opened(folder)
    (folder / "secrets.json").write_text(text)

    with pytest.raises(Misconfigured) as refusal:
        opened(folder)

    assert LONG not in "".join(traceback.format_exception(refusal.value))


def test_no_repr_shows_one(folder):
    secrets = opened(folder)
    kept = json.loads((folder / "secrets.json").read_text())

    said = repr(secrets) + repr(secrets.signing) + repr(secrets._kept) + str(vars(secrets))

    assert kept["pepper"] not in said
    assert kept["signing"][0]["secret"] not in said


def test_a_new_token_secret_reaches_a_server_that_is_running(folder):
    clock = ManualClock(START)
    running, operator = opened(folder), opened(folder)
    old = mint(running, clock, "alice", audience=AUDIENCE, scopes=["me:read"])

    fresh = operator.rotate(clock)

    new = mint(running, clock, "alice", audience=AUDIENCE, scopes=["me:read"])
    assert running.signing == fresh
    # What was given out before still holds until it expires.
    assert read_token(running, clock, old.token, audience=AUDIENCE).user == "alice"
    assert read_token(running, clock, new.token, audience=AUDIENCE).user == "alice"
    assert stat.S_IMODE((folder / "secrets.json").stat().st_mode) == 0o600


def test_dropping_the_others_ends_every_token_at_once(folder):
    clock = ManualClock(START)
    running, operator = opened(folder), opened(folder)
    old = mint(running, clock, "alice", audience=AUDIENCE, scopes=["me:read"])

    operator.rotate(clock, drop_others=True)

    with pytest.raises(Unauthorized):
        read_token(running, clock, old.token, audience=AUDIENCE)


def test_rotating_keeps_the_pepper_and_a_bounded_number_of_secrets(folder):
    secrets = opened(folder)
    pepper = secrets.pepper_id

    for _ in range(20):
        secrets.rotate(ManualClock(START))

    kept = json.loads((folder / "secrets.json").read_text())
    assert secrets.pepper_id == pepper
    assert len(kept["signing"]) == 8


def test_given_secrets_are_rotated_where_they_were_given(folder):
    secrets = opened(folder, CALLFARE_KEY_PEPPER=LONG, CALLFARE_TOKEN_SECRETS=f"a:{LONG}")

    with pytest.raises(Misconfigured, match="CALLFARE_TOKEN_SECRETS"):
        secrets.rotate(ManualClock(START))


def test_they_lie_beside_a_ledgers_file_and_under_the_state_folder_for_a_server():
    file = Path("/data/callfare.db")

    beside = secrets_folder("sqlite:////data/callfare.db", file=file, state=None)
    server = secrets_folder("postgresql://u:hush@db.example.com:5432/app", file=None, state="/state")

    assert beside == Path("/data/callfare.db.secrets")
    assert server.parent == Path("/state/callfare")
    assert server.name.startswith("db.example.com-5432-app-")
    assert server.name.endswith(".secrets")
    assert "hush" not in str(server)
    assert secrets_folder("memory://", file=None, state=None) is None
