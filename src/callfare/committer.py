"""The committer: one lane per process and store, where commands that wait together are committed together.

There is no timer: the commit under way is the timer. A lone sync caller applies its command itself while the lane is
free; asyncio callers hand over once per loop tick and are woken once per batch. A cancelled caller cannot hurt the
lane: its command is still applied, and its key makes a retry safe. After a fork the child starts with an empty lane.

The garbage collector and signals run code in the middle of a write, on the writing thread. What that code asks for is
applied after the write, and is not waited for: a thread that waited for its own write would wait for ever.
"""

from __future__ import annotations

import asyncio
import os
import queue
import threading
import weakref
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

from callfare.errors import CallfareError, LedgerNotFound, LedgerUnavailable, Misconfigured
from callfare.finished import Finished, Spooled

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from callfare.ledger.commands import Command
    from callfare.ledger.receipts import Receipt
    from callfare.store.protocol import Store

    Answer = Receipt | BaseException
    Asked = Command | Finished


class _Waiter:
    """One sync caller's command, and its wake-up."""

    __slots__ = ("_ready", "answer", "commands")

    def __init__(self, command: Asked) -> None:
        self.commands: Sequence[Asked] = (command,)
        self.answer: Answer | None = None
        self._ready = threading.Lock()
        self._ready.acquire()

    def deliver(self, answers: Sequence[Answer]) -> None:
        """Wake the caller with its answer."""
        self.answer = answers[0]
        self._ready.release()

    def wait(self) -> Receipt:
        """Return the answer once it is there, or raise it."""
        self._ready.acquire()
        return _result(self.answer)


class _LeftBehind:
    """A command that was asked for from inside a write. Nobody waits for its answer."""

    __slots__ = ("commands",)

    def __init__(self, command: Asked) -> None:
        self.commands: Sequence[Asked] = (command,)

    def deliver(self, answers: Sequence[Answer]) -> None:
        """Drop the answer: its caller was told to repeat the command."""


class _Tick:
    """What one event loop handed over in one tick: commands, and the futures that wait for them."""

    __slots__ = ("_futures", "_loop", "commands")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.commands: list[Asked] = []
        self._futures: list[asyncio.Future[Receipt]] = []

    def add(self, command: Asked) -> asyncio.Future[Receipt]:
        """Add a command, and return the future of its answer."""
        future: asyncio.Future[Receipt] = self._loop.create_future()
        self.commands.append(command)
        self._futures.append(future)
        return future

    def deliver(self, answers: Sequence[Answer]) -> None:
        """Wake the loop once with all answers. A loop that has closed meanwhile no longer waits for any."""
        try:
            self._loop.call_soon_threadsafe(self._resolve, answers)
        except RuntimeError:
            return

    def _resolve(self, answers: Sequence[Answer]) -> None:
        for future, answer in zip(self._futures, answers, strict=True):
            if future.done():
                continue
            if isinstance(answer, BaseException):
                future.set_exception(answer)
            else:
                future.set_result(answer)


