"""How a checkout session is paid: by its page, by a control act, and by the command-line tool's pair of requests.

The pair `GET /v1/payment_pages/{session}` and `POST …/confirm` is what Stripe's own page uses and does not document;
its shape is that of the scripts in Stripe's command-line tool, which complete sessions with it.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from callfare.devtools.fake_stripe.refusals import Json, invalid, unexpected_state
from callfare.devtools.fake_stripe.resources import (
    customers,
    intents,
    invoices,
    methods,
    setups,
    subscriptions,
)
from callfare.devtools.fake_stripe.routing import Call, Route
from callfare.devtools.fake_stripe.world import DAY_S, World, merged_metadata

_NO_ADDRESS: Final = dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"))


def pay(world: World, session: Json, method: Json) -> Json:
    """Pay an open session by a payment method; return it as that left it: complete, or open while the payer is asked.

    Raises Refusal when it is not open, or the payment is declined; then it stays open for another try.
    """
    if session["status"] != "open":
        raise unexpected_state(f"This Checkout Session has a status of `{session['status']}`.", "session_not_open")
    if method["type"] not in session["payment_method_types"]:
        raise invalid("The payment method type is not accepted by this session.", param="payment_method")
    _know_payer(world, session, method)
    match session["mode"]:
        case "setup":
            setups.attempt(world, _setup_of(world, session), method)
        case "subscription":
            _subscribe(world, session, method)
        case _ if session["amount_total"] == 0:
            _complete(world, session, "no_payment_required")
        case _:
            intents.attempt(world, _intent_of(world, session), method)
    return session


def _setup_of(world: World, session: Json) -> Json:
    if session["setup_intent"] is not None:
        return world.objects[session["setup_intent"]]
    told = world.notes[session["id"]]["params"].get("setup_intent_data", {})
    intent = setups.made(
        world, customer=session["customer"], payment_method_types=session["payment_method_types"], **told
    )
    session["setup_intent"] = intent["id"]
    world.follow(intent["id"], partial(_follow_setup, world, session))
    world.emit("setup_intent.created", intent)
    return intent


def _follow_setup(world: World, session: Json, intent: Json) -> None:
    if intent["status"] == "succeeded" and session["status"] == "open":
        _complete(world, session, "no_payment_required")


def _subscribe(world: World, session: Json, method: Json) -> None:
    customer = world.objects[session["customer"]]
    if session["subscription"] is None:
        _begin_subscription(world, session, customer)
    subscription = world.objects[session["subscription"]]
    invoice = world.objects[session["invoice"]]
    if method["customer"] is None:
        methods.attach(world, method["id"], customer)
    subscription["default_payment_method"] = method["id"]
    world.notes[method["id"]]["is_set_up"] = True
    intent = invoices.intent_of(world, invoice)
    if intent is None:
        _complete(world, session, "no_payment_required" if session["amount_total"] == 0 else "paid")
        return
    if not world.notes[session["id"]].get("follows"):
        world.notes[session["id"]]["follows"] = True
        world.follow(intent["id"], partial(_follow, world, session))
    intents.attempt(world, intent, method)


def _begin_subscription(world: World, session: Json, customer: Json) -> None:
    told = world.notes[session["id"]]["params"].get("subscription_data", {})
    days = told.get("trial_period_days")
    subscription = subscriptions.begin(
        world,
        customer,
        [
            {"price": item["price"], "quantity": item["quantity"]}
            for item in world.notes[session["id"]]["items"]
            if item["price"]["type"] == "recurring"
        ],
        trial_end=told.get("trial_end") or (world.now_s + days * DAY_S if days else None),
        tries_now=False,
        description=told.get("description"),
        metadata=merged_metadata({}, told),
        trial_settings=told.get("trial_settings"),
    )
    session |= {"subscription": subscription["id"], "invoice": subscription["latest_invoice"]}


def _know_payer(world: World, session: Json, method: Json) -> None:
    billing = method["billing_details"]
    customer = world.objects.get(session["customer"] or "")
    email = billing["email"] or session["customer_email"] or (customer or {}).get("email")
    if customer is None and _needs_customer(world, session):
        made = customers.made(world, email=email, name=billing["name"], address=None)
        session["customer"] = made["id"]
        world.emit("customer.created", made)
    session["customer_details"] = {
        "address": {**_NO_ADDRESS, **(billing["address"] or {})},
        "business_name": None,
        "email": email,
        "individual_name": None,
        "name": billing["name"],
        "phone": billing["phone"],
        "tax_exempt": "none",
        "tax_ids": [],
    }
    if session["automatic_tax"]["enabled"]:
        session["automatic_tax"] = {**session["automatic_tax"], "status": "complete"}


def _needs_customer(world: World, session: Json) -> bool:
    told = world.notes[session["id"]]["params"].get("payment_intent_data", {})
    return session["customer_creation"] == "always" or session["mode"] != "payment" or "setup_future_usage" in told


def _intent_of(world: World, session: Json) -> Json:
    if session["payment_intent"] is not None:
        return world.objects[session["payment_intent"]]
    told = world.notes[session["id"]]["params"].get("payment_intent_data", {})
    taken = ("capture_method", "description", "metadata", "receipt_email", "setup_future_usage", "shipping")
    intent = intents.made(
        world,
        amount=session["amount_total"],
        currency=session["currency"],
        customer=session["customer"],
        payment_method_types=session["payment_method_types"],
        **{name: told[name] for name in taken if name in told},
    )
    if intent["shipping"] is not None:
        intent["shipping"] = {"carrier": None, "phone": None, "tracking_number": None, **intent["shipping"]}
    session["payment_intent"] = intent["id"]
    world.follow(intent["id"], partial(_follow, world, session))
    world.emit("payment_intent.created", intent)
    return intent


def _follow(world: World, session: Json, intent: Json) -> None:
    """Let a session have the end that its intent has."""
    is_open = session["status"] == "open"
    match intent["status"]:
        case "succeeded" | "requires_capture" if is_open:
            _bill(world, session, intent)
            _complete(world, session, "paid" if intent["status"] == "succeeded" else "unpaid")
        case "processing" if is_open:
            _complete(world, session, "unpaid")
        case "succeeded" if session["payment_status"] == "unpaid":
            session["payment_status"] = "paid"
            world.emit("checkout.session.async_payment_succeeded", session)
        case "requires_payment_method" if not is_open:
            world.emit("checkout.session.async_payment_failed", session)


def _bill(world: World, session: Json, intent: Json) -> None:
    """Make the invoice of a one-time payment whose session asks for one, paid by its intent."""
    creation = session["invoice_creation"] or {}
    if session["mode"] != "payment" or not creation.get("enabled") or session["customer"] is None:
        return
    lines = [
        {
            "amount": item["amount_subtotal"],
            "description": item["description"],
            "pricing": invoices.priced(item["price"]),
            "quantity": item["quantity"],
        }
        for item in world.notes[session["id"]]["items"]
    ]
    customer = world.objects[session["customer"]]
    metadata = creation["invoice_data"]["metadata"] or {}
    invoice = invoices.made(world, customer, session["currency"], lines, "manual", metadata=metadata)
    invoices.issue(world, invoice, intent=intent)
    invoices.paid(world, invoice)
    session["invoice"] = invoice["id"]


def _complete(world: World, session: Json, payment_status: str) -> None:
    session |= {"status": "complete", "payment_status": payment_status, "url": None}
    event = world.emit("checkout.session.completed", session)
    world.notes[session["id"]]["completed_event"] = event["id"]


def authenticate(world: World, session: Json, *, succeeds: bool) -> Json:
    """Let the payer of a session that waits confirm the payment, or refuse to.

    Raises Refusal when it does not wait for that, or the payment is declined.
    """
    intent = waiting_intent(world, session)
    if intent is None:
        raise unexpected_state("This Checkout Session does not wait for its payer.", "session_not_waiting")
    if intent["object"] == "setup_intent":
        setups.authenticated(world, intent, succeeds=succeeds)
    else:
        intents.authenticated(world, intent, succeeds=succeeds)
    return session


def waiting_intent(world: World, session: Json) -> Json | None:
    """Return the intent by which a session's payer is being asked, None when nobody is."""
    intent = intent_of(world, session)
    return intent if intent is not None and intent["status"] == "requires_action" else None


