"""Routes that look a server and its ledger over: what it is and who asks, and its ledger recomputed from history."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from contextlib import suppress
from importlib.metadata import version

import msgspec
from pydantic import TypeAdapter
from starlette.responses import Response, StreamingResponse

from callfare.auth import keys
from callfare.auth.principal import KEY
from callfare.clock import moment_of
from callfare.engine.engine import Engine
from callfare.errors import CallfareError, Conflict
from callfare.ledger.commands import NoteCheck
from callfare.ledger.receipts import CheckReceipt
from callfare.server.caller import Caller, read
from callfare.server.refusals import facts_of
from callfare.server.routing import Routes, answer, followed
from callfare.server.rules import API
from callfare.server.wire import checking
from callfare.server.wire.base import Answer

LINES = "application/jsonl"
_VERIFY = TypeAdapter(checking.Verify)
_encode = msgspec.json.Encoder().encode


async def tell_about(caller: Caller) -> Response:
    """Tell what this server is, what time it has, and what the credential may."""
    engine, who = caller.engine, caller.principal
    key = None
    if who.kind == KEY:
        row = await engine.glance_async(lambda: keys.find_key(engine.store, who.id))
        key = keys.shown(row, engine.clock.now_us())
    return answer(
        checking.About(
            version=version("callfare"),
            audience=caller.served.audience,
            now=moment_of(engine.clock.now_us()),
            asking=checking.Asking.of(who, key),
        )
    )


class Checks:
    """Lets one caller at a time have the ledger recomputed: it keeps a processor busy."""

    def __init__(self) -> None:
        self._gate = asyncio.Lock()

    async def verify(self, caller: Caller) -> Response:
        """Recompute the whole ledger from its history, and tell in lines of JSON how far that is and what is wrong.

        `progress` with a table and its rows; then a `fault` for each of the first hundred rows that are wrong, the
        first of them first; then the `verified`. One that ends without it was cut off, or ended with an `error`.
        """
        read(_VERIFY, await caller.body())
        if self._gate.locked():
            raise Conflict("the ledger is being recomputed for somebody; ask again when that has ended")
        lines = self._lines(caller)
        # What is wrong with the ledger is said before the answer begins; after that, a line has to tell it.
        first = await anext(lines)
        return StreamingResponse(followed(first, lines), media_type=LINES)

    async def _lines(self, caller: Caller) -> AsyncGenerator[bytes, None]:
        async with self._gate:
            await caller.engine.commit_async(NoteCheck(audit=caller.note()), CheckReceipt)
            has_begun = False
            try:
                async for line in _verified(caller.engine):
                    yield line
                    has_begun = True
            except CallfareError as error:
                if not has_begun:
                    raise
                yield _encode({"error": facts_of(error, caller.request_id)}) + b"\n"


async def _verified(engine: Engine) -> AsyncGenerator[bytes, None]:
    """Yield a line for each step of a verification, which ends soon after whoever asked has gone."""
    loop, said, gone = asyncio.get_running_loop(), asyncio.Queue[tuple[str, int] | None](), threading.Event()

    def progress(table: str, rows: int) -> None:
        if gone.is_set():
            raise _Gone
        loop.call_soon_threadsafe(said.put_nowait, (table, rows))

    work = asyncio.ensure_future(engine.read_async(lambda: engine.verify(progress)))
    work.add_done_callback(lambda _: said.put_nowait(None))
    try:
        while (step := await said.get()) is not None:
            yield _line("progress", checking.Progress(table=step[0], rows=step[1]))
        found = await work
    finally:
        gone.set()
        with suppress(_Gone, CallfareError):
            # The next may only begin when this has ended, whoever waits for it.
            await asyncio.shield(work)
    for fault in found.faults:
        yield _line("fault", checking.WrongRow.of(fault))
    yield _line("verified", checking.Verified.of(found))


class _Gone(Exception):
    """Whoever asked does not wait any more."""


def _line(name: str, facts: Answer) -> bytes:
    return b'{"%b":%b}\n' % (name.encode(), facts.body())


def add_checking(routes: Routes) -> None:
    """Add the routes that look over."""
    lines = {"schema": {"type": "string"}}
    told = {
        "description": "How far it is, rows that are wrong, and the outcome, a line each.",
        "content": {LINES: lines},
    }
    routes.add("GET", f"{API}/about", tell_about, answers=checking.About)
    routes.add("POST", f"{API}/verify", Checks().verify, answers=told, asks=_VERIFY)
