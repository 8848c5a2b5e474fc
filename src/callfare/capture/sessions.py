"""Sessions over a web socket, metered: what is asked of the meter as one opens, asks for a response, goes on and ends.

The rule: a session opens, and goes on, only while what its last response cost is there once more, for the server may
start the next one by itself. A response that the client asks for is admitted like any call. A refusal in mid-session
closes the session, and is raised where its caller reads or sends next. Does no I/O: it yields steps, which the sockets
carry out, in a thread or in an event loop. Knows no provider: a `Talk` says what the messages mean.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Coroutine, Generator, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import Any, Protocol

from callfare.capture.base import LOGGER, Intent, Meter, Ticket, Unharmed
from callfare.capture.leftovers import settle_surely
from callfare.capture.settlements import Settlement, Ticketed
from callfare.errors import CallfareError, UnpricedModel

Message = str | bytes
_METERING = Unharmed("meter a session")


@dataclass(frozen=True, slots=True)
class Spent:
    """What one message says was used.

    intent: the call it was, for one that nobody was asked about.
    is_turn: whether it was a response, for which a ticket was got; a transcript beside it has none.
    """

    intent: Intent
    settlement: Settlement
    is_turn: bool = True


class Talk(Protocol):
    """What is said in one session. Takes every message once, in order; keeps counts and ids, never text."""

    def opening(self) -> Intent:
        """Return what is known before the socket opens. A model that is not known yet is an empty name."""
        ...

    def standing(self) -> Intent | None:
        """Return what the server may start next by itself, as much as its last response; None where it starts none."""
        ...

    def asked(self, message: Message) -> Intent | None:
        """Return the response that a message to the server asks for, or None."""
        ...

    def unasked(self, message: Message) -> None:
        """Forget the response that a message asked for, which was not sent."""
        ...

    def heard(self, message: Message) -> Sequence[Spent]:
        """Return what a message from the server says was used."""
        ...

    def unfinished(self) -> Sequence[Spent]:
        """Return what the responses have used, as far as can be told, that will not be finished."""
        ...


@dataclass(frozen=True, slots=True)
class Whose:
    """Whose session it is: the user and the run of the context in which it was asked for."""

    meter: Meter
    user: str | None
    context: Context = field(default_factory=copy_context)

    def admit(self, intent: Intent) -> Ticket:
        """Return a ticket. Raises Refused."""
        return self.context.copy().run(self.meter.admit, intent, user=self.user)

    async def admit_async(self, intent: Intent) -> Ticket:
        """Return a ticket, without blocking the event loop. Raises Refused."""
        admitting = self.meter.admit_async(intent, user=self.user)
        task: asyncio.Task[Ticket] = asyncio.get_running_loop().create_task(
            admitting,
            context=self.context.copy(),
        )
        return await task

    def accept(self, intent: Intent) -> Ticket:
        """Return a ticket for what was made already. Raises UserRequired."""
        return self.context.copy().run(self.meter.accept, intent, user=self.user)


@dataclass(frozen=True, slots=True)
class Admit:
    """A step: ask whether a call may be made."""

    intent: Intent

    def do(self, whose: Whose) -> Ticket:
        """Return its ticket. Raises Refused."""
        return whose.admit(self.intent)

    async def do_async(self, whose: Whose) -> Ticket:
        """Return its ticket. Raises Refused."""
        return await whose.admit_async(self.intent)


@dataclass(frozen=True, slots=True)
class Settle:
    """A step: put down what was used. ticket: None for what nobody was asked about."""

    ticket: Ticket | None
    spent: Spent

    def do(self, whose: Whose) -> None:
        """Settle, pend or release."""
        ending = Ticketed(self.ticket or whose.accept(self.spent.intent))
        settle_surely(lambda: ending.apply(self.spent.settlement))

    async def do_async(self, whose: Whose) -> None:
        """Settle, pend or release."""
        await Ticketed(self.ticket or whose.accept(self.spent.intent)).apply_async(self.spent.settlement)


Steps = Generator[Admit | Settle, Any, Any]


def carry_out(steps: Steps, whose: Whose) -> Any:
    """Carry out steps one after another; return what they lead to, or raise what they do not bear."""
    resume: Any = steps.send
    given: object = None
    while True:
        try:
            step: Admit | Settle = resume(given)
        except StopIteration as end:
            return end.value
        try:
            given, resume = step.do(whose), steps.send
        except Exception as error:  # noqa: BLE001 - the steps say what becomes of it
            given, resume = error, steps.throw


async def carry_out_async(steps: Steps, whose: Whose, given: object = None) -> Any:
    """As `carry_out`, without blocking the event loop. What was used is put down even if the wait is cancelled."""
    resume: Any = steps.send
    while True:
        try:
            step: Admit | Settle = resume(given)
        except StopIteration as end:
            return end.value
        try:
            given, resume = await step.do_async(whose), steps.send
        except asyncio.CancelledError:
            if isinstance(step, Settle):
                # It was handed over before it was waited for; what follows it must not be lost either.
                _ = keep(carry_out_async(steps, whose))
            raise
        except Exception as error:  # noqa: BLE001 - the steps say what becomes of it
            given, resume = error, steps.throw


def keep(work: Coroutine[Any, Any, object]) -> asyncio.Future[object]:
    """Have work done in the event loop, which holds its tasks only weakly."""
    doing: asyncio.Future[object] = asyncio.ensure_future(work)
    _KEPT.add(doing)
    doing.add_done_callback(_KEPT.discard)
    return doing


_KEPT: set[asyncio.Future[object]] = set()


class Session:
    """One session: the tickets it holds, and whether it may go on. Safe in threads.

    refusal: why it may not go on; None while it may.
    """

    __slots__ = ("_asked", "_is_leaving", "_is_over", "_mutex", "_pid", "_standing", "_talk", "refusal")

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self._asked: deque[Ticket] = deque()
        self._standing: Ticket | None = None
        self._is_leaving = self._is_over = False
        self._mutex = threading.RLock()
        self._pid = os.getpid()
        self.refusal: Exception | None = None

    @property
    def is_ours(self) -> bool:
        """Whether this process opened it, and it is not settled yet: what a forked child drops is its parent's."""
        return not self._is_over and self._pid == os.getpid()

    def opening(self) -> Steps:
        """Ask whether the session may be opened. Raises Refused.

        One whose model nobody knows yet is asked about again when the server tells it.
        """
        self.refusal = None
        self._is_leaving = self._is_over = False
        intent = self._talk.opening()
        try:
            ticket = yield Admit(intent)
        except UnpricedModel:
            if intent.model:
                raise
            return
        if intent.model and self._talk.standing() is not None:
            self._stand_on(ticket)
        else:
            ticket.release()

    def sending(self, message: Message) -> Steps:
        """Ask whether a message may be sent; True for one that asks for a response. Raises Refused for those alone."""
        intent = None
        with _METERING:
            intent = self._talk.asked(message)
        if intent is None:
            return False
        # What the server may start next is this one.
        self._let_go()
        try:
            ticket = yield Admit(intent)
        except Exception:
            with _METERING:
                self._talk.unasked(message)
            yield from self._stand()
            raise
        with self._mutex:
            self._asked.append(ticket)
        return True

    def unsent(self, message: Message) -> None:
        """Let the response go that was asked for last: its message was not sent."""
        with _METERING:
            self._talk.unasked(message)
        with self._mutex:
            ticket = self._asked.pop() if self._asked else None
        if ticket is not None:
            ticket.release()

    def hearing(self, message: Message) -> Steps:
        """Put down what a message says was used, and ask whether the session may go on."""
        spent: Sequence[Spent] = ()
        with _METERING:
            spent = self._talk.heard(message)
        for one in spent:
            yield from self._settled(one)
        yield from self._stand()

    def leave(self) -> None:
        """Take note that the session is being closed: nothing further is asked for it."""
        self._is_leaving = True

    def ending(self) -> Steps:
        """Put down what was not finished, and let go of everything else."""
        with self._mutex:
            was_over, self._is_over, self._is_leaving = self._is_over, True, True
        if was_over:
            return
        spent: Sequence[Spent] = ()
        with _METERING:
            spent = self._talk.unfinished()
        for one in spent:
            yield from self._settled(one)
        self._let_go()
        with self._mutex:
            asked = [*self._asked]
            self._asked.clear()
        for ticket in asked:
            ticket.release()

    def _settled(self, spent: Spent) -> Steps:
        ticket = self._taken() if spent.is_turn else None
        if ticket is None and spent.settlement.kind == "release":
            return
        with _METERING:
            yield Settle(ticket, spent)

    def _stand(self) -> Steps:
        """Ask for as much as the last response cost, for the next one, unless something is held already."""
        if self._standing is not None or self._asked or self._is_leaving or self.refusal is not None:
            return
        intent = self._talk.standing()
        if intent is None or not intent.model:
            return
        try:
            ticket = yield Admit(intent)
        except CallfareError as refusal:
            self.refusal = refusal
        except Exception:  # noqa: BLE001 - our fault is no reason to end the caller's session
            LOGGER.exception("callfare could not ask whether a session may go on; it goes on")
        else:
            self._stand_on(ticket)

    def _stand_on(self, ticket: Ticket) -> None:
        with self._mutex:
            former, self._standing = self._standing, ticket
        if former is not None:
            former.release()

    def _let_go(self) -> None:
        with self._mutex:
            former, self._standing = self._standing, None
        if former is not None:
            former.release()

    def _taken(self) -> Ticket | None:
        """Return the ticket of the response that ended: of the one asked for first, or of the server's own."""
        with self._mutex:
            if self._asked:
                return self._asked.popleft()
            ticket, self._standing = self._standing, None
            return ticket