def intent_of(world: World, session: Json) -> Json | None:
    """Return the intent by which a session is paid or saves a card, None before its payer first tries."""
    own = world.objects.get(session["payment_intent"] or session["setup_intent"] or "")
    invoice = world.objects.get(session["invoice"] or "")
    return own or (invoices.intent_of(world, invoice) if invoice else None)


def show_page(world: World, call: Call) -> Json:
    """Return what the payment page of a session is made from."""
    session = world.find("checkout.session", call.id(), param="session")
    return {"id": f"ppage_{session['id'][-24:]}", "object": "payment_page", "session_id": session["id"]}


def confirm_page(world: World, call: Call) -> Json:
    """Pay a session as its page would.

    Raises Refusal when the amount is not the one that was shown.
    """
    session = world.find("checkout.session", call.id(), param="session")
    expected = call.params.get("expected_amount")
    if session["mode"] != "setup" and expected != str(session["amount_total"]):
        raise invalid("The expected amount is not the session's.", param="expected_amount")
    method = methods.resolved(world, str(call.params.get("payment_method", "")))
    pay(world, session, method)
    return show_page(world, call)


ROUTES = (
    Route("GET", "/v1/payment_pages/{id}", "", show_page),
    Route("POST", "/v1/payment_pages/{id}/confirm", "", confirm_page),
)
