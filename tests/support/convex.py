"""A bridge to convex-test, as a server of Convex's HTTP function API: one for all tests of a process, ended with it."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from callfare.store.convex_http import from_wire, to_wire
from callfare.store.open import open_store

ROOT = Path(__file__).parents[2]
SECRET = "a secret of the bridge alone"
_NUMBERS = count(1)
_STOP_S_MAX = 60


@dataclass
class Bridge:
    """A running bridge. Each name in the first part of a path is a ledger of its own."""

    process: subprocess.Popen[bytes]
    port: int

    def new_ledger(self) -> str:
        """Return the address of a ledger that nobody has used; it is not made yet."""
        return f"convex://:{SECRET.replace(' ', '%20')}@127.0.0.1:{self.port}/ledger-{os.getpid()}-{next(_NUMBERS)}"

    def lend_ledger(self) -> str:
        """Return the address of an empty ledger."""
        address = self.new_ledger()
        store = open_store(address)
        store.create()
        store.close()
        return address

    def take_back(self, address: str) -> None:
        """Drop a ledger."""
        self.control(address, forget=True)

    def control(self, address: str, *, forget: bool = False, **knobs: int) -> dict[str, Any]:
        """Set what happens to mutations to come, and return what was counted since the last time."""
        name = address.rpartition("/")[2]
        return self.post(f"/{name}/control", {"knobs": knobs, "forget": forget})

    def documents(self, address: str, table: str, **patch: Any) -> list[dict[str, Any]]:
        """Return all documents of a table as they lie there. patch: what to change in each of them before."""
        name = address.rpartition("/")[2]
        body = {"table": table} | ({"patch": to_wire(patch)} if patch else {})
        found: list[dict[str, Any]] = from_wire(self.post(f"/{name}/documents", body))
        return found

    def post(self, path: str, body: dict[str, Any], **headers: str) -> dict[str, Any]:
        """Return what the bridge answers to a body."""
        url = f"http://127.0.0.1:{self.port}{path}"
        request = urllib.request.Request(
            url, json.dumps(body).encode(), {"Content-Type": "application/json", **headers}
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310 - the bridge's own address
                return json.load(response)
        except urllib.error.HTTPError as failed:
            with failed:
                return json.load(failed)

    def stop(self) -> None:
        """End the bridge: it ends when its standard input does."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(_STOP_S_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


class Deployment:
    """Somebody's own deployment, there to be thrown away: every test has it to itself."""

    def lend_ledger(self, address: str) -> str:
        """Return the address, of an empty ledger."""
        self.take_back(address)
        store = open_store(address)
        store.create()
        store.close()
        return address

    def take_back(self, address: str) -> None:
        """Drop the ledger."""
        store = open_store(address)
        store.upkeep().wipe()
        store.close()


def why_missing() -> str:
    """Return why no bridge can run here; empty where one can."""
    if shutil.which("node") is None:
        return "no Node found; install nodejs 18 or newer"
    if not (ROOT / "node_modules" / "convex-test").is_dir():
        return "the Node packages are missing; `./run test --all` installs them"
    return ""


@contextmanager
def running_bridge(**environment: str) -> Iterator[Bridge]:
    """Yield a new bridge. Skips, saying why, where none can run."""
    if reason := why_missing():
        pytest.skip(reason)
    process = subprocess.Popen(
        ["node", str(ROOT / "tests" / "convex" / "bridge.mjs")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env=os.environ | {"CALLFARE_CONVEX_SECRET": SECRET} | environment,
    )
    assert process.stdout is not None
    bridge = Bridge(process, json.loads(process.stdout.readline())["port"])
    try:
        yield bridge
    finally:
        bridge.stop()


@cache
def shared_bridge() -> Bridge:
    """Return the bridge that all tests of this process share."""
    running = ExitStack()
    atexit.register(running.close)
    return running.enter_context(running_bridge())
