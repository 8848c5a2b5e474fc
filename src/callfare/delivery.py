"""Delivery: what the spool keeps goes to the ledger as soon as it answers again, in order, each call once.

A thread tries from time to time while something waits, and ends when nothing does. As long as calls of this process
wait, what finishes later stands behind them: a run must not end before its calls are known. What the ledger refuses is
kept beside the spool for a person; nothing is dropped.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections import defaultdict
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakSet

import msgspec

from callfare.committer import answers_of
from callfare.errors import CallfareError, LedgerCorrupt, LedgerNotFound, LedgerUnavailable, Misconfigured
from callfare.finished import Finished
from callfare.ledger.receipts import BatchReceipt, ChargeReceipt, JobReceipt
from callfare.mutexes import Bell
from callfare.spool_file import Entry
from callfare.store.gate import Gate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from callfare.clock import Clock
    from callfare.committer import Answer
    from callfare.local_run import LocalRun
    from callfare.spool import Spool
    from callfare.spool_file import SpoolFile
    from callfare.store.protocol import Store

_log = logging.getLogger("callfare")

# How long the thread waits before it tries again, the last for as long as the ledger is away.
_DELAYS_MS = (100, 200, 500, 1000, 2000)
_CLOSE_WAIT_S = 30


class Tally(NamedTuple):
    """What one delivery did."""

    delivered: int
    refused: int


class Delivery:
    """The way from one process's spool to its ledger. Safe to share between threads and event loops."""

    def __init__(self, spool: Spool, store: Store, clock: Clock) -> None:
        self.spool = spool
        self.max_batch = store.max_batch
        self._store = store
        self._clock = clock
        self._start_afresh()
        _DELIVERIES.add(self)

    def _start_afresh(self) -> None:
        self._pid = os.getpid()
        self._turn = Gate()
        self._starting = threading.RLock()
        self._wake = Bell()
        self._thread: threading.Thread | None = None
        self._is_away = self._is_closed = False
        # The local views of runs that have usage in the spool, and what guards the counting.
        self._counting = threading.RLock()
        self._views: defaultdict[tuple[int, str], WeakSet[LocalRun]] = defaultdict(WeakSet)

    def restart(self) -> None:
        """Begin again in a forked child: what waits belongs to the parent, and so does the thread."""
        self._start_afresh()

    def _after_fork(self) -> None:
        if os.getpid() != self._pid:
            self._start_afresh()

    # Keeping

    @property
    def has_waiting(self) -> bool:
        """Whether calls of this process wait, so that what finishes now must stand behind them."""
        return self.spool.has_waiting

    @property
    def is_away(self) -> bool:
        """Whether the ledger did not answer when it was last asked, and is being asked again."""
        return self._is_away and self._thread is not None and os.getpid() == self._pid

    def keep(self, finished: Sequence[Finished]) -> bool:
        """Make calls durable that the ledger did not take, and return whether they are."""
        self._after_fork()
        entries = self._counted(finished)
        try:
            self.spool.keep(entries)
        except (OSError, LedgerUnavailable) as error:
            self._lost(finished, error)
            return False
        if not self._is_away:
            _log.warning("the ledger does not answer; finished calls wait in %s until it does", self.spool.folder)
        self._is_away = True
        self.begin()
        return True

    def keep_behind(self, finished: Finished) -> bool:
        """Make a call durable behind those that wait. False when none waits any more: then the ledger can be asked.

        Raises LedgerUnavailable when it cannot be written here either.
        """
        self._after_fork()
        lines = self.spool.hand_in(self._counted([finished]), is_behind=True)
        return self._written(finished, lambda: self.spool.write(lines))

    async def keep_behind_async(self, finished: Finished) -> bool:
        """Make a call durable behind those that wait, as `keep_behind` does. Goes on when its caller is cancelled."""
        self._after_fork()
        lines = self.spool.hand_in(self._counted([finished]), is_behind=True)
        loop = asyncio.get_running_loop()
        writing = loop.run_in_executor(None, self._written, finished, lambda: self.spool.write(lines))
        try:
            return await asyncio.shield(writing)
        except asyncio.CancelledError:
            writing.add_done_callback(lambda done: self._keep_for_nobody(finished, done))
            raise

    def _keep_for_nobody(self, finished: Finished, writing: asyncio.Future[bool]) -> None:
        """Keep a call whose caller has gone before the ledger could be asked for it."""
        if writing.exception() is None and not writing.result():
            _ = asyncio.get_running_loop().run_in_executor(None, self.keep, [finished])

    def _written(self, finished: Finished, write: Callable[[], bool]) -> bool:
        try:
            is_kept = write()
        except (OSError, LedgerUnavailable) as error:
            self._lost([finished], error)
            raise LedgerUnavailable(f"neither the ledger nor its spool can be written: {error}") from error
        if is_kept:
            self.begin()
        elif finished.run is not None:
            finished.run.count_delivered(finished.nanocredits)
        return is_kept

    def _counted(self, finished: Sequence[Finished]) -> list[Entry]:
        """Return calls as they are kept, each counted in its run's view before anybody can deliver it."""
        now_us = self._clock.now_us()
        with self._counting:
            for one in finished:
                if one.run is not None:
                    one.run.count_spooled(one.nanocredits)
                    self._views[one.run.account_id, one.run.run_id].add(one.run)
        return [
            Entry(
                command=one.command,
                at_us=now_us,
                estimate=one.estimate,
                claim=one.claim,
                counts_nanocredits=one.nanocredits,
            )
            for one in finished
        ]

    def _lost(self, finished: Sequence[Finished], error: Exception) -> None:
        """Say the whole of what could be written nowhere, where somebody may still read it."""
        for one in finished:
            if one.run is not None:
                one.run.count_delivered(one.nanocredits)
            text = msgspec.json.encode(one.command).decode()
            _log.error(
                "neither the ledger nor its spool can be written (%s); lost unless taken from here: %s", error, text
            )

    # Delivering

    def begin(self) -> None:
        """Have what waits delivered by a thread, unless one is at it."""
        self._after_fork()
        if self._is_closed:
            return
        thread = threading.Thread(target=self._work, name="callfare-delivery", daemon=True)
        with self._starting:
            if self._thread is not None:
                return
            # Set first: whoever interrupts its start must not start another.
            self._thread = thread
            try:
                thread.start()
            except BaseException as error:
                self._thread = None
                # Python is ending: what waits is for whoever opens the ledger next.
                if not isinstance(error, RuntimeError):
                    raise

    def answered(self) -> None:
        """Take note that the ledger has answered somebody else: there is no need to wait any longer."""
        self._is_away = False
        self._wake.ring()

    def _work(self) -> None:
        tries = 0
        while True:
            if tries or self._is_away:
                self._wake.wait(_DELAYS_MS[min(tries, len(_DELAYS_MS) - 1)] / 1000)
                if self._is_closed:
                    break
            try:
                self.deliver()
            except CallfareError:
                self._is_away = True
            except Exception:  # noqa: BLE001 - nobody else would hear of it, and what waits must be tried again
                _log.exception("what waits in %s could not be delivered", self.spool.folder)
            tries += 1
            if self._is_over():
                return
        self._thread = None

    def _is_over(self) -> bool:
        with self._starting:
            is_over = not self.has_waiting and not self._is_away
            if is_over:
                self._thread = None
                # What interrupted this may have kept a call before that, and then began no thread for it.
                is_over = not self.has_waiting
            if not is_over:
                self._thread = threading.current_thread()
            return is_over

    def deliver(self, progress: Callable[[int], None] | None = None) -> Tally:
        """Give the ledger everything that waits here and that no living process has, and return how much that was.

        progress: called with the number of calls delivered so far. Raises LedgerUnavailable when the ledger is away;
        what it has not answered stays.
        """
        self._after_fork()
        errand = _Errand(self, progress or (lambda _count: None))
        with self._turn.passed():
            if self._is_away:
                errand.probe()
            while (file := self.spool.first_own()) is not None:
                errand.deliver(file, is_own=True)
                # The ledger answers, so whoever is held up here would have waited for it as well.
                with self.spool.held_up() as last:
                    if last is not None:
                        errand.deliver(last, is_own=True)
            for file in self.spool.left_over():
                try:
                    errand.deliver(file, is_own=False)
                except BaseException:
                    file.close()
                    raise
        self._is_away = False
        self._wake.ring()
        with self._counting:
            for key in list(self._views):
                if not any(view.spooled_nanocredits for view in self._views[key]):
                    del self._views[key]
        if errand.delivered:
            _log.info("%d calls that waited in %s were delivered", errand.delivered, self.spool.folder)
        return Tally(errand.delivered, errand.refused)

    def ask(self, batch: Sequence[Entry]) -> list[Answer]:
        """Return the ledger's answers to a batch.

        Raises LedgerUnavailable when it is away.
        """
        answers = answers_of(self._store, [entry.command for entry in batch])
        for answer in answers:
            if _says_away(answer):
                raise LedgerUnavailable(f"the ledger cannot take what waits: {answer}") from None
        return answers

    def tell(self, entry: Entry, answer: Answer, *, is_own: bool) -> None:
        """Have the local view of a run follow the ledger's answer to a call that waited."""
        receipt = answer if isinstance(answer, ChargeReceipt | JobReceipt) else None
        named = receipt or entry.usage
        if named is None or named.account_id is None or named.run_id is None:
            return
        left = entry.counts_nanocredits if is_own else 0
        with self._counting:
            views = list(self._views.get((named.account_id, named.run_id), ()))
        for run in views:
            if receipt is not None:
                run.follow(receipt)
            left = run.count_delivered(left, is_replay=receipt is not None and receipt.is_replay)

    def close(self) -> None:
        """End the thread once it has tried. What still waits is for whoever opens the ledger next."""
        self._after_fork()
        self._is_closed = True
        self._wake.ring()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread() and thread.is_alive():
            # Not for ever: what a signal runs in the middle of a write cannot wait for those who wait for that write.
            thread.join(_CLOSE_WAIT_S)
        with suppress(LedgerUnavailable):
            self.spool.close()


