"""Webhooks: each event to each endpoint that wants it, signed as it is sent, and sent again until it is taken.

An endpoint has taken an event when it answers 2xx in time; a redirect is a failure. What fails is sent again after the
waits of `RETRIES_S`, on the stand-in's own clock, for about three days (Stripe's page "Receive Stripe events in your
webhook endpoint"; how long each wait is, Stripe does not say). A test may hold all deliveries back and let them go in
another order, send one again, or spoil those to come.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import partial
from hashlib import blake2b
from typing import Final

import httpx
from stripe import WebhookSignature

from callfare.clock import US_PER_S, SystemClock
from callfare.devtools.fake_stripe.refusals import Json
from callfare.devtools.fake_stripe.world import World

RETRIES_S: Final = (300, 1_800, 7_200, 18_000, 36_000, 43_200, 43_200, 43_200, 43_200)
_SHOWN: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoil:
    """What goes wrong with deliveries to come.

    type: which events, as a pattern; times: how often.
    copies: how often each is sent; drop: it is never sent, as if swallowed on its way; after_s: it is sent late.
    overrides: what the event then says instead, such as {"livemode": true, "api_version": "2020-08-27"}.
    secret: what it is signed with instead; stamp_ahead_s: how far from now its time stamp lies.
    """

    type: str = "*"
    times: int = 1
    copies: int = 1
    drop: bool = False
    after_s: int = 0
    overrides: Json = field(default_factory=dict)
    secret: str | None = None
    stamp_ahead_s: int = 0


@dataclass
class Delivery:
    """One event on its way to one endpoint: "pending", "delivered", "failed" for good, or "dropped"."""

    id: str
    event: Json
    endpoint: str
    spoil: Spoil
    state: str = "pending"
    attempts: list[Json] = field(default_factory=list)
    answered: asyncio.Event = field(default_factory=asyncio.Event)

    def shown(self) -> Json:
        """Return what a test may see."""
        event = self.event
        return {
            "id": self.id,
            "event": event["id"],
            "type": event["type"],
            "endpoint": self.endpoint,
            "state": self.state,
            "attempts": self.attempts,
        }


class Deliveries:
    """Every delivery of a world, and a task for each endpoint that makes them in order, unless told otherwise."""

    def __init__(self, world: World, *, timeout_s: float = 10) -> None:
        self.world = world
        self.timeout_s = timeout_s
        self.stamps_follow_clock = False
        self.all: list[Delivery] = []
        self.spoils: list[Spoil] = []
        self.held: list[Delivery] | None = None
        self._lines: dict[str, deque[Delivery]] = {}
        self._workers: dict[str, asyncio.Task[None]] = {}
        self._client = httpx.AsyncClient(follow_redirects=False, trust_env=False)
        world.on_event.append(self.queue)

    async def close(self) -> None:
        """Stop sending."""
        for worker in self._workers.values():
            worker.cancel()
        await asyncio.gather(*self._workers.values(), return_exceptions=True)
        await self._client.aclose()

    # Which events go where

    def queue(self, event: Json) -> None:
        """Queue an event for every endpoint that wants it."""
        for endpoint in self._wanting(event["type"]):
            spoil = self._spoil_for(event["type"])
            event["pending_webhooks"] += 1
            for _ in range(spoil.copies):
                self._queue_one(event, endpoint["id"], spoil)

    def _wanting(self, type: str) -> Iterable[Json]:
        for endpoint in reversed(list(self.world.all("webhook_endpoint"))):
            if endpoint["status"] == "enabled" and {type, "*"} & set(endpoint["enabled_events"]):
                yield endpoint

    def _spoil_for(self, type: str) -> Spoil:
        for place, spoil in enumerate(self.spoils):
            if fnmatchcase(type, spoil.type):
                left = replace(spoil, times=spoil.times - 1)
                self.spoils[place : place + 1] = [left] if left.times else []
                return spoil
        return Spoil()

    def _queue_one(self, event: Json, endpoint: str, spoil: Spoil) -> Delivery:
        delivery = Delivery(self.world.new_id("dlv"), event, endpoint, spoil)
        self.all.append(delivery)
        if spoil.drop:
            delivery.state = "dropped"
            delivery.answered.set()
        elif self.held is not None:
            self.held.append(delivery)
        elif spoil.after_s:
            self.world.clock.at(self.world.now_s + spoil.after_s, partial(self._send_soon, delivery))
        else:
            self._send_soon(delivery)
        return delivery

    def resend(self, event: Json, endpoint: str | None = None) -> list[Delivery]:
        """Send an event once more, to one endpoint or to each that wants it."""
        wanting = [endpoint] if endpoint else [each["id"] for each in self._wanting(event["type"])]
        return [self._queue_one(event, each, Spoil()) for each in wanting]

    def hold(self) -> None:
        """Keep deliveries back from now on."""
        self.held = self.held or []

    def release(self, order: object = None, times: int = 1) -> list[Delivery]:
        """Let go what was held back, and hold no more; return it in the order in which it goes.

        order: None as it came, "reverse", "seed:…" for one drawn from that text, or a list of event ids that go first.
        """
        held, self.held = self.held or [], None
        if order == "reverse":
            held.reverse()
        elif isinstance(order, str) and order.startswith("seed:"):
            held.sort(key=lambda each: blake2b(f"{order}{each.id}".encode()).digest())
        elif isinstance(order, list):
            held.sort(key=lambda each: order.index(each.event["id"]) if each.event["id"] in order else len(order))
        for delivery in held:
            for _ in range(times):
                self._send_soon(delivery)
        return held

    # Sending

    def _send_soon(self, delivery: Delivery) -> None:
        line = self._lines.setdefault(delivery.endpoint, deque())
        line.append(delivery)
        worker = self._workers.get(delivery.endpoint)
        if worker is None or worker.done():
            self._workers[delivery.endpoint] = asyncio.get_running_loop().create_task(self._work(line))

    async def _work(self, line: deque[Delivery]) -> None:
        while line:
            await self._attempt(line[0])
            line.popleft()

    async def idle(self) -> None:
        """Return when nothing is being sent; what waits for a later time is not being sent."""
        while busy := [worker for worker in self._workers.values() if not worker.done()]:
            await asyncio.wait(busy)

    async def _attempt(self, delivery: Delivery) -> None:
        endpoint = self.world.objects.get(delivery.endpoint, {})
        if endpoint.get("status") != "enabled":
            delivery.state = "failed"
            delivery.answered.set()
            return
        attempt = await self._post(delivery, endpoint)
        delivery.attempts.append(attempt)
        if attempt["status"] is not None and 200 <= attempt["status"] < 300:  # noqa: PLR2004  # what HTTP calls success
            if delivery.state != "delivered":
                delivery.event["pending_webhooks"] = max(0, delivery.event["pending_webhooks"] - 1)
            delivery.state = "delivered"
        elif delivery.state == "pending":
            self._try_later(delivery)
        delivery.answered.set()

    def _try_later(self, delivery: Delivery) -> None:
        made = len(delivery.attempts)
        if made > len(RETRIES_S):
            delivery.state = "failed"
            return
        self.world.clock.at(self.world.now_s + RETRIES_S[made - 1], partial(self._retry, delivery))

    def _retry(self, delivery: Delivery) -> None:
        if delivery.state == "pending":
            self._send_soon(delivery)

    async def _post(self, delivery: Delivery, endpoint: Json) -> Json:
        told = self.body(delivery, endpoint)
        attempt: Json = {"at": self.world.now_s, "status": None, "error": None}
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
            "Stripe-Signature": self.signature(delivery, endpoint, told),
        }
        try:
            async with asyncio.timeout(self.timeout_s):
                answer = await self._client.post(endpoint["url"], content=told, headers=headers, timeout=None)
            attempt |= {"status": answer.status_code, "body": answer.text[:_SHOWN]}
        except TimeoutError:
            attempt["error"] = "timed out"
        except (httpx.HTTPError, OSError, ValueError) as error:
            attempt["error"] = f"{type(error).__name__}: {error}"[:_SHOWN]
        return attempt

    def body(self, delivery: Delivery, endpoint: Json) -> bytes:
        """Return what is sent: the event as it was, at the version of the endpoint."""
        event = {**delivery.event, **delivery.spoil.overrides}
        if endpoint["api_version"] and "api_version" not in delivery.spoil.overrides:
            event["api_version"] = endpoint["api_version"]
        return json.dumps(event, indent=2, ensure_ascii=False).encode()

    def signature(self, delivery: Delivery, endpoint: Json, told: bytes) -> str:
        """Return the header that signs it now, with every secret the endpoint has while one is being rolled."""
        spoil = delivery.spoil
        secrets = [spoil.secret] if spoil.secret else self.world.notes[endpoint["id"]]["secrets"]
        # The receiver's clock is the machine's, whatever a test has made of the stand-in's.
        now_s = self.world.now_s if self.stamps_follow_clock else SystemClock().now_us() // US_PER_S
        stamp = now_s + spoil.stamp_ahead_s
        headers = [
            WebhookSignature.generate_signature_header(told.decode(), secret, stamp).partition(",")[2]
            for secret in secrets
        ]
        return ",".join([f"t={stamp}", *headers])


async def pass_time(world: World, deliveries: Deliveries, until_s: int) -> None:
    """Make it later, and do all that is due on the way, each thing at its own time, deliveries included."""
    run_due(world)
    await deliveries.idle()
    while (soonest := world.clock.next_s()) is not None and soonest <= until_s:
        world.clock.set(max(soonest, world.now_s))
        run_due(world)
        await deliveries.idle()
    world.clock.set(until_s)
    await deliveries.idle()


def run_due(world: World) -> None:
    """Do what is due by now."""
    while (timer := world.clock.due()) is not None:
        timer.action()
