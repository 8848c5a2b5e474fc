"""Subscriptions as time goes by: begun, on trial, renewed, behind with payment, paused, ended.

Source: Stripe's pages "How subscriptions work", "Subscription webhooks" and "Trial periods". A renewal's invoice stays
a draft for about an hour and is tried then; after each failure it is tried again some days later, and in the end the
subscription is cancelled, or what the settings say. Periods stand on the items, not on the subscription.
"""

from __future__ import annotations

from copy import deepcopy
from functools import partial
from typing import Any, Final

from callfare.devtools.fake_stripe.refusals import Json
from callfare.devtools.fake_stripe.resources import invoices
from callfare.devtools.fake_stripe.resources.invoice_calls import line_of, pending
from callfare.devtools.fake_stripe.resources.periods import period_end
from callfare.devtools.fake_stripe.routing import whole
from callfare.devtools.fake_stripe.world import DAY_S, World, updated

_INCOMPLETE_S: Final = 23 * 3_600
_WILL_END_S: Final = 3 * DAY_S
ENDED: Final = ("canceled", "incomplete_expired")
_OWING: Final = ("incomplete", "past_due", "unpaid")


def begin(
    world: World,
    customer: Json,
    items: list[Json],
    *,
    trial_end: int | None = None,
    tries_now: bool = True,
    **fields: Any,  # fields of the object
) -> Json:
    """Start a subscription with its first invoice, and return it as paying that left it.

    items: {"price": a price, "quantity": …, "metadata": …}. tries_now: whether it is tried at once, by what the
    customer has; Checkout pays it itself. Raises Refusal when there is nothing to pay with.
    """
    is_trial = trial_end is not None
    subscription = _new(world, customer, items, trial_end, fields)
    world.notes[subscription["id"]]["anchor"] = trial_end or world.now_s
    world.emit("customer.subscription.created", subscription)
    if trial_end is not None:
        _announce_trial_end(world, subscription, trial_end)
    lines = [_line(world, subscription, item, is_trial=is_trial) for item in subscription["items"]["data"]]
    invoice = _invoice(world, subscription, lines, "subscription_create")
    is_sent = subscription["collection_method"] == "send_invoice"
    invoices.issue(world, invoice)
    schedule(world, subscription)
    if invoice["status"] == "open" and not is_sent:
        world.clock.at(world.now_s + _INCOMPLETE_S, partial(_expire_first, world, subscription, invoice))
        if tries_now:
            invoices.try_quietly(world, invoice)
    elif is_sent:
        updated(world, subscription, "customer.subscription.updated", status="active")
    return subscription


def _new(world: World, customer: Json, items: list[Json], trial_end: int | None, fields: Json) -> Json:
    subscription = world.new(
        "subscription",
        "sub",
        automatic_tax={"disabled_reason": None, "enabled": False, "liability": None},
        billing_cycle_anchor=trial_end or world.now_s,
        billing_mode={"type": "flexible", "flexible": {"proration_discounts": "included"}, "updated_at": None},
        billing_schedules=[],
        cancel_at_period_end=False,
        cancellation_details={"comment": None, "feedback": None, "reason": None},
        collection_method="charge_automatically",
        currency=items[0]["price"]["currency"],
        customer=customer["id"],
        default_tax_rates=[],
        discounts=[],
        invoice_settings={
            "account_tax_ids": None,
            "custom_fields": None,
            "description": None,
            "footer": None,
            "issuer": {"type": "self"},
        },
        metadata={},
        payment_settings={
            "payment_method_options": None,
            "payment_method_types": None,
            "save_default_payment_method": "off",
        },
        start_date=world.now_s,
        status="trialing" if trial_end else "incomplete",
        trial_end=trial_end,
        trial_start=world.now_s if trial_end else None,
        trial_settings={"end_behavior": {"missing_payment_method": "create_invoice"}},
    )
    subscription |= {name: told for name, told in fields.items() if told is not None}
    listed = [item_of(world, subscription, told, trial_end) for told in items]
    url = f"/v1/subscription_items?subscription={subscription['id']}"
    subscription["items"] = whole(url, listed)
    return subscription


def item_of(world: World, subscription: Json, told: Json, until_s: int | None = None) -> Json:
    """Return a new item of a subscription, for the period from now on."""
    price = told["price"]
    recurring = price["recurring"]
    start = world.now_s
    until_s = until_s or period_end(start, start, recurring["interval"], recurring["interval_count"])
    return world.new(
        "subscription_item",
        "si",
        id_width=14,
        current_period_end=until_s,
        current_period_start=start,
        discounts=[],
        metadata=told.get("metadata") or {},
        plan=_plan(price),
        price=price,
        quantity=told.get("quantity", 1),
        subscription=subscription["id"],
        tax_rates=[],
    )