class _Many:
    """The commands of one asyncio caller that belong together, and the one future that waits for all of them."""

    __slots__ = ("_future", "_loop", "commands")

    def __init__(self, loop: asyncio.AbstractEventLoop, commands: Sequence[Asked]) -> None:
        self._loop = loop
        self.commands = commands
        self._future: asyncio.Future[list[Answer]] = loop.create_future()

    def deliver(self, answers: Sequence[Answer]) -> None:
        """Wake the caller with its answers. A loop that has closed meanwhile no longer waits."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._resolve, list(answers))

    def _resolve(self, answers: list[Answer]) -> None:
        if not self._future.done():
            self._future.set_result(answers)

    async def wait(self) -> list[Answer]:
        """Return the answers once they are there."""
        return await self._future


_Handed = _Waiter | _LeftBehind | _Tick | _Many


class Committer:
    """The lane in front of one store. Safe to share between threads and event loops."""

    def __init__(self, store: Store, keep: Callable[[Sequence[Finished]], bool] | None = None) -> None:
        self._store = store
        # Keeps finished calls that the ledger could not take, and returns whether it did. None where there is no spool.
        self._keep = keep
        self._is_closed = False
        self._has_answered = False
        self._start_afresh()
        _COMMITTERS.add(self)

    def restart(self) -> None:
        """Begin again in a forked child: what waits belongs to the parent, and so does the thread."""
        self._start_afresh()

    def _start_afresh(self) -> None:
        self._pid = os.getpid()
        self._lane = threading.Lock()
        self._queue: deque[_Handed] = deque()
        # One for each hand-over. A SimpleQueue, because a Semaphore hangs when it is released in the middle of itself.
        self._work: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._inside: set[int] = set()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._ticks: dict[asyncio.AbstractEventLoop, _Tick] = {}

    def _after_fork(self) -> None:
        if os.getpid() != self._pid:
            self._start_afresh()

    def commit(self, command: Asked) -> Receipt:
        """Apply a command and return its receipt once it is durable; `Spooled` for a finished call that was kept.

        Raises the command's refusal; LedgerUnavailable when the store did not answer, and in code that the garbage
        collector or a signal runs in the middle of a write of this thread: then the command is applied after it.
        """
        self._after_fork()
        if threading.get_ident() in self._inside:
            self._leave_behind(command)
        waiter = _Waiter(command)
        self._enter(lambda: self._take_turn(waiter))
        return waiter.wait()

    def _take_turn(self, waiter: _Waiter) -> None:
        """Apply a sync caller's command on its own thread while the lane is free, else hand it over."""
        if self._queue or self._is_closed or self._lane.locked():
            self._hand_over(waiter)
            return
        # Whoever was faster is waited for. `with` alone takes and gives back: no signal's exception comes between.
        with self._lane:
            waiter.deliver(self._answers(list(waiter.commands)))

    def _enter(self, work: Callable[[], None]) -> None:
        """Do what holds the lane, or is about to, on a thread marked so: here it can wait for nobody else's turn."""
        me = threading.get_ident()
        if me in self._inside:
            work()
            return
        try:
            # Marked before it holds anything, and unmarked after: whatever runs in between is seen to be inside.
            self._inside.add(me)
            work()
        finally:
            self._inside.discard(me)
            if self._queue and (self._thread is None or self._is_closed):
                self._serve_here()

    def _leave_behind(self, command: Asked) -> NoReturn:
        self._queue.append(_LeftBehind(command))
        self._work.put(None)
        raise LedgerUnavailable("asked from inside a write; it will be applied after it, repeat with the same key")

    def _serve_here(self) -> None:
        """Apply what was left behind where no thread will."""
        self._enter(self._serve_once)

    def _serve_once(self) -> None:
        with self._lane:
            self._serve_some()

    async def commit_async(self, command: Asked) -> Receipt:
        """Apply a command and return its receipt once it is durable, without blocking the loop.

        A cancelled caller's command is still applied. Raises as `commit` does.
        """
        self._after_fork()
        if threading.get_ident() in self._inside:
            self._leave_behind(command)
        return await self._ticking(command)

    async def commit_many_async(self, commands: Sequence[Asked]) -> list[Answer]:
        """Apply commands in their order and return a receipt or a refusal for each, once they are durable.

        A cancelled caller's commands are still applied. Raises LedgerUnavailable when none was taken.
        """
        self._after_fork()
        many = _Many(asyncio.get_running_loop(), commands)
        self._enter(lambda: self._hand_over(many))
        return await many.wait()

    def leave(self, command: Command) -> None:
        """Have a command applied for an asyncio caller who has gone; nobody hears what became of it."""
        self._after_fork()
        self._ticking(command).add_done_callback(_heard_by_nobody)

    def _ticking(self, command: Asked) -> asyncio.Future[Receipt]:
        loop = asyncio.get_running_loop()
        tick = self._ticks.get(loop)
        if tick is None:
            fresh = _Tick(loop)
            tick = self._ticks.setdefault(loop, fresh)
            if tick is fresh:
                loop.call_soon(self._end_tick, loop)
        return tick.add(command)

    def _end_tick(self, loop: asyncio.AbstractEventLoop) -> None:
        tick = self._ticks.pop(loop)
        try:
            self._enter(lambda: self._hand_over(tick))
        except CallfareError as error:
            tick.deliver([error for _ in tick.commands])

    def _hand_over(self, waiter: _Waiter | _Tick | _Many) -> None:
        # Started first: when there can be no thread, nothing may be left waiting for one.
        if self._thread is None and not self._is_closed:
            self._start_thread()
        self._queue.append(waiter)
        self._work.put(None)
        # Read after the append: whoever closes meanwhile either has the thread take this one, or is seen here.
        if self._is_closed:
            self._withdraw(waiter)

    def _withdraw(self, waiter: _Waiter | _Tick | _Many) -> None:
        """Refuse a hand-over that came after the end, unless the thread has taken it up all the same."""
        try:
            self._queue.remove(waiter)
        except ValueError:
            return
        waiter.deliver([_closed() for _ in waiter.commands])

    def _start_thread(self) -> None:
        with self._starting:
            if self._thread is None:
                _refuse_late_gevent()
                thread = threading.Thread(target=self._serve, name="callfare-committer", daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:
                    raise LedgerUnavailable(f"no thread can be started to write to the ledger: {error}") from None
                self._thread = thread

    def _serve(self) -> None:
        self._enter(self._serve_until_closed)

    def _serve_until_closed(self) -> None:
        while True:
            self._work.get()
            self._serve_once()
            if self._is_closed and not self._queue:
                return

    def _serve_some(self) -> None:
        """Apply what waits, up to about one batch, and wake those who wait for it."""
        waiters = self._gather()
        if waiters:
            commands = [command for waiter in waiters for command in waiter.commands]
            self._deliver(waiters, self._answers(commands))

    def _gather(self) -> list[_Handed]:
        """Return those who wait, in order, up to about one batch of the store."""
        waiters: list[_Handed] = []
        count = 0
        while self._queue and count < self._store.max_batch:
            waiter = self._queue.popleft()
            waiters.append(waiter)
            count += len(waiter.commands)
        return waiters

    @staticmethod
    def _deliver(waiters: Sequence[_Handed], answers: Sequence[Answer]) -> None:
        start = 0
        for waiter in waiters:
            end = start + len(waiter.commands)
            waiter.deliver(answers[start:end])
            start = end

    def _answers(self, asked: list[Asked]) -> list[Answer]:
        """Return an answer for each command, applied in batches no larger than the store takes."""
        size = self._store.max_batch
        commands = [one.command if isinstance(one, Finished) else one for one in asked]
        answers: list[Answer] = []
        for start in range(0, len(commands), size):
            answers += answers_of(self._store, commands[start : start + size])
        if self._keep is not None:
            self._keep_unwritten(self._keep, asked, answers)
        return answers

    def _keep_unwritten(
        self, keep: Callable[[Sequence[Finished]], bool], asked: list[Asked], answers: list[Answer]
    ) -> None:
        """Have the finished calls kept that found no ledger: whoever waits for them, or no longer does.

        One that has never been there is not away: its address is wrong, and whoever gave it must hear of that.
        """
        away = LedgerUnavailable | LedgerNotFound if self._has_answered else LedgerUnavailable
        self._has_answered |= not all(isinstance(answer, LedgerUnavailable | LedgerNotFound) for answer in answers)
        unwritten = {
            place: one
            for place, (one, answer) in enumerate(zip(asked, answers, strict=True))
            if isinstance(answer, away) and isinstance(one, Finished)
        }
        if unwritten and keep(list(unwritten.values())):
            for place in unwritten:
                answers[place] = Spooled()

    def close(self) -> None:
        """Apply what waits, then end the thread. Later commands are refused.

        In the middle of a write of this thread it returns at once, and the thread ends by itself.
        """
        self._after_fork()
        self._is_closed = True
        self._work.put(None)
        thread = self._thread
        if thread is not None and threading.get_ident() not in self._inside:
            thread.join()


def answers_of(store: Store, batch: Sequence[Command]) -> list[Answer]:
    """Return an answer for each command of a batch; where the batch shows a fault, each is applied by itself."""
    try:
        return list(store.apply(batch))
    except CallfareError as error:
        if len(batch) == 1 or isinstance(error, LedgerUnavailable):
            return [error for _ in batch]
    except Exception as fault:  # noqa: BLE001 - a fault of ours must reach the caller whose command showed it
        if len(batch) == 1:
            return [fault]
    return [answer for command in batch for answer in answers_of(store, [command])]


_COMMITTERS: weakref.WeakSet[Committer] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for committer in list(_COMMITTERS):
        committer.restart()


# Before any thread of the child can hand a command over; the check in `_after_fork` is for forks in C.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def _closed() -> LedgerUnavailable:
    return LedgerUnavailable("the ledger was closed; open it again")


def _heard_by_nobody(future: asyncio.Future[Receipt]) -> None:
    if not future.cancelled():
        future.exception()


def _result(answer: Answer | None) -> Receipt:
    if isinstance(answer, BaseException):
        raise answer
    assert answer is not None
    return answer


def _refuse_late_gevent() -> None:
    """Refuse a process whose threads were replaced by gevent after callfare was imported."""
    current: Callable[[], object] = threading.Lock
    if getattr(current, "__module__", "").startswith("gevent") and not isinstance(_FIRST_LOCK, type(current())):
        raise Misconfigured("gevent patched threads after callfare was imported; call monkey.patch_all() first")


_FIRST_LOCK = threading.Lock()
