"""Checkout sessions: what the API makes, tells and expires. How they are paid stands in `checkout_paying`.

Source: Stripe's pages "Checkout Session" and "How Checkout works". A session's payment intent is made when the payer
first tries to pay, not with the session.
"""

from __future__ import annotations

from functools import partial
from typing import Final
from urllib.parse import urlsplit

from callfare.devtools.fake_stripe.refusals import Json, Refusal, invalid, missing_param
from callfare.devtools.fake_stripe.resources import intents
from callfare.devtools.fake_stripe.resources.catalog import made_price
from callfare.devtools.fake_stripe.routing import Call, Route, page
from callfare.devtools.fake_stripe.world import DAY_S, World, cleaned, merged_metadata, updated

_LIFE_S: Final = DAY_S
_LIFE_S_MIN: Final = 1_800
_TAKEN: Final = (
    "allow_promotion_codes",
    "billing_address_collection",
    "cancel_url",
    "client_reference_id",
    "customer_email",
    "locale",
    "payment_method_collection",
    "submit_type",
)
_NO_TEXT: Final = dict.fromkeys(("after_submit", "shipping_address", "submit", "terms_of_service_acceptance"))


def create(world: World, call: Call) -> Json:
    """Make a session, open for a day unless it says otherwise.

    Raises Refusal when it could not be paid as asked.
    """
    params = call.params
    mode = params.get("mode")
    if mode is None:
        raise missing_param("mode")
    if params.get("ui_mode", "hosted_page") != "hosted_page":
        raise invalid("The stand-in has hosted sessions only.", param="ui_mode")
    _must_lead_back(params)
    customer = _customer(world, params)
    expires_at = _expiry(world, params)
    items = [_item(world, told, mode, number) for number, told in enumerate(params.get("line_items", []))]
    currency = _currency(items, params, mode)
    if mode != "setup" and not items:
        raise missing_param("line_items")
    session = world.new(
        "checkout.session",
        f"cs_{'live' if world.livemode else 'test'}",
        id_width=58,
        adaptive_pricing={"enabled": (params.get("adaptive_pricing") or {}).get("enabled", False)},
        automatic_tax=_tax(params),
        currency=currency,
        custom_fields=[],
        custom_text={**_NO_TEXT, **cleaned(params.get("custom_text") or {})},
        customer=customer,
        expires_at=expires_at,
        metadata=merged_metadata({}, params),
        mode=mode,
        payment_method_options={},
        payment_method_types=params.get("allowed_payment_method_types") or ["card"],
        payment_status="no_payment_required" if mode == "setup" else "unpaid",
        phone_number_collection={"enabled": False},
        shipping_options=[],
        status="open",
        success_url=params["success_url"],
        ui_mode="hosted_page",
        **{name: params[name] for name in _TAKEN if name in params},
    )
    _fill(world, session, params, items)
    world.clock.at(expires_at, partial(_expire_when_due, world, session))
    return session


def _fill(world: World, session: Json, params: Json, items: list[Json]) -> None:
    if session["mode"] == "payment":
        session["customer_creation"] = params.get("customer_creation", "if_required")
        creation = params.get("invoice_creation") or {"enabled": False}
        session["invoice_creation"] = {"enabled": creation["enabled"], "invoice_data": _invoice_fields(creation)}
    elif session["mode"] == "subscription":
        session["customer_creation"] = None if session["customer"] else "always"
    world.notes[session["id"]] |= {"items": items, "params": params}
    if items:
        _add_up(world, session, items)
    session["url"] = f"{world.base_url}/c/pay/{session['id']}"
    if session["payment_method_collection"] is None:
        session["payment_method_collection"] = "always" if session["mode"] == "subscription" else "if_required"


def _must_lead_back(params: Json) -> None:
    for name in ("success_url", "cancel_url"):
        if name in params:
            parts = urlsplit(params[name])
            if parts.scheme not in {"http", "https"} or not parts.netloc:
                raise invalid("Not a valid URL", param=name, code="url_invalid")
        elif name == "success_url":
            raise missing_param(name)


def _customer(world: World, params: Json) -> str | None:
    if "customer" not in params:
        return None
    if "customer_email" in params:
        raise invalid("You may only specify one of these parameters: customer, customer_email.")
    return str(world.find("customer", params["customer"], param="customer")["id"])


def _expiry(world: World, params: Json) -> int:
    expires_at = int(params.get("expires_at", world.now_s + _LIFE_S))
    if not world.now_s + _LIFE_S_MIN <= expires_at <= world.now_s + _LIFE_S:
        raise invalid(
            "The `expires_at` timestamp must be between 30 minutes and 24 hours from Checkout Session creation.",
            param="expires_at",
        )
    return expires_at


def _currency(items: list[Json], params: Json, mode: str) -> str | None:
    currencies = {item["currency"] for item in items}
    if len(currencies) > 1:
        raise invalid("All prices on a Checkout session must have the same currency.", param="line_items")
    if not currencies and mode == "setup":
        return params.get("currency")
    return next(iter(currencies), None)


