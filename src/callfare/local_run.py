"""A process's own view of an open run: what its hold has left, less what calls in flight may still use.

Parallel calls within one run share it, so that none counts on the same remainder. The ledger decides; this only
saves asking it before every call.
"""

from __future__ import annotations

import heapq
import threading
from collections import Counter, defaultdict


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
    ) -> None:
        self.store = store
        self.account_id = account_id
        self.run_id = run_id
        self.user = user
        self.workflow = workflow
        self._held = held_nanocredits
        self._used = used_nanocredits
        self._in_flight = 0
        self._steps: Counter[str] = Counter()
        self._unused: defaultdict[str, list[int]] = defaultdict(list)
        self._gate = threading.Lock()

    @property
    def left_nanocredits(self) -> int:
        """What the hold has left for further calls; never below zero."""
        with self._gate:
            return max(0, self._held - self._used - self._in_flight)

    def begin(self, nanocredits: int) -> int:
        """Count a call that may use so much, and return how much the hold falls short of it."""
        with self._gate:
            left = max(0, self._held - self._used - self._in_flight)
            self._in_flight += nanocredits
            return max(0, nanocredits - left)

    def end(self, nanocredits: int) -> None:
        """Stop counting a call that `begin` counted."""
        with self._gate:
            self._in_flight -= nanocredits

    def learn(self, *, held_nanocredits: int, used_nanocredits: int) -> None:
        """Take over what an answer of the ledger says. Answers may arrive out of order; the furthest counts."""
        with self._gate:
            if used_nanocredits >= self._used:
                self._used = used_nanocredits
                self._held = held_nanocredits

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
