"""One way to talk to every façade: `await fare.grant(…)`, `async with fare.run(…)`, whichever kind stands behind.

A further door (HTTP) or store is added to `KINDS` here; the suite then runs through it unchanged. What looks behind the
façade (rows, a second façade on the same ledger) is asked of `Ledger`, never of the façade.
"""

from __future__ import annotations

import inspect
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import pytest

from callfare import AsyncCallfare, Callfare
from callfare.aio import AsyncRun
from callfare.auth.keys import KeyRequests
from callfare.auth.principal import LOCAL_PRINCIPAL, SCOPES
from callfare.callfare import Run
from callfare.clock import ManualClock
from callfare.engine.engine import Engine
from callfare.facade import open_engine
from callfare.ledger.receipts import KeyReceipt
from callfare.ledger.rows import TABLES, ApiKey
from callfare.store.memory import MemoryStore
from callfare.store.open import open_store
from callfare.store.protocol import Store
from tests.support.fixtures import address, give_back
from tests.support.serving import Serving, served

START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
KINDS = (
    *((store, door) for store in ("memory", "sqlite") for door in ("sync", "async")),
    ("postgres", "sync"),
    # Both doors reach a store through the same committer; the default run has this one in test_values.py alone.
    pytest.param(("postgres", "async"), marks=pytest.mark.all),
    pytest.param(("convex", "sync"), marks=pytest.mark.all),
    # Through `callfare serve`'s application, over a real socket.
    ("sqlite", "remote-sync"),
    pytest.param(("sqlite", "remote-async"), marks=pytest.mark.all),
    pytest.param(("postgres", "remote-sync"), marks=pytest.mark.all),
)

_WAITS = {
    name
    for kind in (AsyncCallfare, AsyncRun)
    for name, member in inspect.getmembers(kind, inspect.iscoroutinefunction)
    if not name.startswith("_")
}


class Awaited:
    """A sync façade, or a run of one, behind the words of the async twin."""

    def __init__(self, target: Any) -> None:
        self.target = target

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.target, name)
        if name == "run":
            return lambda *args, **named: Awaited(found(*args, **named))
        if name not in _WAITS:
            return found

        async def awaited(*args: Any, **named: Any) -> Any:
            answer = found(*(_bare(arg) for arg in args), **named)
            return Awaited(answer) if isinstance(answer, Run) else answer

        return awaited

    async def __aenter__(self) -> Self:
        self.target.__enter__()
        return self

    async def __aexit__(self, *error: object) -> Any:
        return self.target.__exit__(*error)


def _bare(value: Any) -> Any:
    return value.target if isinstance(value, Awaited) else value


