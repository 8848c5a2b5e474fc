"""Routes that write: grants, and runs from their opening to their end."""

from __future__ import annotations

from hashlib import blake2b

from pydantic import TypeAdapter
from starlette.responses import Response

from callfare.engine import shapes
from callfare.errors import InvalidInput
from callfare.ids import base32
from callfare.server.caller import Caller, read
from callfare.server.routing import Routes, answer
from callfare.server.rules import API
from callfare.server.wire import answered, asked

_GRANT = TypeAdapter(asked.Grant)
_OPEN = TypeAdapter(asked.OpenRun)
_EXTEND = TypeAdapter(asked.ExtendRun)
_TOUCH = TypeAdapter(asked.TouchRun)
_CLOSE = TypeAdapter(asked.CloseRun)


def replayed(key: str, *, is_replay: bool) -> dict[str, str]:
    """Return the headers that tell under which key a request stands, and whether this is its first answer again."""
    return {"Idempotency-Key": key} | ({"Idempotent-Replayed": "true"} if is_replay else {})


async def grant_credit(caller: Caller) -> Response:
    """Give a user a lot of credit, which pays older debt first. Needs an Idempotency-Key."""
    key, grant = caller.required_key, read(_GRANT, await caller.body())
    receipt = await caller.behalf.grant(
        caller.one_user(grant.user_id),
        grant.credits,
        key=key,
        source=grant.source,
        expires_at=grant.expires_at,
        note=caller.note(),
    )
    return answer(answered.GrantReceipt.of(receipt), headers=replayed(key, is_replay=receipt.is_replay))


async def open_run(caller: Caller) -> Response:
    """Open a run under a hold; refused before anything is spent when it cannot be covered.

    Its runId is its key: the same id with the same body is the same run. Without one, the id is made from the
    Idempotency-Key.
    """
    run, key = read(_OPEN, await caller.body()), caller.key
    if run.run_id is not None and key not in {None, run.run_id}:
        raise InvalidInput("runId is this request's key: leave Idempotency-Key out, or make it the same", param="key")
    user = caller.one_user(run.user_id)
    run_id = run.run_id if run.run_id is not None or key is None else _run_id(user, key)
    receipt = await caller.behalf.open_run(
        run.workflow_type,
        user=user,
        run_id=run_id,
        hold=run.hold_credits,
        ttl_s=run.ttl_seconds,
        input=run.input,
        note=caller.note(),
    )
    opened = answered.OpenedRun.of(receipt, user=user, workflow=run.workflow_type)
    return answer(opened, headers=replayed(key or "", is_replay=receipt.is_replay) if key else None)


def _run_id(user: str, key: str) -> str:
    """Return the id that a run gets from its user and its key, the same each time."""
    digest = blake2b(f"{len(user)} {user} {key}".encode(), digest_size=16).digest()
    return f"run_{base32(int.from_bytes(digest, 'big'), 26)}"


async def extend_run(caller: Caller) -> Response:
    """Reserve more credit for a run."""
    more, key = read(_EXTEND, await caller.body()), caller.key_or_new
    user = caller.user(more.user_id)
    receipt = await caller.behalf.extend(caller.path("run_id"), more.credits, user=user, key=key, note=caller.note())
    return answer(answered.Hold.of(shapes.hold(receipt)), headers=replayed(key, is_replay=receipt.is_replay))


async def touch_run(caller: Caller) -> Response:
    """Renew a run's hold for its time to live. A repeat is harmless, so its Idempotency-Key changes nothing."""
    touched = read(_TOUCH, await caller.body())
    user = caller.user(touched.user_id)
    receipt = await caller.behalf.touch(caller.path("run_id"), user=user, note=caller.note())
    return answer(answered.Hold.of(shapes.hold(receipt)), headers=replayed(caller.key_or_new, is_replay=False))


async def close_run(caller: Caller) -> Response:
    """Settle a run: capture what it used, give the rest of its hold back. A repeat gets the first answer."""
    end, key = read(_CLOSE, await caller.body()), caller.key
    user = caller.user(end.user_id)
    receipt = await caller.behalf.close_run(caller.path("run_id"), end.outcome, user=user, key=key, note=caller.note())
    return answer(answered.ClosedRun.of(receipt), headers=replayed(receipt.key, is_replay=receipt.is_replay))


def add_writing(routes: Routes) -> None:
    """Add the routes that write."""
    routes.add("POST", f"{API}/grants", grant_credit, answers=answered.GrantReceipt, asks=_GRANT)
    routes.add("POST", f"{API}/runs", open_run, answers=answered.OpenedRun, asks=_OPEN)
    routes.add("POST", f"{API}/runs/{{run_id}}/extend", extend_run, answers=answered.Hold, asks=_EXTEND)
    routes.add("POST", f"{API}/runs/{{run_id}}/touch", touch_run, answers=answered.Hold, asks=_TOUCH)
    routes.add("POST", f"{API}/runs/{{run_id}}/close", close_run, answers=answered.ClosedRun, asks=_CLOSE)
