"""The API itself: who asks, with which key, for what; each answer is checked against the SDK before it leaves.

Source: Stripe's pages "Authentication", "Idempotent requests", "Errors" and "Request IDs". Keys are kept for a day. A
request that fails before its work begins keeps no answer; one that was begun does, errors included.
"""

from __future__ import annotations

import base64
import binascii
import json
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from callfare.devtools.fake_stripe.catalogue import INCLUSIONS, ROUTES
from callfare.devtools.fake_stripe.deliveries import run_due
from callfare.devtools.fake_stripe.faults import Fault, Faults
from callfare.devtools.fake_stripe.forms import nested, typed
from callfare.devtools.fake_stripe.refusals import Json, Refusal, invalid
from callfare.devtools.fake_stripe.routing import Call, Route, expanded
from callfare.devtools.fake_stripe.schema import API_VERSION
from callfare.devtools.fake_stripe.world import DAY_S, Origin, World

BODY_BYTES_MAX: Final = 1024 * 1024
_KEY_LENGTH_MAX: Final = 255
# What requests at older versions call otherwise; Stripe's command-line tool makes such.
_RENAMED: Final = {"payment_method_types": "allowed_payment_method_types"}


class CutOff(Exception):  # what happens to the connection
    """The connection ends here, without an answer."""


@dataclass
class Kept:
    """What is kept under an idempotency key: its request, and the answer once there is one."""

    request: str
    at_s: int
    request_id: str
    status: int = 0
    body: bytes = b""

    @property
    def is_in_use(self) -> bool:
        """Whether its request is still being answered."""
        return self.status == 0


@dataclass
class Asked:
    """One request as it came."""

    id: str
    method: str
    path: str
    fields: Json
    headers: Mapping[str, str]
    body: bytes

    @cached_property
    def key(self) -> str | None:
        """The idempotency key, of POST requests only: the others are idempotent by themselves."""
        return self.headers.get("idempotency-key") if self.method == "POST" else None

    @property
    def fingerprint(self) -> str:
        """What must be the same when a key is used again."""
        return blake2b(f"{self.method} {self.path} ".encode() + self.body).hexdigest()


