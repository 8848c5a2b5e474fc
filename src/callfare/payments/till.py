"""Payments of one installation as a whole: what is asked of them, and the work that goes on beside."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable
from contextlib import suppress

from callfare.clock import US_PER_S
from callfare.errors import CallfareError, NotFound, PaymentsUnavailable
from callfare.payments.desk import Desk
from callfare.payments.events import Message
from callfare.payments.gateway import ObjectGone
from callfare.payments.inbox import CLAIM_S, Inbox
from callfare.payments.orders import Orders
from callfare.payments.reconciling import Reconciler
from callfare.payments.settlement import Settled, Settlement

_log = logging.getLogger("callfare.payments")

# How many messages are worked on at once; how many questions Stripe is asked meanwhile, `asking` says.
_AT_ONCE = 512
# How many wait in this process for that. The others wait in the ledger alone, where any process finds them.
_KEPT_MAX = 4096
_STALE_US = (CLAIM_S - 15) * US_PER_S
_LOOK_S = 5
_PAGES_AT_ONCE = 4
RECONCILE_S = 300


class Till:
    """Buying credits: orders, messages, and what brings them together when messages are lost."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.orders = Orders(desk)
        self.settlement = Settlement(desk)
        self.inbox = Inbox(desk)
        self.reconciler = Reconciler(desk, self.settlement, self.inbox)
        # Messages that were kept and that nobody works on yet, with when they came; and how many work on them.
        self._kept: deque[tuple[int, Message]] = deque()
        self._working = 0
        # Anybody may open the page, and each time Stripe is asked: this many at once, the others are told to wait.
        self._pages = asyncio.Semaphore(_PAGES_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self._loops: list[asyncio.Task[None]] = []

    @property
    def takes_messages(self) -> bool:
        """Whether there is a secret to check messages by; without one the route is off."""
        return bool(self.desk.config.webhook_secrets)

    async def come_back(self, session: str) -> Settled:
        """Settle the checkout that a payer comes back from, without waiting for its message.

        Raises NotFound, PaymentsUnavailable.
        """
        if self._pages.locked():
            raise PaymentsUnavailable("many pages ask at once; this one asks again")
        async with self._pages:
            return await self._come_back(session)

    async def _come_back(self, session: str) -> Settled:
        try:
            found = await self.desk.gateway.session(session)
        except ObjectGone:
            raise NotFound("there is no such checkout", param="session_id") from None
        if found.reference is None or await self.desk.bought(found.reference) is None:
            raise NotFound("there is no such checkout", param="session_id")
        return await self.settlement.order(found.reference, session=session)

    async def take(self, body: bytes, signature: str | None) -> None:
        """Keep a message, and have it worked on beside: Stripe's payer waits for the answer.

        Raises InvalidInput.
        """
        message = await self.inbox.take(body, signature)
        if message is not None:
            self._begin(message)

    def _begin(self, message: Message) -> None:
        if len(self._kept) >= _KEPT_MAX:
            # It is in the ledger, and is found there once its claim has ended.
            return
        self._kept.append((self.desk.now_us, message))
        if self._working < _AT_ONCE:
            self._working += 1
            task = asyncio.get_running_loop().create_task(self._work_on())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _work_on(self) -> None:
        """Work on messages, one after another, until none is left."""
        try:
            while self._kept:
                came_us, message = self._kept.popleft()
                # One that has waited too long is another's by now, or will be: its claim is about to end.
                if self.desk.now_us - came_us < _STALE_US:
                    await self._work(message.id, self.inbox.work(message))
        finally:
            self._working -= 1

    @staticmethod
    async def _work(message_id: str, work: Awaitable[Settled | None]) -> None:
        try:
            await work
        except CallfareError as fault:
            _log.warning("message %s is left for later: %s", message_id, fault.code)
        except Exception:  # noqa: BLE001 - one message must not end the work on all others
            # Its claim ends by itself, and then it is tried again.
            _log.exception("message %s is left for later", message_id)

    async def idle(self) -> None:
        """Return when all messages that were taken have been worked on once."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    # Beside

    def start(self) -> None:
        """Have abandoned messages and lost ones looked for, from now on."""
        loop = asyncio.get_running_loop()
        self._loops = [
            loop.create_task(self._every(_LOOK_S, self.work_due)),
            loop.create_task(self._every(RECONCILE_S, self.reconciler.run)),
        ]

    async def _every(self, seconds: float, work: object) -> None:
        assert callable(work), work
        while True:
            try:
                await work()
            except CallfareError as fault:
                _log.warning("payments: %s: %s", fault.code, fault.message)
            except Exception:  # noqa: BLE001 - the next look may succeed
                _log.exception("payments: looking after what was left has failed")
            await asyncio.sleep(seconds)

    async def work_due(self) -> int:
        """Work on every message that waits and that nobody has, many at once, and return how many there were."""
        count = 0
        while found := await self.inbox.due(_AT_ONCE):
            has = await asyncio.gather(*(self.inbox.claim(message_id) for message_id in found))
            claimed = [message_id for message_id, is_ours in zip(found, has, strict=True) if is_ours]
            await asyncio.gather(*(self._work(one, self.inbox.work_again(one)) for one in claimed))
            count += len(claimed)
            if not claimed:
                break
        return count

    async def stop(self) -> None:
        """End what goes on beside; what was accepted is worked on to its end."""
        for task in self._loops:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        self._loops = []
        with suppress(TimeoutError):
            async with asyncio.timeout(10):
                await self.idle()
        await self.desk.gateway.close()