class Ledger:
    """A ledger under test: a store and a clock, with as many façades on it as a test opens."""

    def __init__(self, store: str, door: str, folder: Path, clock: ManualClock) -> None:
        self._kind = store
        self.is_async = door.endswith("async")
        self.is_remote = door.startswith("remote")
        self.path = folder / "callfare.db"
        self.clock = clock
        self._folder = folder
        self._memory = MemoryStore(clock)
        self._opened: list[Any] = []
        self._stores: list[Store] = []
        self._servers = ExitStack()
        self._serving: dict[str, Serving] = {}
        self._key = self._key_id = ""
        self._before: dict[str, list[Any]] = {}

    def open(self, **settings: Any) -> Any:
        """Return a façade on the ledger, as another process would open one."""
        kind: Any = AsyncCallfare if self.is_async else Callfare
        if self.is_remote:
            facade = self._open_remote(kind, settings)
        else:
            facade = kind(address(self._kind, self._folder), clock=self.clock, **settings)
        if self._kind == "memory":
            facade._engine = Engine(self._memory, facade._engine.settings, self.clock)
        fare = facade if self.is_async else Awaited(facade)
        self._opened.append(fare)
        return fare

    def _open_remote(self, kind: Any, settings: dict[str, Any]) -> Any:
        """Return a façade on a server of the ledger that has these settings, for they are the server's to have."""
        serving = self._serving.get(repr(settings))
        if serving is None:
            told = {"books": (), "seed_prices": True, "markup": 1, "require_user": False} | settings
            engine = open_engine(address(self._kind, self._folder), clock=self.clock, **told)
            engine.address = None
            serving = self._servers.enter_context(served(engine, shown=self._key_of))
            self._serving[repr(settings)] = serving
        spool = self._folder / "spools"
        return kind(serving.url, api_key=serving.credentials["service"], clock=self.clock, spool=spool)

    def _key_of(self, engine: Engine, audience: str) -> dict[str, str]:
        """Return the one key of all façades on the ledger, which may do everything and grant without a bound."""
        if not self._key:
            requests = KeyRequests(engine.secrets, engine.clock)
            command, text = requests.make("door", scopes=SCOPES, by=LOCAL_PRINCIPAL, grant_cap=None)
            self._key_id = engine.commit(command, KeyReceipt).key_id
            self._key = text.written
            self._before = self._rows()
        return {"service": self._key}

    @property
    def asker(self) -> str:
        """Who asks, as the ledger's audit tells: whoever has its file, or the key that a server was shown."""
        return f"key:{self._key_id}" if self.is_remote else "local"

    def is_there(self) -> bool:
        """Return whether there is a ledger: not before the first write, where it is a file."""
        return self._kind != "sqlite" or self.path.exists()

    def store(self) -> Store:
        """Return the store behind the façades, as another process would open it."""
        if self._kind == "memory":
            return self._memory
        self._stores.append(open_store(address(self._kind, self._folder), self.clock))
        return self._stores[-1]

    def rows(self) -> dict[str, list[Any]]:
        """Return every row of every table with its seal; nothing where there is no ledger yet.

        What a server needs of its own, a key, is left out.
        """
        return {
            name: [row for row in rows if row not in self._before.get(name, []) and not self._is_ours(row[0])]
            for name, rows in self._rows().items()
        }

    def _is_ours(self, row: Any) -> bool:
        # When it was used last changes with every minute.
        return isinstance(row, ApiKey) and row.key_id == self._key_id

    def _rows(self) -> dict[str, list[Any]]:
        if not self.is_there():
            return {table.table: [] for table in TABLES}
        store = self.store()
        return {table.table: list(store.scan(table)) for table in TABLES}

    async def close(self) -> None:
        """Close everything that was opened."""
        for fare in self._opened:
            await fare.close()
        self._servers.close()
        for store in self._stores:
            store.close()
        give_back(self._folder)


def engine_of(fare: Any) -> Engine:
    """Return the engine behind a façade, for what only a wrapped client reaches."""
    engine: Engine = _bare(fare)._engine
    return engine


# Calls whose prices anybody can work out: an image of 8 credits, a second of video of 4, a thousand characters of 1.2.


async def image(to: Any, count: int = 1, **named: Any) -> Any:
    """Record images at 8 credits each."""
    return await to.record("gpt-image-1", {"images": count}, attributes={"size": "1024x1536"}, **named)


async def speech(to: Any, characters: int = 1000, **named: Any) -> Any:
    """Record speech at 1.2 credits for a thousand characters."""
    return await to.record("gpt-4o-mini-tts", {"characters": characters}, **named)


async def chat(to: Any, input_tokens: int = 1000, output_tokens: int = 200, **named: Any) -> Any:
    """Record a chat: 0.027 credits for 1000 tokens in and 200 out."""
    usage = {"input_tokens": input_tokens, "output_tokens": output_tokens}
    return await to.record("gpt-5-mini", usage, **named)


def texts(answer: Any, *names: str) -> tuple[str, ...]:
    """Return some amounts of an answer as decimal text."""
    return tuple(str(getattr(answer, name)) for name in names)


async def balance(fare: Any, user: str = "alice") -> tuple[str, ...]:
    """Return a user's posted, held, spent, available and debt, as decimal text."""
    return texts(await fare.balance(user), "posted", "held", "spent", "available", "debt")


async def status(fare: Any, run_id: str = "r1", user: str = "alice") -> str:
    """Return how a run stands in its user's history."""
    return next(run.status for run in (await fare.history(user)).items if run.run_id == run_id)