@dataclass
class Api:
    """Answers requests to /v1."""

    world: World
    faults: Faults = field(default_factory=Faults)
    keys: dict[str, Kept] = field(default_factory=dict)
    requests: list[Json] = field(default_factory=list)

    async def answer(self, request: Request) -> Response:
        """Answer one request.

        When a fault ends the connection instead, that is a CutOff.
        """
        asked_id = self.world.new_id("req", 14)
        headers = {"Request-Id": asked_id, "Stripe-Version": API_VERSION}
        path = request.url.path
        try:
            body = await _body_of(request)
            told = body if request.method == "POST" else request.url.query.encode()
            asked = Asked(asked_id, request.method, path, nested(told), request.headers, told)
            self._authenticate(asked)
            kept = self._kept(asked)
            if kept is not None:
                headers |= {"Idempotent-Replayed": "true", "Original-Request": kept.request_id}
                status, body = kept.status, kept.body
            else:
                status, body = await self._work(asked, headers)
            headers |= {"Idempotency-Key": asked.key} if asked.key else {}
        except Refusal as refusal:
            refusal.error["request_log_url"] = f"{self.world.base_url}/_control/requests"
            status, body = refusal.status, _encoded(refusal.body)
        self.requests.append({"id": asked_id, "method": request.method, "path": path, "status": status})
        return Response(body, status, headers, media_type="application/json")

    def _authenticate(self, asked: Asked) -> None:
        scheme, _, token = asked.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "basic":
            try:
                token = base64.b64decode(token, validate=True).decode().partition(":")[0]
            except (binascii.Error, UnicodeDecodeError):
                token = ""
        if not token:
            raise Refusal(401, "invalid_request_error", "You did not provide an API key.")
        kind = "live" if self.world.livemode else "test"
        if not token.startswith((f"sk_{kind}_", f"rk_{kind}_")):
            raise Refusal(401, "invalid_request_error", f"Invalid API Key provided: {token[:8]}****")
        version = asked.headers.get("stripe-version", API_VERSION)
        if version != API_VERSION:
            self.world.counts[f"asked for version {version}"] += 1

    def _kept(self, asked: Asked) -> Kept | None:
        """Return what an earlier request with the same key was answered, None for a new key.

        Raises Refusal when that request was another one, or is still being answered.
        """
        if asked.key is None:
            return None
        if len(asked.key) > _KEY_LENGTH_MAX:
            raise Refusal(400, "idempotency_error", "Idempotency keys have at most 255 characters.")
        kept = self.keys.get(asked.key)
        if kept is None or kept.at_s + DAY_S <= self.world.now_s:
            return None
        if kept.request != asked.fingerprint:
            raise Refusal(
                400,
                "idempotency_error",
                "Keys for idempotent requests can only be used with the same parameters they were first used with."
                f" Try using a key other than '{asked.key}' if you meant to execute a different request.",
            )
        if kept.is_in_use:
            raise Refusal(
                409,
                "idempotency_error",
                f"There is currently another in-progress request using this Stripe Idempotent Key ({asked.key}).",
                code="idempotency_key_in_use",
            )
        return kept

    async def _work(self, asked: Asked, headers: dict[str, str]) -> tuple[int, bytes]:
        fault = self.faults.take(asked.method, asked.path)
        if fault is not None and fault.when == "before" and fault.status is not None:
            await self.faults.keep_back(fault.late_s)
            return _fail(fault, headers)
        route, ids = _route(asked)
        if asked.headers.get("stripe-version") != API_VERSION:
            asked.fields = {_RENAMED.get(name, name): told for name, told in asked.fields.items()}
        params = (
            typed(self.world.types, self.world.types.of_params(route.params), asked.fields) if route.params else None
        )
        kept = Kept(asked.fingerprint, self.world.now_s, asked.id)
        if asked.key is not None:
            self.keys[asked.key] = kept
        status, body = self._run(route, Call(asked.path, asked.fields if params is None else params, ids), asked)
        if fault is not None and fault.when == "kept" and fault.status:
            status, body = fault.status, _encoded(fault.error())
        if fault is not None and fault.late_s:
            await self.faults.keep_back(fault.late_s)
        kept.status, kept.body = status, body
        if fault is not None and fault.when != "before" and fault.status is not None:
            return _fail(fault, headers)
        return status, body

    def _run(self, route: Route, call: Call, asked: Asked) -> tuple[int, bytes]:
        world = self.world
        world.origin = Origin(asked.id, asked.key)
        try:
            found = route.handler(world, call)
            answer = expanded(world, found, call.params.get("expand", []), INCLUSIONS)
            if route.params:
                world.check(answer, f"{asked.method} {route.path}")
            return 200, _encoded(answer)
        except Refusal as refusal:
            return refusal.status, _encoded(refusal.body)
        except Exception as error:  # noqa: BLE001  # our own bug: told like any other thing Stripe would not have done
            place = traceback.extract_tb(error.__traceback__)[-1]
            world.violated(f"{asked.method} {route.path}: {error!r} at {place.name}:{place.lineno}")
            return 500, _encoded({"error": {"type": "api_error", "message": f"The stand-in failed: {error!r}"}})
        finally:
            world.origin = Origin()
            run_due(world)


def _fail(fault: Fault, headers: dict[str, str]) -> tuple[int, bytes]:
    if fault.retry is not None:
        headers["Stripe-Should-Retry"] = str(fault.retry).lower()
    if not fault.status:
        raise CutOff
    return fault.status, _encoded(fault.error())


def _route(asked: Asked) -> tuple[Route, dict[str, str]]:
    for route in ROUTES:
        matched = route.pattern.fullmatch(asked.path) if route.method == asked.method else None
        if matched is not None:
            return route, matched.groupdict()
    raise Refusal(
        404,
        "invalid_request_error",
        f"Unrecognized request URL ({asked.method}: {asked.path}). The stand-in may not have it.",
    )


async def _body_of(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            raise invalid("The request is too large.")
    return bytes(body)


def _encoded(body: Json) -> bytes:
    return json.dumps(body, indent=2, ensure_ascii=False).encode("utf-8", "replace")
