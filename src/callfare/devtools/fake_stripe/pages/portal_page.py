"""The customer portal and the hosted invoice: a new card, the end of a plan, and what was billed.

A portal session lets whoever holds its address in, for an hour, as one customer; what the configuration does not allow
is neither shown nor done.
"""

from __future__ import annotations

from html import escape
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from callfare.devtools.fake_stripe.acts import set_method
from callfare.devtools.fake_stripe.deliveries import run_due
from callfare.devtools.fake_stripe.pages.render import field, form_of, money, onward, page, problem, problem_page, rows
from callfare.devtools.fake_stripe.refusals import Json, Refusal
from callfare.devtools.fake_stripe.resources import invoices, methods, subscription_calls, subscriptions
from callfare.devtools.fake_stripe.routing import Call
from callfare.devtools.fake_stripe.standin import Standin
from callfare.devtools.fake_stripe.world import World

_LIFE_S: Final = 3_600
_NOT_FOUND: Final = ("Something went wrong", "This page could not be found, or its time has passed.")


def routes(standin: Standin) -> list[Route]:
    """Return the routes of the portal and of hosted invoices."""

    async def show(request: Request) -> Response:
        session = _session(standin.world, request)
        return problem_page(*_NOT_FOUND) if session is None else _shown(standin.world, session)

    async def act(request: Request) -> Response:
        session = _session(standin.world, request)
        if session is None:
            return problem_page(*_NOT_FOUND)
        try:
            _do(standin.world, session, request.path_params["what"], await form_of(request))
        except Refusal as refusal:
            return _shown(standin.world, session, str(refusal))
        finally:
            run_due(standin.world)
        return onward(f"/p/session/{session['id']}")

    async def show_invoice(request: Request) -> Response:
        return _invoice(standin.world, request.path_params["id"])

    async def pay_invoice(request: Request) -> Response:
        told = await form_of(request)
        try:
            return _pay_invoice(standin.world, request.path_params["id"], told)
        finally:
            run_due(standin.world)

    return [
        Route("/p/session/{id}", show, methods=["GET"]),
        Route("/p/session/{id}/{what}", act, methods=["POST"]),
        Route("/i/{id}", show_invoice, methods=["GET"]),
        Route("/i/{id}", pay_invoice, methods=["POST"]),
    ]


def _session(world: World, request: Request) -> Json | None:
    found = world.objects.get(request.path_params["id"])
    if found is None or found["object"] != "billing_portal.session" or found["created"] + _LIFE_S < world.now_s:
        return None
    return found


def _features(world: World, session: Json) -> Json:
    features: Json = world.objects[session["configuration"]]["features"]
    return features


def _shown(world: World, session: Json, told: str = "") -> Response:
    customer = world.objects[session["customer"]]
    if customer.get("deleted"):
        return problem_page(*_NOT_FOUND)
    features = _features(world, session)
    back = session["return_url"]
    parts = [f"<h1>Billing of {escape(customer['email'] or customer['id'])}</h1>", problem(told)]
    parts += _plans(world, session, can_cancel=features["subscription_cancel"]["enabled"])
    if features["payment_method_update"]["enabled"]:
        parts.append(_method(world, session))
    if features["invoice_history"]["enabled"]:
        parts.append(_history(world, session))
    if back:
        parts.append(f'<p><a id="return" href="{escape(back)}">Back</a></p>')
    return page("Customer portal", "".join(parts), status=402 if told else 200)


def _plans(world: World, session: Json, *, can_cancel: bool) -> list[str]:
    shown = []
    for subscription in world.all("subscription"):
        if subscription["customer"] != session["customer"] or subscription["status"] in subscriptions.ENDED:
            continue
        item = subscription["items"]["data"][0]
        price = item["price"]
        name = world.objects[price["product"]].get("name", "a plan")
        state = "ends with its period" if subscription["cancel_at_period_end"] else subscription["status"]
        amount = money(price["unit_amount"] * item["quantity"], price["currency"])
        shown.append(
            f'<section class="plan"><h2>{escape(name)}</h2>'
            f"<p>{escape(amount)} a {price['recurring']['interval']}: <b>{escape(state)}</b></p>"
        )
        what = "renew" if subscription["cancel_at_period_end"] else "cancel"
        if can_cancel:
            shown.append(
                f'<form method="post" action="/p/session/{session["id"]}/{what}">'
                f'<input type="hidden" name="subscription" value="{subscription["id"]}">'
                f'<button class="plain" name="{what}">{"Keep" if what == "renew" else "Cancel"} plan</button></form>'
            )
        shown.append("</section>")
    return shown