def _plan(price: Json) -> Json:
    """Return a price as the older object that items still carry."""
    recurring = price["recurring"]
    return {
        "id": price["id"],
        "object": "plan",
        "active": price["active"],
        "amount": price["unit_amount"],
        "amount_decimal": price["unit_amount_decimal"],
        "billing_scheme": "per_unit",
        "created": price["created"],
        "currency": price["currency"],
        "interval": recurring["interval"],
        "interval_count": recurring["interval_count"],
        "livemode": price["livemode"],
        "metadata": price["metadata"],
        "meter": None,
        "nickname": price["nickname"],
        "product": price["product"],
        "tiers_mode": None,
        "transform_usage": None,
        "trial_period_days": None,
        "usage_type": "licensed",
    }


def _line(world: World, subscription: Json, item: Json, *, is_trial: bool = False) -> Json:
    price, quantity = item["price"], item["quantity"]
    name = world.objects[price["product"]].get("name", "a product")
    every = price["recurring"]["interval"]
    amount = 0 if is_trial else price["unit_amount"] * quantity
    shown = f"{price['unit_amount']} {price['currency']} / {every}"
    return {
        "amount": amount,
        "description": f"Trial period for {name}" if is_trial else f"{quantity} × {name} (at {shown})",
        "metadata": dict(subscription["metadata"]),
        "parent": {
            "invoice_item_details": None,
            "subscription_item_details": {
                "invoice_item": None,
                "proration": False,
                "proration_details": {"credited_items": None},
                "subscription": subscription["id"],
                "subscription_item": item["id"],
            },
            "type": "subscription_item_details",
        },
        "period": {"end": item["current_period_end"], "start": item["current_period_start"]},
        "pricing": invoices.priced(price),
        "quantity": quantity,
        "subscription": subscription["id"],
    }


def _invoice(world: World, subscription: Json, lines: list[Json], reason: str) -> Json:
    customer = world.objects[subscription["customer"]]
    waiting = pending(world, customer["id"], subscription["id"])
    started = [item["current_period_start"] for item in subscription["items"]["data"]]
    invoice = invoices.made(
        world,
        customer,
        subscription["currency"],
        [*(line_of(item) for item in waiting), *lines],
        reason,
        collection_method=subscription["collection_method"],
        due_date=world.now_s + (subscription["days_until_due"] or 30) * DAY_S
        if subscription["collection_method"] == "send_invoice"
        else None,
        parent={
            "quote_details": None,
            "subscription_details": {
                "metadata": dict(subscription["metadata"]),
                "subscription": subscription["id"],
            },
            "type": "subscription_details",
        },
        period_start=world.notes[subscription["id"]].get("last_start", min(started)),
    )
    for item in waiting:
        item["invoice"] = invoice["id"]
    world.notes[subscription["id"]]["last_start"] = min(started)
    subscription["latest_invoice"] = invoice["id"]
    invoices.on_end(world, invoice, partial(_paying_went, subscription))
    return invoice


def invoice_now(world: World, subscription: Json) -> Json:
    """Bill what waits for a subscription's next invoice at once, and try to be paid."""
    invoice = _invoice(world, subscription, [], "subscription_update")
    invoices.issue(world, invoice)
    invoices.try_quietly(world, invoice)
    return invoice


# What paying does


def _paying_went(subscription: Json, world: World, invoice: Json, how: str) -> None:
    if subscription["status"] in ENDED:
        return
    if how == "paid":
        is_last = subscription["latest_invoice"] == invoice["id"]
        if subscription["status"] in _OWING and is_last:
            updated(world, subscription, "customer.subscription.updated", status="active")
    elif how == "failed" and invoice["billing_reason"] != "subscription_create":
        _fall_behind(world, subscription, invoice)


def _fall_behind(world: World, subscription: Json, invoice: Json) -> None:
    days = world.settings.dunning_days
    made = invoice["attempt_count"]
    if made <= len(days):
        invoice["next_payment_attempt"] = world.now_s + days[made - 1] * DAY_S
        world.clock.at(invoice["next_payment_attempt"], partial(_try_again, world, invoice, made))
        updated(world, subscription, "customer.subscription.updated", status="past_due")
        return
    invoice["next_payment_attempt"] = None
    if world.settings.dunning_end == "canceled":
        end(world, subscription, reason="payment_failed")
    else:
        updated(world, subscription, "customer.subscription.updated", status=world.settings.dunning_end)


def _try_again(world: World, invoice: Json, made: int) -> None:
    if invoice["status"] == "open" and invoice["attempt_count"] == made and invoice["auto_advance"]:
        invoices.try_quietly(world, invoice)


