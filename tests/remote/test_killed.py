"""Server and app are killed under load, again and again: no usage is lost, and none is there twice."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from callfare import Callfare
from callfare.ledger.rows import Event
from callfare.store.sqlite import SqliteStore
from tests.support import processes

SCRIPT = str(Path(sys.executable).with_name("callfare"))
APP = "tests.remote.app"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a ledger in which alice has a lot of credit; nothing in the environment leads elsewhere."""
    monkeypatch.setenv("CALLFARE_API_KEY", "")
    monkeypatch.delenv("CALLFARE_SPOOL_DIR", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with Callfare(f"sqlite:///{tmp_path}/callfare.db") as fare:
        fare.grant("alice", 10_000_000, key="welcome")
    return tmp_path


class House:
    """A server and an app, each of which can be killed and started again, and what the app was told."""

    def __init__(self, folder: Path, plant: str) -> None:
        self.folder = folder
        self._plant = plant
        self._apps = 0
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self._port = str(listener.getsockname()[1])
        self.url = f"http://127.0.0.1:{self._port}"
        self.told: list[str] = []
        self.start_server()
        os.environ["CALLFARE_API_KEY"] = (folder / "callfare.db.secrets" / "admin.key").read_text().strip()
        self.start_app()

    def start_server(self) -> None:
        """Start the server and wait until it answers."""
        self.server = subprocess.Popen(
            [SCRIPT, "serve", "--port", self._port],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.server.stdout.readline().startswith("callfare answers")

    def start_app(self) -> None:
        """Start the app under a name of its own."""
        self._apps += 1
        self.app = processes.start(APP, "record_until_killed", self.url, f"app{self._apps}", self._plant)

    def hear(self, count: int) -> None:
        """Wait until the app was told of so many more calls that they are taken."""
        for _ in range(count):
            said = self.app.stdout.readline()
            assert said, self.app.stderr.read()
            self.told.append(said.strip())

    def kill_server(self) -> None:
        """Kill the server in the middle of whatever it does."""
        self.server.kill()
        self.server.wait()
        self.server.stdout.close()

    def kill_app(self) -> None:
        """Kill the app, and take note of what it had said."""
        self.app.send_signal(signal.SIGKILL)
        # The last line may be torn.
        self.told += self.app.stdout.read().split("\n")[:-1]
        self.app.communicate()

    def faults(self) -> list[str]:
        """Return what is lost, doubled or wrong once everything has been delivered and the server has ended."""
        waiting = processes.call(APP, "drain", self.url)
        self.server.send_signal(signal.SIGTERM)
        self.server.communicate()
        store = SqliteStore(str(self.folder / "callfare.db"))
        events = [row for row, _ in store.scan(Event)]
        store.close()
        found = [] if waiting == ["0 0"] else [f"waiting and refused: {waiting}"]
        keys = Counter(event.key for event in events)
        found += [f"{key} is lost" for key in self.told if not keys[f"key:{key}"]]
        found += [f"{key} is there {count} times" for key, count in keys.items() if count > 1]
        with Callfare(f"sqlite:///{self.folder}/callfare.db") as fare:
            found += [str(fault) for fault in fare.verify().faults]
            usage = fare.usage("alice", "all")
        if usage.credits.nanocredits != len(events) * 4 * 10**9:
            found.append(f"{usage.credits} were charged for {len(events)} images")
        return found


def live(folder: Path, plant: str, rounds: int) -> House:
    """Return a house in which the server, then the app, then both were killed, so many times."""
    house = House(folder, plant)
    for _ in range(rounds):
        house.hear(40)
        house.kill_server()
        house.hear(40)
        house.start_server()
        house.hear(40)
        house.kill_app()
        house.start_app()
        house.hear(20)
        house.kill_server()
        house.hear(20)
        house.kill_app()
        house.start_server()
        house.start_app()
    house.hear(20)
    house.kill_app()
    return house


def test_killing_server_and_app_under_load_loses_no_usage_and_doubles_none(folder, pytestconfig):
    house = live(folder, "none", 2 * pytestconfig.getoption("--fault-rounds"))

    print(json.dumps({"taken": len(house.told)}))
    assert house.faults() == []
    assert len(house.told) > 300


def test_a_spool_that_writes_nothing_is_seen(folder):
    house = live(folder, "acknowledge_without_writing", 1)

    assert any("is lost" in fault for fault in house.faults())
