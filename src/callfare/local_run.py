"""A process's own view of an open run: what its hold has left, less what calls in flight and in the spool may use.

Parallel calls within one run share it, so that none counts on the same remainder. The ledger decides; this only
saves asking it before every call.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict

from callfare.ledger.receipts import ChargeReceipt, ExtendReceipt, JobReceipt
from callfare.mutexes import new_mutex


class LocalRun:
    """What a handle knows of its run. Safe to share between threads and tasks."""

    def __init__(
        self,
        *,
        store: object,
        account_id: int,
        run_id: str,
        user: str,
        workflow: str,
        held_nanocredits: int,
        used_nanocredits: int,
        expires_at_us: int,
    ) -> None:
        self.store = store
        self.account_id = account_id
        self.run_id = run_id
        self.user = user
        self.workflow = workflow
        # The handle that opened it, for calls that are recorded without naming it.
        self.handle: object = None
        self._held = held_nanocredits
        self._used = used_nanocredits
        self._expires_at_us = expires_at_us
        self._is_over = False
        self._in_flight = 0
        self._spooled = 0
        self._steps: Counter[str] = Counter()
        self._unused: defaultdict[str, list[int]] = defaultdict(list)
        self._gate = new_mutex(self, "_gate")

    @property
    def is_over(self) -> bool:
        """Whether this process has seen the run end."""
        return self._is_over

    @property
    def left_nanocredits(self) -> int:
        """What the hold has left for further calls; never below zero."""
        with self._gate:
            return self._left()

    def _left(self) -> int:
        return 0 if self._is_over else max(0, self._held - self._used - self._spooled - self._in_flight)

    def begin(self, nanocredits: int, now_us: int) -> int:
        """Count a call that may use so much, and return how much the hold falls short of it.

        A call falls short by one at least of a hold that is used up, past its time or given back, so that the ledger
        is asked.
        """
        with self._gate:
            left = 0 if now_us >= self._expires_at_us else self._left()
            self._in_flight += nanocredits
            return max(0, max(nanocredits, 1) - left)

    def end(self, nanocredits: int) -> None:
        """Stop counting a call that `begin` counted."""
        with self._gate:
            self._in_flight -= nanocredits

    @property
    def spooled_nanocredits(self) -> int:
        """What calls have used that wait in the spool, which the ledger does not know of yet."""
        return self._spooled

    def count_spooled(self, nanocredits: int) -> None:
        """Count what a call has used that goes to the spool."""
        with self._gate:
            self._spooled += nanocredits

    def count_delivered(self, nanocredits: int, *, is_replay: bool = False) -> int:
        """Stop counting what was spooled, now that the ledger knows of it, and return what was not counted here.

        is_replay: the ledger had it before, and told nobody; it counts as used until the ledger says what is.
        """
        with self._gate:
            part = min(nanocredits, self._spooled)
            self._spooled -= part
            self._used += part if is_replay else 0
            return nanocredits - part

    def learn(self, *, held_nanocredits: int, used_nanocredits: int, expires_at_us: int) -> None:
        """Take over what an answer of the ledger says.

        Answers may arrive out of order. Whatever changes a hold moves its expiry on, and a call that does not adds to
        what is used; so the answer that lasts longest is the latest, and of those the one that has used most.
        """
        with self._gate:
            is_news = (expires_at_us, used_nanocredits) >= (self._expires_at_us, self._used)
            if is_news:
                self._expires_at_us = expires_at_us
                self._used = used_nanocredits
                self._held = held_nanocredits

    def follow(self, receipt: ChargeReceipt | JobReceipt) -> None:
        """Take over what the ledger's answer to a call of the run says of it; a replay tells nothing new."""
        if receipt.run_id != self.run_id or receipt.is_replay:
            return
        if isinstance(receipt, ChargeReceipt):
            held, used = receipt.held_after_nanocredits, receipt.used_after_nanocredits
        else:
            held, used = receipt.run_held_nanocredits, receipt.run_used_nanocredits
        self.learn(held_nanocredits=held, used_nanocredits=used, expires_at_us=receipt.run_expires_at_us)

    def follow_hold(self, receipt: ExtendReceipt) -> None:
        """Take over what the ledger says of the run's hold after it was extended, renewed or handed over in part."""
        self.learn(
            held_nanocredits=receipt.held_nanocredits,
            used_nanocredits=receipt.used_nanocredits,
            expires_at_us=receipt.expires_at_us,
        )

    def close(self) -> None:
        """Take note that the run has ended: its hold has nothing left for anybody."""
        self._is_over = True

    def next_ordinal(self, step: str) -> int:
        """Return the number of the next call of a step in this process, from 1."""
        with self._gate:
            if self._unused[step]:
                return heapq.heappop(self._unused[step])
            self._steps[step] += 1
            return self._steps[step]

    def return_ordinal(self, step: str, ordinal: int) -> None:
        """Take the number of a call back that was not made or not recorded; the next call of the step has it."""
        with self._gate:
            heapq.heappush(self._unused[step], ordinal)