def _expire_first(world: World, subscription: Json, invoice: Json) -> None:
    if subscription["status"] == "incomplete":
        invoices.void(world, invoice)
        updated(world, subscription, "customer.subscription.updated", status="incomplete_expired", ended_at=world.now_s)


# What time does


def _announce_trial_end(world: World, subscription: Json, trial_end: int) -> None:
    def announce() -> None:
        if subscription["status"] == "trialing" and subscription["trial_end"] == trial_end:
            world.emit("customer.subscription.trial_will_end", subscription)

    world.clock.at(max(world.now_s, trial_end - _WILL_END_S), announce)


def ends_at(subscription: Json) -> int:
    """Return when the present period ends."""
    return int(min(item["current_period_end"] for item in subscription["items"]["data"]))


def schedule(world: World, subscription: Json) -> None:
    """Have the present period end at its time, whenever that was before."""
    notes = world.notes[subscription["id"]]
    if "timer" in notes:
        notes["timer"].is_off = True
    at_s = min(ends_at(subscription), subscription["cancel_at"] or ends_at(subscription))
    notes["timer"] = world.clock.at(at_s, partial(turn, world, subscription))


def turn(world: World, subscription: Json) -> None:
    """End the present period: renew, or end, or pause, as it stands."""
    if subscription["status"] in {*ENDED, "paused"}:
        return
    is_over = subscription["cancel_at"] is not None and subscription["cancel_at"] <= world.now_s
    if subscription["cancel_at_period_end"] or is_over:
        end(world, subscription, reason="cancellation_requested")
        return
    if subscription["status"] == "trialing" and not _has_method(world, subscription):
        missing = subscription["trial_settings"]["end_behavior"]["missing_payment_method"]
        if missing == "cancel":
            end(world, subscription, reason="cancellation_requested")
            return
        if missing == "pause":
            subscription["status"] = "paused"
            world.emit("customer.subscription.paused", subscription)
            world.emit("customer.subscription.updated", subscription, {"status": "trialing"})
            return
    renew(world, subscription, "subscription_cycle")


def _has_method(world: World, subscription: Json) -> bool:
    settings = world.objects.get(subscription["customer"], {}).get("invoice_settings", {})
    return bool(subscription["default_payment_method"] or settings.get("default_payment_method"))


def renew(world: World, subscription: Json, reason: str, *, status: str | None = None) -> Json:
    """Begin the next period with its invoice, and return that."""
    items = subscription["items"]["data"]
    previous: Json = {"items": {"data": deepcopy(items)}, "latest_invoice": subscription["latest_invoice"]}
    anchor = world.notes[subscription["id"]]["anchor"]
    for item in items:
        recurring = item["price"]["recurring"]
        start = min(item["current_period_end"], world.now_s)
        item["current_period_start"] = start
        item["current_period_end"] = period_end(anchor, start, recurring["interval"], recurring["interval_count"])
    lines = [_line(world, subscription, item) for item in items]
    if subscription["status"] == "trialing" or status is not None:
        previous["status"] = subscription["status"]
        subscription["status"] = status or "active"
    invoice = _invoice(world, subscription, lines, reason)
    world.emit("customer.subscription.updated", subscription, previous)
    schedule(world, subscription)
    invoice["automatically_finalizes_at"] = world.now_s + world.settings.draft_s
    world.clock.at(world.now_s + world.settings.draft_s, partial(_collect, world, subscription, invoice))
    return invoice


def _collect(world: World, subscription: Json, invoice: Json) -> None:
    if invoice["status"] != "draft" or subscription["status"] == "unpaid":
        return
    paused = (subscription["pause_collection"] or {}).get("behavior")
    if paused == "keep_as_draft":
        return
    invoices.issue(world, invoice)
    if paused == "void":
        invoices.void(world, invoice)
    elif paused == "mark_uncollectible":
        invoices.give_up(world, invoice)
    elif subscription["collection_method"] == "send_invoice":
        world.emit("invoice.sent", invoice)
    else:
        invoices.try_quietly(world, invoice)


def end(world: World, subscription: Json, *, reason: str | None) -> Json:
    """Cancel a subscription now, and say so; its open invoices stay, and are tried no more."""
    if "timer" in world.notes[subscription["id"]]:
        world.notes[subscription["id"]]["timer"].is_off = True
    invoice = world.objects.get(subscription["latest_invoice"] or "", {})
    if invoice.get("status") in {"draft", "open"}:
        invoice |= {"auto_advance": False, "next_payment_attempt": None}
    subscription |= {
        "canceled_at": subscription["canceled_at"] or world.now_s,
        "cancellation_details": {**subscription["cancellation_details"], "reason": reason},
        "ended_at": world.now_s,
        "status": "canceled",
    }
    world.emit("customer.subscription.deleted", subscription)
    return subscription
