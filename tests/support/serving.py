"""A server for tests: callfare's application under uvicorn, on a free port, in a thread, asked over real sockets."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import httpx2
import uvicorn

from callfare.auth.keys import KeyRequests
from callfare.auth.principal import LOCAL_PRINCIPAL, SCOPES, USER_SCOPES, Principal
from callfare.auth.tokens import mint
from callfare.clock import Clock
from callfare.engine.engine import Engine
from callfare.facade import open_engine
from callfare.ledger.receipts import KeyReceipt
from callfare.payments.till import Till
from callfare.server.app import make_app
from callfare.server.peers import Peers
from callfare.server.serving import Listening, bound, configured
from tests.support.patience import be_patient

AUDIENCE = "http://127.0.0.1"
# Callers by the word that stands for them.
CALLERS = {
    "service": Principal(kind="key", id="service1", user=None, scopes=SCOPES),
    "reader": Principal(kind="key", id="reader01", user=None, scopes=frozenset({"all:read"})),
    "meter": Principal(kind="key", id="meter001", user=None, scopes=frozenset({"usage:write"})),
    "bound": Principal(kind="key", id="bound001", user="alice", scopes=SCOPES),
    "alice": Principal(kind="user", id="alice", user="alice", scopes=USER_SCOPES),
    "bob": Principal(kind="user", id="bob", user="bob", scopes=USER_SCOPES),
    "buyer": Principal(kind="user", id="alice", user="alice", scopes=frozenset({"me:checkout"})),
}


def credentials(engine: Engine, audience: str) -> dict[str, str]:
    """Return what each caller shows: keys that were made in the ledger, and tokens that were minted for it."""
    requests, shown = KeyRequests(engine.secrets, engine.clock), {}
    for name, caller in CALLERS.items():
        if caller.user is not None and caller.kind == "user":
            shown[name] = mint(
                engine.secrets, engine.clock, caller.user, audience=audience, scopes=caller.scopes, ttl_s=3600
            ).token
            continue
        command, text = requests.make(name, scopes=caller.scopes, by=LOCAL_PRINCIPAL, user=caller.user)
        engine.commit(command, KeyReceipt)
        shown[name] = text.written
    return shown


class Serving:
    """A running server: its engine, its address, and clients that send one caller's credential."""

    def __init__(self, engine: Engine, server: uvicorn.Server, url: str, credentials: dict[str, str]) -> None:
        self.engine = engine
        self.credentials = credentials
        self.server = server
        self.url = url
        self.host, _, port = url.removeprefix("http://").rpartition(":")
        self.port = int(port)

    def client(self, caller: str | None = "service") -> httpx2.Client:
        """Return a client whose requests name a caller, or nobody."""
        headers = {} if caller is None else {"Authorization": f"Bearer {self.credentials[caller]}"}
        return httpx2.Client(base_url=self.url, headers=headers, timeout=60)


def engine_on(url: str, clock: Clock | None = None) -> Engine:
    """Return an engine as the server opens one."""
    engine = open_engine(url, (), seed_prices=True, markup=1, require_user=False, clock=clock)
    engine.address = None
    return engine


@contextmanager
def served(
    engine: Engine,
    *,
    public_url: str | None = None,
    is_local: bool = True,
    port: int = 0,
    shown: Callable[[Engine, str], dict[str, str]] = credentials,
    till: Till | None = None,
    peers: Peers | None = None,
    authorization_servers: Sequence[str] = (),
) -> Iterator[Serving]:
    """Serve an engine for as long as the block lasts.

    shown: makes what its callers show. till: payments. peers: who may ask.
    """
    be_patient()
    app = make_app(
        engine,
        audience=AUDIENCE,
        public_url=public_url,
        is_local=is_local,
        till=till,
        authorization_servers=authorization_servers,
        peers=peers,
    )
    engine.create()
    made = shown(engine, AUDIENCE)
    listener = bound(Listening(port=port))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = uvicorn.Server(configured(app, Listening()))
    ready = threading.Event()
    startup = server.startup

    async def announced(sockets=None):
        await startup(sockets)
        ready.set()

    server.startup = announced
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])))
    thread.start()
    try:
        assert ready.wait(120)
        yield Serving(engine, server, url, made)
    finally:
        server.should_exit = True
        thread.join(60)
        listener.close()
        assert not thread.is_alive()