_DELIVERIES: WeakSet[Delivery] = WeakSet()


def _after_fork_in_child() -> None:
    for delivery in list(_DELIVERIES):
        delivery.restart()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


class _Errand:
    """One delivery under way."""

    def __init__(self, delivery: Delivery, progress: Callable[[int], None]) -> None:
        self._delivery = delivery
        self._progress = progress
        self.delivered = self.refused = 0

    def probe(self) -> None:
        """Return when the ledger answers: so long, the file that calls are added to need not end.

        Raises LedgerUnavailable when it is away.
        """
        first = self._delivery.spool.first_waiting()
        if first is not None:
            self._answers([first])

    def deliver(self, file: SpoolFile, *, is_own: bool) -> None:
        """Give the ledger all calls of a file in their order, then remove the file."""
        batch: list[Entry] = []
        for entry in islice(file.entries(), file.answered, None):
            if entry.first is not None:
                # Which charge it corrects, or whose it is, is known once the ledger has answered all before it.
                self._send(file, batch, is_own=is_own)
                batch = []
            batch.append(entry)
            if len(batch) == self._delivery.max_batch or entry.first is not None:
                self._send(file, batch, is_own=is_own)
                batch = []
        self._send(file, batch, is_own=is_own)
        self._delivery.spool.done(file)

    def _send(self, file: SpoolFile, batch: list[Entry], *, is_own: bool) -> None:
        if not batch:
            return
        answers = self._answers(batch)
        refused = [
            msgspec.structs.replace(entry, refusal=_reason(answer))
            for entry, answer in zip(batch, answers, strict=True)
            if isinstance(answer, BaseException)
        ]
        if refused:
            self._delivery.spool.refuse(refused)
            for entry in refused:
                _log.error("a call that waited was refused: %s; see `callfare spool`", entry.refusal)
        for entry, answer in zip(batch, answers, strict=True):
            self._delivery.tell(entry, answer, is_own=is_own)
        file.answered += len(batch)
        self.refused += len(refused)
        self.delivered += len(batch) - len(refused)
        self._progress(self.delivered + self.refused)

    def _answers(self, batch: list[Entry]) -> list[Answer]:
        [first, *_] = batch
        if first.first is None:
            return self._delivery.ask(batch)
        # Asking for an estimate or a claim again writes nothing, and tells under which key it stands, or whose it is.
        [known] = self._delivery.ask([Entry(command=first.first, at_us=first.at_us)])
        if not isinstance(known, ChargeReceipt | BatchReceipt):
            return [known]
        then = Finished(first.command, claim=first.claim).after(known)
        return self._delivery.ask([msgspec.structs.replace(first, command=then.command, estimate=None, claim=None)])


def _says_away(answer: Answer) -> bool:
    """Tell whether an answer is about the ledger as a whole and not about the call: then all wait on."""
    if isinstance(answer, LedgerCorrupt):
        return False
    return isinstance(answer, LedgerUnavailable | LedgerNotFound | Misconfigured | OSError | MemoryError)


def _reason(answer: Answer) -> str:
    if isinstance(answer, CallfareError):
        return f"{answer.code}: {answer.message}"
    return f"fault: {answer!r}"
