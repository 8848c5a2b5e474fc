"""Routes for whoever runs the server: whether it lives, whether it can work, what it counts, and the export of rows."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from itertools import islice
from typing import Annotated, Any, Literal

from fastapi import Query
from pydantic import AwareDatetime
from starlette.responses import Response, StreamingResponse

from callfare.engine.engine import Engine
from callfare.engine.exported import KINDS
from callfare.engine.exporting import Export
from callfare.server.caller import Caller
from callfare.server.metrics import MEDIA_TYPE
from callfare.server.routes_reading import UserId
from callfare.server.routing import Routes, followed
from callfare.server.rules import API
from callfare.store.protocol import UserOf

_LINES_PER_PART = 500
_OK = b'{"status":"ok"}'


async def check_health(caller: Caller) -> Response:
    """Say that the server lives, and nothing else."""
    del caller
    return Response(_OK, media_type="application/json")


async def check_ready(caller: Caller) -> Response:
    """Say that the ledger answers."""
    engine = caller.engine
    await engine.read_async(lambda: engine.store.select(UserOf(account_id=0)))
    return Response(_OK, media_type="application/json")


async def show_metrics(caller: Caller) -> Response:
    """Tell what the server counts of itself, as Prometheus reads it."""
    return Response(caller.served.metrics.text(), media_type=MEDIA_TYPE)


async def export_rows(
    caller: Caller,
    *,
    user_id: UserId = None,
    format: Literal["csv", "jsonl"] = "csv",
    since: Annotated[AwareDatetime | None, Query(description="Only rows from then on.")] = None,
    until: Annotated[AwareDatetime | None, Query(description="Only rows before then.")] = None,
    after: Annotated[str | None, Query(description="Only rows after this key, a JSON list; without a header.")] = None,
) -> Response:
    """Tell all rows of a kind as CSV or JSON Lines, in the order of their keys, as the ledger stands now.

    Kinds: users, accounts, grants, runs, jobs, transfers, entries, events, raw_usage. Amounts are exact. One that was
    cut off goes on after the last whole row that came.
    """
    export = Export(caller.path("kind"), format=format, user=caller.user(user_id), since=since, until=until)
    media_type = "text/csv" if format == "csv" else "application/jsonl"
    name = f'attachment; filename="{export.kind.name}.{format}"'
    parts = _parts(caller.engine, export, None if after is None else export.checked_key(after))
    # What is wrong with the ledger is said before the answer begins; after that, an end cut short has to tell it.
    first = await anext(parts)
    return StreamingResponse(followed(first, parts), media_type=media_type, headers={"Content-Disposition": name})


async def _parts(engine: Engine, export: Export, after: tuple[Any, ...] | None) -> AsyncGenerator[bytes, None]:
    """Yield the lines of an export in parts, each read in a thread, all of one instant."""
    lines = export.lines(engine.store, after)
    try:
        part = (export.head() if after is None else b"") + await engine.read_async(lambda: _next(lines))
        yield part
        while part := await engine.read_async(lambda: _next(lines)):
            yield part
    finally:
        # Ends the read of that instant, also when nobody waits for the rest.
        await engine.read_async(lines.close)  # type: ignore[attr-defined]  # lines are a generator


def _next(lines: Iterator[bytes]) -> bytes:
    return b"".join(islice(lines, _LINES_PER_PART))


def add_upkeep(routes: Routes) -> None:
    """Add the routes of upkeep."""
    ok = {
        "description": "It is well.",
        "content": {"application/json": {"schema": {"type": "object"}, "example": {"status": "ok"}}},
    }
    text = {"schema": {"type": "string"}}
    routes.add("GET", "/healthz", check_health, answers=ok)
    routes.add("GET", "/readyz", check_ready, answers=ok)
    routes.add("GET", "/metrics", show_metrics, answers={"description": "Counts.", "content": {"text/plain": text}})
    rows = {"description": f"Rows of {', '.join(KINDS)}.", "content": {"text/csv": text, "application/jsonl": text}}
    routes.add("GET", f"{API}/export/{{kind}}", export_rows, answers=rows)
