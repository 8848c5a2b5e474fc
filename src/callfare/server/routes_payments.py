"""Routes of buying credits: a checkout, the portal, the page that a payer comes back to, and Stripe's messages."""

from __future__ import annotations

import html
import logging
from typing import Annotated

from fastapi import Query
from pydantic import TypeAdapter
from starlette.responses import Response

from callfare.engine.requests import stored_key
from callfare.errors import CallfareError, NotFound, PaymentsNotConfigured
from callfare.payments.till import Till
from callfare.server.caller import Caller, read
from callfare.server.routes_writing import replayed
from callfare.server.routing import Routes, answer
from callfare.server.rules import API
from callfare.server.wire import answered, asked

_log = logging.getLogger("callfare.http")

_CHECKOUT = TypeAdapter(asked.Checkout)
_PORTAL = TypeAdapter(asked.Portal)
_PENDING_S = 2


async def create_checkout(caller: Caller) -> Response:
    """Begin to buy a package or a plan, and tell the address at which it is paid. Credit comes once it is paid.

    A repeat under the same Idempotency-Key gets the same address.
    """
    body, key = read(_CHECKOUT, await caller.body()), caller.key_or_new
    user, till = caller.one_user(body.user_id), _till(caller)
    begun = await till.orders.checkout(user, body.email, body.package_id, key=stored_key(key), note=caller.note())
    return answer(answered.Address(url=begun.url), headers=replayed(key, is_replay=begun.is_replay))


async def create_portal(caller: Caller) -> Response:
    """Tell the address at which a user sees their payments and changes their plan.

    Each request gets an address of its own, for minutes, so its Idempotency-Key changes nothing.
    """
    body, key = read(_PORTAL, await caller.body()), caller.key_or_new
    user, till = caller.one_user(body.user_id), _till(caller)
    url = await till.orders.portal(user, body.email)
    return answer(answered.Address(url=url), headers=replayed(key, is_replay=False))


async def take_webhook(caller: Caller) -> Response:
    """Take an event of Stripe's: kept before it is answered, worked on beside. Needs Stripe's signature, and no key."""
    till = _till(caller)
    if not till.takes_messages:
        raise PaymentsNotConfigured("no webhook secret is set on this server", step="`callfare stripe setup` tells one")
    await till.take(await caller.raw_body(), caller.header("stripe-signature"))
    return answer(answered.Received(received=True))


async def show_done(
    caller: Caller,
    session_id: Annotated[
        str | None, Query(alias="sessionId", pattern="^cs_[A-Za-z0-9_]{1,250}$", description="The checkout's id.")
    ] = None,
    cancelled: Annotated[bool, Query(description="The payer has turned back.")] = False,  # noqa: FBT002 - a query
) -> Response:
    """Show a payer who comes back from Stripe how their payment stands. Grants nothing that Stripe does not confirm."""
    till = _till(caller)
    if session_id is None or cancelled:
        return _page("Nothing was bought", "You can close this page.")
    try:
        settled = await till.come_back(session_id)
    except NotFound:
        return _page("There is no such checkout", "", status=404)
    except CallfareError as fault:
        _log.info("the page after a checkout: %s", fault.code)
        return _pending()
    if settled.state == "paid":
        return _page("Thank you", "Your credits are there. You can close this page.")
    if settled.state in {"failed", "expired"}:
        return _page("The payment was not made", "Nothing was charged, and nothing was bought.")
    if settled.state == "quarantined":
        return _page("Your payment is being looked at", "Somebody will see to it.")
    return _pending()


def _pending() -> Response:
    return _page("Your payment is being confirmed", "This page looks again by itself.", refresh_s=_PENDING_S)


def _page(title: str, text: str, *, refresh_s: int | None = None, status: int = 200) -> Response:
    again = f'<meta http-equiv="refresh" content="{refresh_s}">' if refresh_s else ""
    body = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">{again}<title>{html.escape(title)}</title></head>'
        f"<body><h1>{html.escape(title)}</h1><p>{html.escape(text)}</p></body></html>"
    )
    return Response(body, status, media_type="text/html; charset=utf-8", headers={"Referrer-Policy": "no-referrer"})


def _till(caller: Caller) -> Till:
    till = caller.served.till
    if till is None:
        raise PaymentsNotConfigured("payments are not configured on this server", step="set STRIPE_SECRET_KEY")
    return till


_PAGE = {
    "description": "A page that says how the payment stands.",
    "content": {"text/html": {"schema": {"type": "string"}}},
}


def add_payments(routes: Routes) -> None:
    """Add the routes of buying credits."""
    routes.add("POST", f"{API}/checkout", create_checkout, answers=answered.Address, asks=_CHECKOUT)
    routes.add("POST", f"{API}/portal", create_portal, answers=answered.Address, asks=_PORTAL)
    routes.add("POST", f"{API}/webhook", take_webhook, answers=answered.Received)
    routes.add("GET", f"{API}/checkout/done", show_done, answers=_PAGE)
