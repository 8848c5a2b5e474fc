"""The engine of a façade whose ledger is behind a server: the same lane, spool and views of runs, another far end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn, TypeVar

from callfare.answers import Repriced
from callfare.clock import Clock
from callfare.engine.engine import Engine
from callfare.errors import InvalidInput, Misconfigured
from callfare.ledger.receipts import ChargeReceipt, Receipt
from callfare.ledger.verify import Verification
from callfare.money import Credits
from callfare.remote.access import RemoteAccess
from callfare.remote.address import Address
from callfare.remote.checked import verified
from callfare.remote.client import Client
from callfare.remote.prices import RemoteTerms
from callfare.remote.reports import RemoteReports
from callfare.remote.store import RemoteStore
from callfare.secrets import Secrets
from callfare.spool import Spool

T = TypeVar("T")
C = TypeVar("C", bound=Receipt)

_READERS = 16


class RemoteEngine(Engine):
    """One ledger behind a server. Safe to share between threads and event loops."""

    def __init__(
        self, address: Address, *, clock: Clock | None = None, spool: Spool | None = None, deadline_s: float = 10
    ) -> None:
        self._client = Client(address, deadline_s=deadline_s)
        self._terms = RemoteTerms(self._client)
        store = RemoteStore(self._client)
        super().__init__(store, self._terms, clock, spool=spool)
        self.reports = RemoteReports(self._client, store, self._terms, self.workflows, self.clock)
        self.elsewhere = RemoteAccess(self._client, self.clock)
        self._readers: ThreadPoolExecutor | None = None
        self._readers_pid = 0

    @property
    def secrets(self) -> Secrets:
        """Raise OnlyLocal: a server keeps its secrets to itself."""
        self._only_local()

    def create(self) -> bool:
        """Return False: a server has its ledger. Its prices are asked for here, so that an outage finds them."""
        self._terms.look()
        return False

    async def create_async(self) -> bool:
        """Return False, as `create` does."""
        await self.know_prices_async()
        return False

    def _heard(self, receipt: Receipt, kind: type[C]) -> C:
        if isinstance(receipt, ChargeReceipt):
            self._terms.doubt(receipt.edition)
        return super()._heard(receipt, kind)

    async def read_async(self, read: Callable[[], T]) -> T:
        """Return what a read returns, run in a thread of this engine: it waits for a server."""
        if self._readers is None or self._readers_pid != os.getpid():
            self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="callfare-remote")
            self._readers_pid = os.getpid()
        return await asyncio.get_running_loop().run_in_executor(self._readers, read)

    async def know_prices_async(self) -> None:
        """Make sure that asking what a call may cost will not block the loop."""
        if self._terms.is_due:
            await self.read_async(self._terms.look)

    def verify(self, progress: Callable[[str, int], None] | None = None) -> Verification:
        """Have the server recompute its ledger, and return every row that is wrong.

        Raises Forbidden without the scope keys:admin, Conflict while it does so for somebody else.
        """
        return verified(self._client, progress)

    def _only_local(self) -> NoReturn:
        self.store.facts()
        raise AssertionError

    def reprice(self) -> Repriced:
        """Have the server rate all unpriced calls again under its present book."""
        facts = self._client.post("/reprice", {})
        return Repriced(
            priced=facts["priced"], still_unpriced=facts["stillUnpriced"], credits=Credits(facts["credits"])
        )

    def close(self) -> None:
        """Send what waits and give the connections back."""
        super().close()
        readers, self._readers = self._readers, None
        if readers is not None and self._readers_pid == os.getpid():
            # This may be one of its own threads.
            readers.shutdown(wait=False)


def refuse_settings(
    *,
    books: tuple[str | Path, ...],
    seed_prices: bool,
    markup: object,
    require_user: bool,
    catalogue: str | Path | None = None,
) -> None:
    """Return when nothing is set here that is the server's to say.

    Raises Misconfigured.
    """
    for name, is_set in (
        ("books", bool(books)),
        ("seed_prices", not seed_prices),
        ("catalogue", catalogue is not None),
        ("markup", markup != 1),
        ("require_user", require_user),
    ):
        if is_set:
            raise Misconfigured(f"{name} is the server's to say: set it where the server runs", param=name)


def check_deadline(deadline_s: object) -> float:
    """Return how long an answer may take. Raises InvalidInput unless it is from 1 to 600 seconds."""
    if isinstance(deadline_s, bool) or not isinstance(deadline_s, int) or not 1 <= deadline_s <= 600:  # noqa: PLR2004
        raise InvalidInput("deadline_s must be a whole number from 1 to 600", param="deadline_s")
    return deadline_s
