"""Has something done in the middle of something else, on the same thread: as a signal's handler does, or a collection.

Each function is the whole of one process. What strikes does so once, at one line of callfare's or of the standard
library's, and the next time some lines later, until there is none left.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from callfare import Callfare
from callfare.errors import CallfareError
from tests.spool.away import MovedFile
from tests.support.serving import engine_on, served

IMAGE = {"model": "gpt-image-1", "usage": {"images": 1}, "attributes": {"size": "1024x1024"}}
_WITHIN = ("/callfare/", "/threading.py", "/contextlib.py", "/_weakrefset.py", "/weakref.py", "/queue.py")
_HANGS_S = 60

Deed = Callable[[], object]


class Strike:
    """A trace function that does a deed once, at the line of this number."""

    def __init__(self, number: int, deed: Deed, within: tuple[str, ...]) -> None:
        self._within = within
        self._left = number
        self._deed = deed
        self.place = ""

    def __call__(self, frame: FrameType, event: str, _: object) -> Any:
        """Follow what may be struck."""
        return self._line if any(part in frame.f_code.co_filename for part in self._within) else None

    def _line(self, frame: FrameType, event: str, _: object) -> Any:
        if event == "line" and not self.place:
            self._left -= 1
            if self._left < 0:
                sys.settrace(None)
                self.place = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
                # Refused it may be, for it comes in the middle of a write.
                with suppress(CallfareError):
                    self._deed()
        return self._line


def _struck(act: Deed, strike: Strike, hangs_s: int) -> None:
    """Do something with a strike in its middle, in a thread. When that hangs, say so and end."""

    def run() -> None:
        sys.settrace(strike)
        try:
            with suppress(CallfareError):
                act()
        finally:
            sys.settrace(None)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(hangs_s)
    if thread.is_alive():
        print("hangs")
        os._exit(0)


def _sweep(
    step: int,
    prepare: Callable[[ExitStack, int], tuple[Deed, Deed]],
    *,
    within: tuple[str, ...] = _WITHIN,
    hangs_s: int = _HANGS_S,
) -> None:
    number = 0
    while True:
        with ExitStack() as stack:
            act, deed = prepare(stack, number)
            strike = Strike(number, deed, within)
            _struck(act, strike, hangs_s)
        if not strike.place:
            print(number)
            return
        number += step


def _two_runs(stack: ExitStack, url: str, key: str, **how: str) -> tuple[Callfare, Any, Any]:
    fare = stack.enter_context(Callfare(url, **how))
    fare.grant("alice", 100, key=key)
    return fare, *(fare.open_run("tweet", user="alice", run_id=f"{key}-{name}", hold=20) for name in "ab")


def keep(folder: str, step: str) -> None:
    """Record while the ledger is away; in the middle of that, record for another run."""
    _sweep(int(step), _keeping(folder))


def keep_with_a_lock_that_is_held_once(folder: str) -> None:
    """As `keep`, with a bug planted, and strikes only where that thread starts another."""
    _sweep(5, _keeping(folder, is_planted=True), within=("/threading.py",), hangs_s=3)


def _keeping(folder: str, *, is_planted: bool = False) -> Callable[[ExitStack, int], tuple[Deed, Deed]]:

    def prepare(stack: ExitStack, number: int) -> tuple[Deed, Deed]:
        away = MovedFile(Path(folder) / f"{number}.db")
        fare, one, other = _two_runs(stack, away.url, "k")
        away.begin()
        if is_planted:
            assert fare._engine.delivery is not None
            fare._engine.delivery._starting = threading.Lock()  # type: ignore[assignment]
        return lambda: one.record(**IMAGE), lambda: other.record(**IMAGE)

    return prepare


def deliver(folder: str, step: str) -> None:
    """Deliver what waits; in the middle of that, record for another run."""

    def prepare(stack: ExitStack, number: int) -> tuple[Deed, Deed]:
        away = MovedFile(Path(folder) / f"{number}.db")
        fare, one, other = _two_runs(stack, away.url, "k")
        away.begin()
        one.record(**IMAGE)
        away.end()
        return fare.drain_spool, lambda: other.record(**IMAGE)

    _sweep(int(step), prepare)


def ask_a_server(folder: str, step: str) -> None:
    """Record with a server; in the middle of that, record with it for another run."""
    with served(engine_on(f"sqlite:///{folder}/callfare.db")) as serving:

        def prepare(stack: ExitStack, number: int) -> tuple[Deed, Deed]:
            key = serving.credentials["service"]
            _, one, other = _two_runs(stack, serving.url, f"k{number}", api_key=key)
            return lambda: one.record(**IMAGE), lambda: other.record(**IMAGE)

        _sweep(int(step), prepare)


def read_from_postgres(url: str, step: str) -> None:
    """Read a balance; in the middle of that, read it again."""
    with Callfare(url) as fare:
        fare.grant("alice", 100, key="k")
        _sweep(int(step), lambda *_: (lambda: fare.balance("alice"), lambda: fare.balance("alice")))
