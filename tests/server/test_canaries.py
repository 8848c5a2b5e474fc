"""Canaries over HTTP: every secret there is goes through every route, right and wrong, and turns up nowhere.

Searched: answers with their headers, the log, files, every row of the ledger, and what others see of the process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

import httpx2
import psycopg
import pytest
from psycopg import sql

from callfare.server.rules import RULES
from tests.support.fixtures import address, give_back

AUDIENCE = "https://billing.example.com"
PASSWORD = "pgcanary8f21c0d97a"
# What the settings hold, in the form in which they are given.
GIVEN = {
    "CALLFARE_KEY_PEPPER": "peppercanary-5b1d0c7e9f3a4682b0d1c7e9f3a46825",
    "CALLFARE_TOKEN_SECRETS": "canary1:signcanary-9e8d7c6b5a49382716059e8d7c6b5a49",
    "STRIPE_SECRET_KEY": "sk_test_stripecanary51HqLyjWDarjtT1zdp7dc",
    "STRIPE_WEBHOOK_SECRET": "whsec_hookcanaryMfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "CALLFARE_STRIPE_API_URL": "http://127.0.0.1:9",
    "CALLFARE_PUBLIC_URL": AUDIENCE,
}
CALLFARE = (sys.executable, "-m", "callfare", "--json")
DETOURS = ("query", "header", "field", "broken", "path")


def command(environment, folder, *words):
    """Return the document that a command of a process of its own answers with."""
    done = subprocess.run(
        [*CALLFARE, *words],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


class House:
    """A server in another process, all secrets that it and its callers have, and all that can be seen of it."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self._url = folder, url
        ours = {name: value for name, value in os.environ.items() if not name.startswith(("CALLFARE_", "STRIPE_"))}
        self._environment = ours | GIVEN | {"CALLFARE_DATABASE_URL": url}
        command(self._environment, folder, "grant", "alice", "100", "--key", "welcome")
        self.key = command(self._environment, folder, "keys", "make", "canary", "--admin")["key"]
        self.token = command(self._environment, folder, "tokens", "mint", "alice", "--audience", AUDIENCE)["token"]
        self.secrets = {
            "key": self.key.split("_")[3][:30],
            "token": self.token,
            "signature": self.token.split(".")[2],
            "pepper": GIVEN["CALLFARE_KEY_PEPPER"],
            "signing secret": GIVEN["CALLFARE_TOKEN_SECRETS"].partition(":")[2],
            "stripe": GIVEN["STRIPE_SECRET_KEY"],
            "webhook": GIVEN["STRIPE_WEBHOOK_SECRET"],
            "password": PASSWORD,
        }
        self.answers: list[str] = []
        self._asked = 0
        self.statuses: set[int] = set()
        with (folder / "log.txt").open("wb") as log:
            self._process = subprocess.Popen(
                [*CALLFARE, "serve", "--port", "0", "--behind-proxy", "--trusted-proxy", "127.0.0.1"],
                cwd=folder, env=self._environment, stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip
        self.said = "".join(iter(self._process.stdout.readline, "}\n"))
        self._listening = listening_of(self._process.pid)
        self.client = httpx2.Client(base_url=self._listening, timeout=60)

    def ask(self, method: str, path: str, credential: str | None, *, is_kept: bool = True, **more: object) -> None:
        """Ask for a path, and keep the answer with its headers."""
        # Each from an address of its own, so that the bound on failed attempts lets all of them through.
        self._asked += 1
        headers = dict(more.pop("headers", {})) | {"X-Forwarded-For": str(ip_address("198.18.0.0") + self._asked)}
        headers |= {"Authorization": f"Bearer {credential}"} if credential else {}
        answer = self.client.request(method, path, headers=headers, **more)
        self.statuses.add(answer.status_code)
        if is_kept:
            self.answers.append(f"{answer.status_code} {answer.headers} {answer.text}")

    def stop(self) -> None:
        """End the server, and keep what others saw of it until then."""
        seen = (Path(f"/proc/{self._process.pid}/{name}").read_bytes() for name in ("cmdline", "comm", "status"))
        self.seen = b"".join(seen)
        self._process.terminate()
        self.said += self._process.communicate(timeout=120)[0]
        self.client.close()

    def places(self) -> dict[str, bytes]:
        """Return all places a secret may have got to, by name."""
        files = (file.read_bytes() for file in self.folder.rglob("*") if file.is_file() and file.name != "log.txt")
        return {
            "answers": "".join(self.answers).encode(),
            "log": (self.folder / "log.txt").read_bytes(),
            "said": self.said.encode(),
            "process list": self.seen,
            "files": b"".join(files),
            "rows": rows_of(self._url) if self._url.startswith("postgresql") else b"",
        }

    def leaks(self) -> list[tuple[str, str]]:
        """Return each place with the secret that is in it."""
        return [
            (place, name)
            for place, found in self.places().items()
            for name, secret in self.secrets.items()
            if secret.encode() in found
        ]


def listening_of(pid: int) -> str:
    """Return the address on the loopback where a process listens."""
    inodes = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        # It may be gone by now.
        with suppress(OSError):
            inodes.add(str(link.readlink()).removeprefix("socket:[").removesuffix("]"))
    for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        columns = line.split()
        if columns[9] in inodes and columns[3] == "0A":
            return f"http://127.0.0.1:{int(columns[1].rpartition(':')[2], 16)}"
    raise AssertionError("it listens nowhere")


def rows_of(url: str) -> bytes:
    """Return every row of every table of a ledger as text."""
    with psycopg.connect(url) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'callfare'").fetchall()
        rows = (
            connection.execute(sql.SQL("SELECT t::TEXT FROM callfare.{} AS t").format(sql.Identifier(name))).fetchall()
            for (name,) in tables
        )
        return "".join(text for found in rows for (text,) in found).encode()


@pytest.fixture(params=["sqlite", "postgres"])
def house(request, tmp_path):
    """A server over a ledger on each database, which knows every secret there is."""
    folder = tmp_path / "house"
    folder.mkdir()
    lent = address(request.param, tmp_path)
    url = (
        f"sqlite:///{folder}/x.db"
        if request.param == "sqlite"
        else lent.replace("//callfare@", f"//callfare:{PASSWORD}@")
    )
    made = House(folder, url)
    yield made
    if made._process.poll() is None:
        made.stop()
    give_back(tmp_path)


def sweep(house: House) -> None:
    """Send every secret with every route: as it should be, damaged, and where it has no business to be."""
    damaged = [house.key[:-1] + "-", house.token[:-2] + "--", f"cf_test_{house.secrets['key']}"]
    for method, template in RULES:
        path = template.format(run_id="r1", charge_id="c1", kind="events", key_id="k1")
        for credential in (house.key, house.token, *damaged, None):
            house.ask(method, path, credential, json={} if method == "POST" else None)
        for secret in house.secrets.values():
            for detour in DETOURS:
                astray(house, method, path, secret, detour)


def astray(house: House, method: str, path: str, secret: str, detour: str) -> None:
    """Send a secret where a mistaken client would."""
    match detour:
        case "query":
            house.ask(method, path, house.key, params={"apiKey": secret})
        case "header":
            house.ask(method, path, house.key, headers={"X-Api-Key": secret, "Cookie": f"session={secret}"})
        case "field" if method == "POST":
            # The SDK behind /mcp tells its caller what they sent; nobody else hears of it.
            is_kept = path != "/mcp"
            house.ask(method, path, house.key, is_kept=is_kept, json={"apiKey": secret, "credits": [secret]})
        case "broken" if method == "POST":
            body = f'{{"apiKey": "{secret}", '.encode()
            house.ask(method, path, house.key, content=body, headers={"Content-Type": "application/json"})
        case "path":
            # A caller may be told what they asked for, and nobody else is.
            house.ask(method, f"{path}/{secret}", house.key, is_kept=False)


def test_no_secret_turns_up_in_answers_logs_files_rows_or_the_process_list(house):
    for credential in (house.key, house.token):
        house.ask("GET", "/api/billing/balance?userId=alice", credential)
    assert house.statuses == {200}, house.answers
    sweep(house)
    for path in ("/metrics", "/openapi.json", "/api/billing/audit", "/api/billing/keys", "/readyz"):
        house.ask("GET", path, house.key)
    house.stop()

    assert {200, 400, 401, 403, 404, 405} <= house.statuses
    assert not house.statuses & {429, 500}
    assert house.places()["log"].count(b'"what": "answered"') > len(house.answers)
    assert house.leaks() == []


@pytest.mark.parametrize("place", ["answers", "log", "said", "process list", "files"])
def test_a_leak_into_any_place_would_be_found(tmp_path, place):
    folder = tmp_path / "house"
    folder.mkdir()
    house = object.__new__(House)
    house.folder, house._url = folder, "sqlite:///x.db"
    house.secrets = {"pepper": "peppercanary"}
    leaked = {place: "… peppercanary …"}
    house.answers, house.said = [leaked.get("answers", "")], leaked.get("said", "")
    house.seen = leaked.get("process list", "").encode()
    (folder / "log.txt").write_text(leaked.get("log", ""))
    (folder / "x.db").write_text(leaked.get("files", ""))

    assert house.leaks() == [(place, "pepper")]


@pytest.mark.parametrize("house", ["sqlite", pytest.param("postgres", marks=pytest.mark.all)], indirect=True)
def test_a_secret_in_the_log_of_a_real_server_would_be_found(house):
    # Who asks chooses this one, and it is told again: the sweep must see what a log would keep of it.
    house.ask("GET", "/healthz", None, headers={"X-Request-Id": house.secrets["signature"]})
    house.stop()

    assert {place for place, _ in house.leaks()} == {"answers", "log"}
