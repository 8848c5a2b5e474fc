"""Server and app are killed under load, again and again: no usage is lost, and none is there twice."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

from callfare import Callfare
from callfare.ledger.rows import Event
from callfare.store.open import open_store
from tests.support import processes, seeds
from tests.support.ports import held_port
from tests.support.postgres import shared_server

SCRIPT = str(Path(sys.executable).with_name("callfare"))
APP = "tests.remote.app"
KEPT_IN = re.compile(r" kept in (?P<file>.+), which only you")
VICTIMS = ("server", "app", "server, then app", "app, then server", "both at once")


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.all)])
def address(request, tmp_path, monkeypatch):
    """The address of a ledger in which alice has a lot of credit; nothing in the environment leads elsewhere."""
    monkeypatch.setenv("CALLFARE_API_KEY", "")
    monkeypatch.delenv("CALLFARE_SPOOL_DIR", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    cluster = shared_server() if request.param == "postgres" else None
    url = f"sqlite:///{tmp_path}/callfare.db" if cluster is None else cluster.new_ledger()
    with Callfare(url) as fare:
        fare.grant("alice", 10_000_000, key="welcome")
    yield url
    if cluster is not None:
        cluster.drop_database(url)


class House:
    """A server and an app, each of which can be killed and started again, and what the app was told."""

    def __init__(self, ledger: str, port: int, plant: str) -> None:
        self.ledger = ledger
        self._plant = plant
        self._apps = 0
        self._port = str(port)
        self.url = f"http://127.0.0.1:{self._port}"
        self.told: list[str] = []
        self.start_server()
        told = iter(self.server.stdout.readline, "")
        file = next(filter(None, map(KEPT_IN.search, told)))["file"]
        os.environ["CALLFARE_API_KEY"] = Path(file).read_text(encoding="ascii").strip()
        self.start_app()

    def start_server(self) -> None:
        """Start the server and wait until it answers."""
        self.server = subprocess.Popen(
            [SCRIPT, "serve", "--db", self.ledger, "--port", self._port],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.server.stdout.readline().startswith("callfare answers")

    def start_app(self) -> None:
        """Start the app under a name of its own."""
        self._apps += 1
        self.app = processes.start(APP, "record_until_killed", self.url, f"app{self._apps}", self._plant)

    def hear(self, count: int, *, kept: int = 0) -> None:
        """Wait until the app was told of so many more calls that they are taken, and of so many by its spool."""
        while count > 0 or kept > 0:
            said = self.app.stdout.readline()
            assert said, self.app.stderr.read()
            key, how = said.split()
            self.told.append(key)
            count -= 1
            kept -= how == "kept"

    def kill_server(self) -> None:
        """Kill the server in the middle of whatever it does."""
        self.server.kill()
        self.server.wait()
        self.server.stdout.close()

    def kill_app(self) -> None:
        """Kill the app, and take note of what it had said."""
        self.app.kill()
        # The last line may be torn.
        self.told += [line.split()[0] for line in self.app.stdout.read().split("\n")[:-1]]
        self.app.communicate()

    def kill(self, victims: str, between: int) -> None:
        """Kill who is named, hearing of so many calls between the two, and start them again."""
        if victims == "both at once":
            self.server.kill()
        if victims in {"server", "server, then app"}:
            self.kill_server()
            # Its calls go to the spool now, after those that had been answered.
            self.hear(between, kept=min(between, 5))
        if victims != "server":
            self.kill_app()
        if victims in {"app, then server", "both at once"}:
            self.kill_server()
        if victims != "app":
            self.start_server()
        if victims != "server":
            self.start_app()

    def faults(self) -> list[str]:
        """Return what is lost, doubled or wrong once everything has been delivered and the server has ended."""
        waiting = processes.call(APP, "drain", self.url)
        self.server.send_signal(signal.SIGTERM)
        self.server.communicate()
        store = open_store(self.ledger)
        events = [row for row, _ in store.scan(Event)]
        store.close()
        found = [] if waiting == ["0 0"] else [f"waiting and refused: {waiting}"]
        keys = Counter(event.key for event in events)
        found += [f"{key} is lost" for key in self.told if not keys[f"key:{key}"]]
        found += [f"{key} is there {count} times" for key, count in keys.items() if count > 1]
        with Callfare(self.ledger) as fare:
            found += [str(fault) for fault in fare.verify().faults]
            usage = fare.usage("alice", "all")
        if usage.credits.nanocredits != len(events) * 4 * 10**9:
            found.append(f"{usage.credits} were charged for {len(events)} images")
        return found


@pytest.fixture
def port():
    """The port of the server, however often it is killed."""
    with held_port() as port:
        yield port


def live(ledger: str, port: int, plant: str, *, seed: int, rounds: int = 1, deaths: Sequence[str] = VICTIMS) -> House:
    """Return a house in which all died who are named, so many times, in an order and at moments that a seed decides."""
    chance, house = Random(seed), House(ledger, port, plant)
    for _ in range(rounds):
        for victims in chance.sample(deaths, len(deaths)):
            house.hear(chance.randint(1, 60))
            house.kill(victims, chance.randint(1, 60))
    house.hear(20)
    house.kill_app()
    return house


def test_killing_server_and_app_under_load_loses_no_usage_and_doubles_none(address, port, pytestconfig):
    house = live(address, port, "none", seed=seeds.chosen, rounds=pytestconfig.getoption("--fault-rounds"))

    print(json.dumps({"seed": seeds.chosen, "taken": len(house.told)}))
    assert house.faults() == []
    assert len(house.told) > 200


@pytest.mark.parametrize("address", ["sqlite"], indirect=True)
def test_a_spool_that_writes_nothing_is_seen(address, port):
    house = live(address, port, "acknowledge_without_writing", seed=1, deaths=["server, then app"])

    assert any("is lost" in fault for fault in house.faults())
