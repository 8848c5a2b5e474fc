"""A server for tests: callfare's application under uvicorn, on a free port, in a thread, asked over real sockets."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
import uvicorn

from callfare.auth.door import Door
from callfare.auth.principal import SCOPES, USER_SCOPES, Principal
from callfare.clock import Clock
from callfare.engine.engine import Engine
from callfare.errors import Unauthorized
from callfare.facade import open_engine
from callfare.server.app import make_app
from callfare.server.serving import Listening, bound

# Callers by the word that stands for their credential.
CALLERS = {
    "service": Principal(kind="key", id="service1", user=None, scopes=SCOPES),
    "reader": Principal(kind="key", id="reader01", user=None, scopes=frozenset({"all:read"})),
    "meter": Principal(kind="key", id="meter001", user=None, scopes=frozenset({"usage:write"})),
    "bound": Principal(kind="key", id="bound001", user="alice", scopes=SCOPES),
    "alice": Principal(kind="user", id="alice", user="alice", scopes=USER_SCOPES),
    "bob": Principal(kind="user", id="bob", user="bob", scopes=USER_SCOPES),
    "nothing": Principal(kind="user", id="alice", user="alice", scopes=frozenset()),
}


class Named(Door):
    """A door that knows callers by a word: what the real one makes of credentials is tested where it stands."""

    async def principal(self, authorization: str | None, *, address: str) -> Principal:
        """Return who the word stands for."""
        found = CALLERS.get((authorization or "").removeprefix("Bearer "))
        if found is None:
            raise Unauthorized("give a key or a token: Authorization: Bearer cf_…")
        return found


class Serving:
    """A running server: its engine, its address, and clients that send one caller's credential."""

    def __init__(self, engine: Engine, server: uvicorn.Server, url: str) -> None:
        self.engine = engine
        self.server = server
        self.url = url
        self.host, _, port = url.removeprefix("http://").rpartition(":")
        self.port = int(port)

    def client(self, caller: str | None = "service") -> httpx2.Client:
        """Return a client whose requests name a caller, or nobody."""
        headers = {} if caller is None else {"Authorization": f"Bearer {caller}"}
        return httpx2.Client(base_url=self.url, headers=headers, timeout=30)


def engine_on(url: str, clock: Clock | None = None) -> Engine:
    """Return an engine as the server opens one."""
    engine = open_engine(url, (), seed_prices=True, markup=1, require_user=False, clock=clock)
    engine.address = None
    return engine


@contextmanager
def served(engine: Engine, *, public_url: str | None = None, is_local: bool = True) -> Iterator[Serving]:
    """Serve an engine for as long as the block lasts."""
    app = make_app(engine, Named(engine, audience="http://127.0.0.1"), public_url=public_url, is_local=is_local)
    listener = bound(Listening(port=0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="on", ws="none", server_header=False)
    server = uvicorn.Server(config)
    ready = threading.Event()
    startup = server.startup

    async def announced(sockets=None):
        await startup(sockets)
        ready.set()

    server.startup = announced
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])))
    thread.start()
    try:
        assert ready.wait(30)
        yield Serving(engine, server, url)
    finally:
        server.should_exit = True
        thread.join(30)
        listener.close()
        assert not thread.is_alive()
