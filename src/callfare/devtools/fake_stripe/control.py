"""The routes under /_control: what a test may see and set. Nothing of them is Stripe's.

GET  /_control/state                what is where: time, counts, settings, violations
POST /_control/state                settings, livemode, timeout_s, redirect_wait_s, stamps_follow_clock
POST /_control/reset                everything is as at the start, endpoints and all
POST /_control/clock                {"advance_s": …} | {"set": …} | {"still": true}
POST /_control/acts/{name}          what payers and banks do; see `acts`
GET  /_control/deliveries           every delivery with its attempts; ?event=, ?type=, ?state=
POST /_control/deliveries/{what}    hold | release | resend | spoil | idle
POST /_control/faults               what goes wrong with the next requests; see `faults`
GET  /_control/events               every event, the oldest first; ?type=
GET  /_control/requests             the requests that came
GET  /_control/violations           what the SDK's types do not allow
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict, replace
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from callfare.devtools.fake_stripe.acts import ACTS
from callfare.devtools.fake_stripe.deliveries import Spoil, pass_time, run_due
from callfare.devtools.fake_stripe.faults import Fault
from callfare.devtools.fake_stripe.refusals import Json, Refusal, invalid
from callfare.devtools.fake_stripe.standin import Standin

Answer = Callable[[Standin, Request, Json], Awaitable[Any]]


async def _state(standin: Standin, _request: Request, told: Json) -> Json:
    world = standin.world
    if "settings" in told:
        world.settings = replace(world.settings, **told["settings"])
    if "livemode" in told:
        world.livemode = bool(told["livemode"])
    if "timeout_s" in told:
        standin.deliveries.timeout_s = told["timeout_s"]
    if "redirect_wait_s" in told:
        standin.redirect_wait_s = told["redirect_wait_s"]
    if "stamps_follow_clock" in told:
        standin.deliveries.stamps_follow_clock = bool(told["stamps_follow_clock"])
    return {
        "now_s": world.now_s,
        "is_still": world.clock.is_still,
        "seed": world.seed,
        "livemode": world.livemode,
        "settings": asdict(world.settings),
        "timeout_s": standin.deliveries.timeout_s,
        "objects": len(world.objects),
        "events": len(world.events),
        "requests": len(standin.api.requests),
        "violations": world.counts["violations"],
    }


async def _reset(standin: Standin, _request: Request, told: Json) -> Json:
    await standin.reset(seed=told.get("seed"))
    return {"reset": True}


async def _clock(standin: Standin, _request: Request, told: Json) -> Json:
    world = standin.world
    if "still" in told:
        world.clock.stand(still=bool(told["still"]))
    until_s = int(told["set"]) if "set" in told else world.now_s + int(told.get("advance_s", 0))
    if until_s < world.now_s:
        raise invalid("time goes forward only", param="set")
    await pass_time(world, standin.deliveries, until_s)
    return {"now_s": world.now_s, "is_still": world.clock.is_still}


async def _act(standin: Standin, request: Request, told: Json) -> Json:
    name = request.path_params["name"]
    if name not in ACTS:
        raise invalid(f"there is no act {name}; there are {', '.join(ACTS)}")
    try:
        acted = ACTS[name](standin.world, told)
    except KeyError as error:
        raise invalid(f"{name} needs {error}") from None
    finally:
        run_due(standin.world)
    return acted


async def _listed(standin: Standin, request: Request, _told: Json) -> list[Json]:
    shown = [delivery.shown() for delivery in standin.deliveries.all]
    wanted = {name: request.query_params[name] for name in ("event", "type", "state") if name in request.query_params}
    return [each for each in shown if all(each[name] == told for name, told in wanted.items())]


async def _deliver(standin: Standin, request: Request, told: Json) -> Any:  # noqa: ANN401  # JSON
    deliveries = standin.deliveries
    match request.path_params["what"]:
        case "hold":
            deliveries.hold()
            return {"held": True}
        case "release":
            released = deliveries.release(told.get("order"), int(told.get("times", 1)))
            await deliveries.idle()
            return [each.shown() for each in released]
        case "resend":
            event = standin.world.events.get(str(told.get("event")))
            if event is None:
                raise invalid(f"there is no event {told.get('event')}", param="event")
            sent = deliveries.resend(event, told.get("endpoint"))
            await deliveries.idle()
            return [each.shown() for each in sent]
        case "spoil":
            deliveries.spoils.append(Spoil(**told))
            return {"waiting": len(deliveries.spoils)}
        case "idle":
            run_due(standin.world)
            await deliveries.idle()
            return {"idle": True}
        case what:
            raise invalid(f"deliveries cannot {what}")


async def _fault(standin: Standin, _request: Request, told: Json) -> Json:
    if told.get("clear"):
        standin.api.faults.clear()
    else:
        standin.api.faults.waiting.append(Fault(**told))
    return {"waiting": [asdict(each) for each in standin.api.faults.waiting]}


async def _events(standin: Standin, request: Request, _told: Json) -> list[Json]:
    wanted = request.query_params.get("type")
    return [each for each in standin.world.events.values() if wanted in {None, each["type"]}]


async def _requests(standin: Standin, _request: Request, _told: Json) -> list[Json]:
    return standin.api.requests


async def _violations(standin: Standin, _request: Request, _told: Json) -> Json:
    return {"count": standin.world.counts["violations"], "violations": standin.world.violations}


def routes(standin: Standin) -> list[Route]:
    """Return the control routes of a stand-in."""
    table: tuple[tuple[str, str, Answer], ...] = (
        ("GET", "/state", _state),
        ("POST", "/state", _state),
        ("POST", "/reset", _reset),
        ("POST", "/clock", _clock),
        ("POST", "/acts/{name}", _act),
        ("GET", "/deliveries", _listed),
        ("POST", "/deliveries/{what}", _deliver),
        ("POST", "/faults", _fault),
        ("GET", "/events", _events),
        ("GET", "/requests", _requests),
        ("GET", "/violations", _violations),
    )
    return [Route(f"/_control{path}", _answering(standin, answer), methods=[method]) for method, path, answer in table]


def _answering(standin: Standin, answer: Answer) -> Callable[[Request], Awaitable[Response]]:
    async def answered(request: Request) -> Response:
        body = await request.body()
        try:
            told = json.loads(body) if body else {}
            if not isinstance(told, dict):
                raise invalid("the body must be a JSON object")
            return JSONResponse(await answer(standin, request, told))
        except Refusal as refusal:
            return JSONResponse(refusal.body, refusal.status)
        except (TypeError, ValueError) as error:
            return JSONResponse({"error": {"type": "control_error", "message": str(error)}}, 400)

    return answered