def _method(world: World, session: Json) -> str:
    customer = world.objects[session["customer"]]
    method = world.objects.get(customer["invoice_settings"]["default_payment_method"] or "")
    card = (method or {}).get("card")
    now = f"{card['brand']} •••• {card['last4']}" if card else "none"
    return (
        f'<h2>Card</h2><p id="card">{escape(now)}</p>'
        f'<form method="post" action="/p/session/{session["id"]}/method">'
        f"{field('number', 'New card number', more='required')}"
        '<p><button id="update">Update card</button></p></form>'
    )


def _history(world: World, session: Json) -> str:
    found = [each for each in world.all("invoice") if each["customer"] == session["customer"]]
    cells = (
        f'<tr><td><a href="/i/{each["id"]}">{escape(each["number"] or "draft")}</a></td><td>{each["status"]}</td>'
        f'<td class="amount">{escape(money(each["total"], each["currency"]))}</td></tr>'
        for each in found
    )
    return f'<h2>Invoices</h2><table id="invoices">{"".join(cells)}</table>'


def _do(world: World, session: Json, what: str, told: dict[str, str]) -> None:
    features = _features(world, session)
    subscription = world.objects.get(told.get("subscription", ""), {})
    is_theirs = subscription.get("customer") == session["customer"]
    if what in {"cancel", "renew"} and is_theirs and features["subscription_cancel"]["enabled"]:
        if features["subscription_cancel"]["mode"] == "immediately" and what == "cancel":
            subscriptions.end(world, subscription, reason="cancellation_requested")
            return
        call = Call("/p/session", {"cancel_at_period_end": what == "cancel"}, {"id": subscription["id"]})
        subscription_calls.change(world, call)
    elif what == "method" and features["payment_method_update"]["enabled"]:
        set_method(world, {"customer": session["customer"], "number": told.get("number", "")})


def _invoice(world: World, id: str, told: str = "") -> Response:
    invoice = world.objects.get(id)
    if invoice is None or invoice["object"] != "invoice" or invoice.get("deleted"):
        return problem_page(*_NOT_FOUND)
    paying = ""
    if invoice["status"] in {"open", "uncollectible"}:
        paying = (
            f'<form method="post">{field("number", "Card number", more="required")}'
            f"<p><button>Pay {escape(money(invoice['amount_remaining'], invoice['currency']))}</button></p></form>"
        )
    body = (
        f"<h1>Invoice {escape(invoice['number'] or 'draft')}</h1>"
        f'<p>Status: <b id="status">{invoice["status"]}</b></p>'
        f"{rows(invoice['lines']['data'], invoice['currency'])}{problem(told)}{paying}"
    )
    return page("Invoice", body, status=402 if told else 200)


def _pay_invoice(world: World, id: str, told: dict[str, str]) -> Response:
    invoice = world.objects.get(id)
    if invoice is None or invoice["object"] != "invoice" or invoice.get("deleted"):
        return problem_page(*_NOT_FOUND)
    try:
        method = methods.create(world, Call("/i", {"type": "card", "card": {"number": told.get("number", "")}}))
        invoices.pay(world, invoice, method, is_off_session=False)
    except Refusal as refusal:
        return _invoice(world, id, str(refusal))
    intent = invoices.intent_of(world, invoice)
    is_asked = intent is not None and intent["status"] == "requires_action"
    return onward(f"/authenticate/{intent['id']}" if intent is not None and is_asked else f"/i/{id}")
