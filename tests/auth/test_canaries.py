"""Canaries: real secrets through real processes, and none of them anywhere but in the hands of who asked for it."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import traceback
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from callfare import Callfare
from callfare.auth.door import Door
from callfare.errors import CallfareError
from tests.auth.conftest import AUDIENCE, HERE

API = "/api/billing/balance?userId=alice"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("CALLFARE_")]:
        monkeypatch.delenv(name)
    return tmp_path


def command(*words: str) -> dict[str, str]:
    """Return the document that a command of a process of its own answers with."""
    done = subprocess.run(
        [sys.executable, "-m", "callfare", "--json", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def asked(address: str, credential: str) -> str:
    """Return all of what a server says to one who shows a credential, headers included."""
    request = urllib.request.Request(address, headers={"Authorization": f"Bearer {credential}"})  # noqa: S310 - ours
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - ours
            return f"{answer.status} {answer.headers} {answer.read().decode()}"
    except urllib.error.HTTPError as refusal:
        return f"{refusal.code} {refusal.headers} {refusal.read().decode()}"


def bytes_of(folder: Path) -> bytes:
    """Return what every file of a folder holds, but for the secrets themselves."""
    return b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file() and file.name != "secrets.json")


def seen_of(pid: int) -> bytes:
    """Return what others on the machine see of a process."""
    return b"".join(Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "comm", "status"))


@pytest.fixture
def secrets(folder):
    """A key and a token that hold, and everything in the file of secrets."""
    key = command("keys", "make", "canary", "--admin")["key"]
    token = command("tokens", "mint", "alice", "--audience", AUDIENCE)["token"]
    kept = json.loads((folder / "callfare.db.secrets" / "secrets.json").read_text())
    return {
        "key": key,
        "secret of the key": key.split("_")[3][:30],
        "token": token,
        "signature": token.split(".")[2],
        "pepper": kept["pepper"],
        "signing secret": kept["signing"][0]["secret"],
    }


def found_in(secrets: dict[str, str], text: bytes) -> list[str]:
    return [name for name, secret in secrets.items() if secret.encode() in text]


def test_a_server_that_is_used_shows_none_in_logs_answers_files_or_the_process_list(folder, secrets):
    command("grant", "alice", "5")
    with (folder / "log.txt").open("wb") as log:
        serving = subprocess.Popen(
            [sys.executable, "-m", "callfare", "--json", "serve", "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        address = json.loads("".join(iter(serving.stdout.readline, "}\n")) + "}")["url"]
        token = command("tokens", "mint", "alice", "--audience", address)["token"]
        secrets |= {"token of here": token, "signature of here": token.split(".")[2]}
        key = secrets["key"]
        answers = [
            asked(address + API, key),
            asked(address + API, token),
            asked(address + API, secrets["token"]),
            asked(address + API, key[:-1] + "-"),
            asked(address + API, token[:-2] + "--"),
            asked(f"{address}/api/billing/nowhere", key),
        ]
        seen = seen_of(serving.pid)
    finally:
        serving.terminate()
        said = serving.communicate(timeout=120)[0]

    assert [answer[:3] for answer in answers] == ["200", "200", "401", "401", "401", "404"]
    assert found_in(secrets, "".join(answers).encode()) == []
    assert found_in(secrets, seen) == []
    assert found_in(secrets, said.encode()) == []
    assert (folder / "log.txt").read_bytes()
    assert found_in(secrets, bytes_of(folder)) == []


def test_the_ledger_a_backup_and_an_export_show_none(folder, secrets):
    command("backup", "ledger.callfare")
    unpacked = subprocess.run(["gzip", "-dc", "ledger.callfare"], capture_output=True, check=True).stdout

    said = "".join(json.dumps(command(*words)) for words in (["keys"], ["audit"], ["doctor"], ["config"]))

    assert b"api_keys" in unpacked
    assert found_in(secrets, unpacked) == []
    assert found_in(secrets, bytes_of(folder)) == []
    assert found_in(secrets, said.encode()) == []


async def test_no_error_no_log_and_no_repr_of_the_door_shows_one(folder, secrets, caplog):
    caplog.set_level(logging.DEBUG)
    with Callfare() as fare:
        door = Door(fare._engine, audience=AUDIENCE)
        told = []
        for credential in (secrets["key"][:-1], secrets["token"] + "x", "cf_test_" + secrets["secret of the key"]):
            try:
                await door.principal(f"Bearer {credential}", address=HERE)
            except CallfareError as error:
                told += traceback.format_exception(error)
                told.append(str(error.facts()))
        who = await door.principal(f"Bearer {secrets['key']}", address=HERE)
        user = await door.principal(f"Bearer {secrets['token']}", address=HERE)
        told += [repr(who), repr(user), repr(door), repr(vars(door)), repr(fare._engine.secrets)]
        told += [record.getMessage() for record in caplog.records]

    assert told
    assert found_in(secrets, "".join(told).encode()) == []


def test_a_leak_would_be_found(folder, secrets):
    (folder / "oops.log").write_text(f"made {secrets['key']}")

    assert found_in(secrets, bytes_of(folder)) == ["key", "secret of the key"]
