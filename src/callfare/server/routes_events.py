"""Intake of usage: one event, a batch with an answer for each of its events, and both as CloudEvents."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json
from starlette.responses import Response

from callfare.answers import Charge
from callfare.engine.on_behalf import Told
from callfare.engine.requests import Call
from callfare.errors import CallfareError, InvalidInput
from callfare.ids import made_key
from callfare.server.caller import Caller, invalid, read
from callfare.server.limits import BATCH_EVENTS_MAX
from callfare.server.refusals import facts_of
from callfare.server.routes_writing import replayed
from callfare.server.routing import Routes, answer_facts
from callfare.server.rules import API
from callfare.server.wire import calls
from callfare.server.wire.asked import CloudEvent, UsageEvent

EVENT = TypeAdapter(UsageEvent)
EVENTS = TypeAdapter(list[UsageEvent])
CLOUD_EVENT = TypeAdapter(CloudEvent)
CLOUD_EVENTS = TypeAdapter(list[CloudEvent])
_PARTS = TypeAdapter(list[dict[str, object]])
CLOUD = "application/cloudevents+json"
CLOUD_BATCH = "application/cloudevents-batch+json"
ASKS: TypeAdapter[object] = TypeAdapter(UsageEvent | list[UsageEvent])
_BATCH_KEY_LENGTH_MAX = 200


async def record_events(caller: Caller) -> Response:
    """Record calls that were made, and charge them: one event, or a list of up to 1,000 with an answer for each.

    What is answered is durable. An event stands under its `key`, its `step` with its `ordinal`, or its `responseId`;
    one that has none of them under the Idempotency-Key, in a batch with its place. What nothing covers becomes debt.
    """
    body, kind = await caller.body(), caller.media_type
    if kind == CLOUD_BATCH or (kind != CLOUD and body.lstrip()[:1] == b"["):
        return await _batch(caller, body, is_cloud=kind == CLOUD_BATCH)
    event = _of_cloud(read(CLOUD_EVENT, body)) if kind == CLOUD else read(EVENT, body)
    (found,) = await caller.behalf.record([_told(caller, event, caller.key)], caller.note())
    if isinstance(found, CallfareError):
        caller.served.metrics.took(recorded=0, refused=1)
        raise found
    caller.served.metrics.took(recorded=1, refused=0)
    return answer_facts(calls.charge_facts(found), headers=replayed(found.key, is_replay=found.is_replay))


async def _batch(caller: Caller, body: bytes, *, is_cloud: bool) -> Response:
    key = caller.key
    if key is not None and len(key) > _BATCH_KEY_LENGTH_MAX:
        raise InvalidInput(f"the key of a batch has at most {_BATCH_KEY_LENGTH_MAX} characters", param="key")
    events = _events(body, is_cloud=is_cloud)
    if not 1 <= len(events) <= BATCH_EVENTS_MAX:
        raise InvalidInput(f"a batch holds 1 to {BATCH_EVENTS_MAX} events; this one {len(events)}", param="body")
    turns = caller.behalf.turns
    numbered = [(event, None if key is None else f"{key}/{place}") for place, event in enumerate(events)]
    told = await turns.each(lambda one: _told(caller, *one), numbered)
    found = await caller.behalf.record(told, caller.note())
    refused = sum(isinstance(one, CallfareError) for one in found)
    caller.served.metrics.took(recorded=len(found) - refused, refused=refused)
    batch = {
        "recorded": len(found) - refused,
        "refused": refused,
        "results": await turns.each(lambda one: _result(one, caller.request_id), found),
    }
    is_replay = not refused and all(isinstance(one, Charge) and one.is_replay for one in found)
    return answer_facts(batch, headers=None if key is None else replayed(key, is_replay=is_replay))


def _events(body: bytes, *, is_cloud: bool) -> list[UsageEvent | InvalidInput]:
    """Return the events of a batch; one that cannot be understood is refused by itself."""
    try:
        if is_cloud:
            return [_of_cloud(event) for event in CLOUD_EVENTS.validate_json(body)]
        return [*EVENTS.validate_json(body)]
    except ValidationError:
        return [_event(to_json(part), is_cloud=is_cloud) for part in read(_PARTS, body)]


def _event(body: bytes, *, is_cloud: bool) -> UsageEvent | InvalidInput:
    try:
        return _of_cloud(CLOUD_EVENT.validate_json(body)) if is_cloud else EVENT.validate_json(body)
    except ValidationError as error:
        return invalid(error)


def _of_cloud(event: CloudEvent) -> UsageEvent:
    """Return the usage event that a CloudEvent carries; its source and id are its key."""
    inner = event.carried
    given = {
        "user_id": inner.user_id if inner.user_id is not None else event.subject,
        "at": inner.at if inner.at is not None else event.time,
        "key": inner.key if inner.key is not None else made_key("event", event.source, event.id)[:255],
    }
    return inner.model_copy(update=given)


def _told(caller: Caller, event: UsageEvent | InvalidInput, key: str | None) -> Told | CallfareError:
    if isinstance(event, InvalidInput):
        return event
    try:
        user = caller.user(event.user_id)
    except CallfareError as refusal:
        return refusal
    if user is None and event.run_id is None:
        return InvalidInput("name the user as userId, or the run as runId", param="user")
    is_named = event.key is not None or event.step is not None or bool(event.response_id)
    call = Call(
        model=event.model,
        usage=event.usage,
        operation=event.operation or "",
        attributes=event.attributes,
        provider=event.provider or "",
        response_id=event.response_id,
        step=event.step,
        ordinal=event.ordinal,
        key=event.key if is_named else key,
        metadata=event.metadata,
        at=event.at,
    )
    return Told(call=call, user=user, run_id=event.run_id)


def _result(found: Charge | CallfareError, request_id: str) -> dict[str, Any]:
    if isinstance(found, CallfareError):
        return {"status": "refused", "error": facts_of(found, request_id)}
    return {"status": "recorded", "charge": calls.charge_facts(found)}


def add_events(routes: Routes) -> None:
    """Add the route that takes usage."""
    answers = {"description": "A charge, or for a batch an answer for each event.", "model": calls.Charge | calls.Batch}
    routes.add("POST", f"{API}/events", record_events, answers=answers, asks=ASKS)