def _tax(params: Json) -> Json:
    enabled = (params.get("automatic_tax") or {}).get("enabled", False)
    return {
        "enabled": enabled,
        "liability": {"type": "self"} if enabled else None,
        "provider": "stripe" if enabled else None,
        "status": "requires_location_inputs" if enabled else None,
    }


def _invoice_fields(creation: Json) -> Json:
    given = creation.get("invoice_data", {})
    return {
        "account_tax_ids": None,
        "custom_fields": None,
        "description": given.get("description"),
        "footer": given.get("footer"),
        "issuer": {"type": "self"} if creation["enabled"] else None,
        "metadata": merged_metadata({}, given),
        "rendering_options": None,
    }


def _item(world: World, told: Json, mode: str, number: int) -> Json:
    here = f"line_items[{number}]"
    try:
        if "price" in told:
            price = world.find("price", told["price"], param=f"{here}[price]")
        elif "price_data" in told:
            price = made_price(world, told["price_data"], is_active=False)
        else:
            raise missing_param(f"{here}[price]")
    except Refusal as refusal:
        refusal.error["param"] = refusal.error.get("param", here)
        raise
    quantity = told.get("quantity")
    if quantity is None:
        raise invalid("Quantity is required. Add `quantity` to the line item.", param=f"{here}[quantity]")
    if quantity < 1:
        raise invalid("Invalid positive integer", param=f"{here}[quantity]", code="parameter_invalid_integer")
    if "price" in told and not price["active"]:
        raise invalid("The price specified is inactive. This field only accepts active prices.", param=here)
    if mode == "payment" and price["type"] == "recurring":
        raise invalid("You must use one-time prices in `payment` mode.", param="line_items")
    amount = price["unit_amount"] * quantity
    return world.new(
        "item",
        "li",
        amount_discount=0,
        amount_subtotal=amount,
        amount_tax=0,
        amount_total=amount,
        currency=price["currency"],
        description=world.objects[price["product"]]["name"],
        metadata=told.get("metadata"),
        price=price,
        quantity=quantity,
    )


def _add_up(world: World, session: Json, items: list[Json]) -> None:
    is_taxed = session["automatic_tax"]["enabled"]
    for item in items:
        # Tax on top of the price, each line rounded by itself.
        item["amount_tax"] = (item["amount_subtotal"] * world.settings.tax_percent + 50) // 100 if is_taxed else 0
        item["amount_total"] = item["amount_subtotal"] + item["amount_tax"]
    subtotal = sum(item["amount_subtotal"] for item in items)
    tax = sum(item["amount_tax"] for item in items)
    session |= {
        "amount_subtotal": subtotal,
        "amount_total": subtotal + tax,
        "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": tax},
    }


def _expire_when_due(world: World, session: Json) -> None:
    if session["status"] == "open":
        expired(world, session)


def expired(world: World, session: Json) -> None:
    """Expire an open session, cancel what it began, and say so."""
    intent = world.objects.get(session["payment_intent"] or "")
    if intent is not None and intent["status"] not in {"succeeded", "processing", "canceled"}:
        world.followers.pop(intent["id"], None)
        intents.cancelled(world, intent, "automatic")
    session |= {"status": "expired", "url": None}
    world.emit("checkout.session.expired", session)


def expire(world: World, call: Call) -> Json:
    """Expire a session before its time.

    Raises Refusal when it is not open.
    """
    session = world.find("checkout.session", call.id(), param="session")
    if session["status"] != "open":
        raise invalid(
            'Only Checkout Sessions with a status in ["open"] can be expired.'
            f" This Checkout Session has a status of `{session['status']}`."
        )
    expired(world, session)
    return session


def change(world: World, call: Call) -> Json:
    """Change a session's metadata."""
    session = world.find("checkout.session", call.id(), param="session")
    return updated(world, session, None, metadata=merged_metadata(session, call.params))


def retrieve(world: World, call: Call) -> Json:
    """Return a session."""
    return world.find("checkout.session", call.id(), param="session")


def several(world: World, call: Call) -> Json:
    """Return a page of sessions, by customer, intent, subscription or status where given."""
    names = ("customer", "payment_intent", "subscription", "status")
    wanted = {name: call.params[name] for name in names if name in call.params}
    found = [each for each in world.all("checkout.session") if all(each[name] == told for name, told in wanted.items())]
    return page(call, found)


def items_of(world: World, session: Json) -> list[Json]:
    """Return what a session sells."""
    found: list[Json] = world.notes[session["id"]]["items"]
    return found


def line_items(world: World, call: Call) -> Json:
    """Return a page of what a session sells."""
    return page(call, items_of(world, world.find("checkout.session", call.id(), param="session")))


ROUTES = (
    Route("POST", "/v1/checkout/sessions", "checkout.SessionCreateParams", create),
    Route("GET", "/v1/checkout/sessions", "checkout.SessionListParams", several),
    Route("GET", "/v1/checkout/sessions/{id}", "checkout.SessionRetrieveParams", retrieve),
    Route("POST", "/v1/checkout/sessions/{id}", "checkout.SessionUpdateParams", change),
    Route("POST", "/v1/checkout/sessions/{id}/expire", "checkout.SessionExpireParams", expire),
    Route("GET", "/v1/checkout/sessions/{id}/line_items", "checkout.SessionListLineItemsParams", line_items),
)
