"""The hosted Checkout page, and the payer's bank that asks before it lets a card pay.

After paying, the browser is sent to the success address once the webhook endpoints have answered the event that told
them, or after ten seconds (Stripe's page "Fulfill orders"). A session that is paid already leads there at once, so a
second click pays nothing.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from html import escape

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from callfare.devtools.fake_stripe.cards import instrument
from callfare.devtools.fake_stripe.deliveries import run_due
from callfare.devtools.fake_stripe.pages.render import field, form_of, money, onward, page, problem, problem_page, rows
from callfare.devtools.fake_stripe.refusals import Json, Refusal
from callfare.devtools.fake_stripe.resources import checkout, checkout_paying, intents, methods, setups
from callfare.devtools.fake_stripe.standin import Standin

_LABELS = {"card": "Card", "sepa_debit": "SEPA debit", "us_bank_account": "US bank account"}
_NO_NUMBER = "Your card number is incorrect."


def routes(standin: Standin) -> list[Route]:
    """Return the routes of Checkout."""

    async def show(request: Request) -> Response:
        session = _session(standin, request)
        if session is None:
            return problem_page("Something went wrong", "The page you were looking for could not be found.")
        return _shown(standin, session)

    async def pay(request: Request) -> Response:
        session = _session(standin, request)
        if session is None:
            return problem_page("Something went wrong", "The page you were looking for could not be found.")
        return await _paid(standin, session, await form_of(request))

    async def ask(request: Request) -> Response:
        return _asked(_intent(standin, request))

    async def answer(request: Request) -> Response:
        told = await form_of(request)
        return await _answered(standin, _intent(standin, request), succeeds=told.get("answer") == "complete")

    return [
        Route("/c/pay/{id}", show, methods=["GET"]),
        Route("/c/pay/{id}", pay, methods=["POST"]),
        Route("/authenticate/{id}", ask, methods=["GET"]),
        Route("/authenticate/{id}", answer, methods=["POST"]),
    ]


def _session(standin: Standin, request: Request) -> Json | None:
    found = standin.world.objects.get(request.path_params["id"])
    return found if found is not None and found["object"] == "checkout.session" else None


def _shown(standin: Standin, session: Json, told: str = "", fields: dict[str, str] | None = None) -> Response:
    if session["status"] == "expired":
        return problem_page("This session has expired", "Go back to the shop to begin again.", status=410)
    if session["status"] == "complete":
        return page("Done", "<h1>You're all done here</h1><p>Your payment was received. You may close this page.</p>")
    given = fields or {}
    kinds = session["payment_method_types"]
    options = "".join(f'<option value="{kind}">{_LABELS.get(kind, kind)}</option>' for kind in kinds)
    total = money(session["amount_total"] or 0, session["currency"] or "usd")
    button = {"payment": f"Pay {total}", "subscription": "Subscribe", "setup": "Save card"}[session["mode"]]
    customer = standin.world.objects.get(session["customer"] or "", {})
    email = given.get("email") or session["customer_email"] or customer.get("email") or ""
    back = session["cancel_url"]
    body = f"""
<h1>{escape(total if session["mode"] != "setup" else "Save your card")}</h1>
{rows(checkout.items_of(standin.world, session), session["currency"] or "usd")}
{problem(told)}
<form id="payment" method="post" action="/c/pay/{session["id"]}"
 onsubmit="this.querySelector('#submit').disabled = true">
{field("email", "Email", email, more='type="email" required')}
<label for="method">Pay with</label><select id="method" name="method">{options}</select>
{field("number", "Card or account number", given.get("number", ""), more='required inputmode="text"')}
{field("expiry", "Expiry", given.get("expiry", "12 / 34"))}
{field("cvc", "CVC", given.get("cvc", "123"))}
{field("name", "Name", given.get("name", "Jenny Rosen"), more="required")}
<p><button id="submit" type="submit">{escape(button)}</button>
{f'<a id="cancel" href="{escape(back)}">Back</a>' if back else ""}</p>
</form>"""
    return page("Checkout", body, status=402 if told else 200)


async def _paid(standin: Standin, session: Json, fields: dict[str, str]) -> Response:
    if session["status"] == "complete":
        return await _onward(standin, session)
    found = instrument(fields.get("number", ""))
    if found is None or found.kind != fields.get("method", "card"):
        return _shown(standin, session, _NO_NUMBER, fields)
    billing = {"email": fields.get("email") or None, "name": fields.get("name") or None}
    try:
        checkout_paying.pay(standin.world, session, methods.made(standin.world, found, billing))
    except Refusal as refusal:
        return _shown(standin, session, str(refusal), fields)
    finally:
        run_due(standin.world)
    waiting = checkout_paying.waiting_intent(standin.world, session)
    if waiting is not None:
        return onward(f"/authenticate/{waiting['id']}")
    return await _onward(standin, session)


async def _onward(standin: Standin, session: Json) -> Response:
    event = standin.world.notes[session["id"]].get("completed_event")
    waiting = [each.answered.wait() for each in standin.deliveries.all if each.event["id"] == event]
    with suppress(TimeoutError):
        async with asyncio.timeout(standin.redirect_wait_s):
            await asyncio.gather(*waiting)
    return onward(session["success_url"].replace("{CHECKOUT_SESSION_ID}", session["id"]))


def _intent(standin: Standin, request: Request) -> Json | None:
    found = standin.world.objects.get(request.path_params["id"])
    return found if found is not None and found["object"] in {"payment_intent", "setup_intent"} else None


def _session_of(standin: Standin, intent: Json) -> Json | None:
    """Return the session that an intent belongs to, None for one that was made otherwise."""
    sessions = standin.world.all("checkout.session")
    return next((each for each in sessions if checkout_paying.intent_of(standin.world, each) is intent), None)


def _asked(intent: Json | None) -> Response:
    if intent is None or intent["status"] != "requires_action":
        return problem_page("Nothing to confirm", "The bank does not ask for anything.")
    what = f"pays {money(intent['amount'], intent['currency'])}" if "amount" in intent else "saves this card"
    body = f"""
<h1>Your bank asks</h1>
<p>Is it you who {escape(what)}?</p>
<form method="post">
<button id="complete" name="answer" value="complete">Complete</button>
<button id="fail" name="answer" value="fail" class="plain">Fail</button>
</form>"""
    return page("3-D Secure", body)


async def _answered(standin: Standin, intent: Json | None, *, succeeds: bool) -> Response:
    if intent is None:
        return problem_page("Nothing to confirm", "The bank does not ask for anything.")
    session = _session_of(standin, intent)
    if session is not None and session["status"] == "complete":
        return await _onward(standin, session)
    authenticate = setups.authenticated if intent["object"] == "setup_intent" else intents.authenticated
    try:
        authenticate(standin.world, intent, succeeds=succeeds)
    except Refusal as refusal:
        if session is not None:
            return _shown(standin, session, str(refusal))
        return problem_page("Not confirmed", str(refusal), status=402)
    finally:
        run_due(standin.world)
    return page("Done", "<h1>Done</h1>") if session is None else await _onward(standin, session)
