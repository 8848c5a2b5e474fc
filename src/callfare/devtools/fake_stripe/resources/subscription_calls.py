"""Subscriptions as requests ask for them: begun, changed with or without proration, cancelled, resumed.

A change of price or quantity in mid-period is billed by the second: a credit for what is left of the old, and a charge
for what is left of the new (Stripe's page "Prorations"). Renewals are not prorations, and an item's period does not
move by a change of quantity.
"""

from __future__ import annotations

from copy import deepcopy
from functools import partial
from http import HTTPMethod

from callfare.devtools.fake_stripe.refusals import Json, card_error, invalid, missing_param, unexpected_state
from callfare.devtools.fake_stripe.resources import invoices, methods, subscriptions
from callfare.devtools.fake_stripe.resources.catalog import made_price
from callfare.devtools.fake_stripe.resources.invoice_calls import made_item
from callfare.devtools.fake_stripe.resources.periods import share
from callfare.devtools.fake_stripe.routing import Call, Route, page
from callfare.devtools.fake_stripe.world import DAY_S, World, merged_metadata, updated


def create(world: World, call: Call) -> Json:
    """Begin a subscription.

    Raises Refusal when there is nothing to pay with, or the first payment fails and the request wants an error then.
    """
    params = call.params
    if "customer" not in params:
        raise missing_param("customer")
    if not params.get("items"):
        raise missing_param("items")
    customer = world.find("customer", params["customer"], param="customer")
    items = [_given(world, told, f"items[{number}]") for number, told in enumerate(params["items"])]
    default = params.get("default_payment_method")
    method = methods.attached(world, default, customer)["id"] if default else None
    trial_end = _trial_end(world, params)
    behavior = params.get("payment_behavior", "allow_incomplete")
    is_sent = params.get("collection_method") == "send_invoice"
    is_free = trial_end is not None or not sum(each["price"]["unit_amount"] * each["quantity"] for each in items)
    has_method = method or customer["invoice_settings"]["default_payment_method"]
    if not (is_free or is_sent or has_method or behavior == "default_incomplete"):
        raise invoices.missing_method()
    subscription = subscriptions.begin(
        world,
        customer,
        items,
        trial_end=trial_end,
        tries_now=behavior != "default_incomplete",
        cancel_at=_moment(params.get("cancel_at")),
        cancel_at_period_end=params.get("cancel_at_period_end"),
        collection_method=params.get("collection_method"),
        days_until_due=params.get("days_until_due"),
        default_payment_method=method,
        description=params.get("description"),
        metadata=merged_metadata({}, params),
        trial_settings=params.get("trial_settings"),
    )
    if behavior == "error_if_incomplete" and subscription["status"] == "incomplete":
        raise card_error("Your card was declined.", "card_declined", "generic_decline")
    return subscription


def _moment(told: int | str | None) -> int | None:
    """Return when a new subscription is to end; the words for "with its period" are for those that have one."""
    if isinstance(told, str):
        raise invalid("The stand-in takes such words for subscriptions that have begun.", param="cancel_at")
    return told


def _given(world: World, told: Json, here: str) -> Json:
    if "price" in told:
        price = world.find("price", told["price"], param=f"{here}[price]")
    elif "price_data" in told:
        price = made_price(world, told["price_data"], is_active=False)
    else:
        raise missing_param(f"{here}[price]")
    if price["type"] != "recurring":
        raise invalid("The price specified is set to `type=one_time`.", param=f"{here}[price]")
    return {"price": price, "quantity": told.get("quantity", 1), "metadata": told.get("metadata")}


def _trial_end(world: World, params: Json) -> int | None:
    if "trial_period_days" in params and params["trial_period_days"] > 0:
        return int(world.now_s + params["trial_period_days"] * DAY_S)
    told = params.get("trial_end")
    if told is None or told == "now":
        return None
    if told <= world.now_s:
        raise invalid("The trial end must be in the future.", param="trial_end")
    return int(told)


def change(world: World, call: Call) -> Json:
    """Change a subscription: its items, its end, its method, its metadata.

    Raises Refusal when it has ended.
    """
    subscription = world.find("subscription", call.id())
    params = call.params
    if subscription["status"] in subscriptions.ENDED:
        raise unexpected_state("A canceled subscription can only update its cancellation_details and metadata.", "")
    fields: Json = {}
    names = ("cancel_at", "cancel_at_period_end", "days_until_due", "description", "pause_collection")
    fields |= {
        name: params[name] or (False if name == "cancel_at_period_end" else None) for name in names if name in params
    }
    if params.get("pause_collection"):
        fields["pause_collection"] = {"resumes_at": None, **params["pause_collection"]}
    if isinstance(fields.get("cancel_at"), str):
        fields["cancel_at"] = subscriptions.ends_at(subscription)
    if "cancel_at_period_end" in params:
        fields |= {
            "cancel_at": subscriptions.ends_at(subscription) if params["cancel_at_period_end"] else None,
            "canceled_at": world.now_s if params["cancel_at_period_end"] else None,
        }
        reason = "cancellation_requested" if params["cancel_at_period_end"] else None
        fields["cancellation_details"] = {**subscription["cancellation_details"], "reason": reason}
    if params.get("default_payment_method"):
        customer = world.objects[subscription["customer"]]
        fields["default_payment_method"] = methods.attached(world, params["default_payment_method"], customer)["id"]
    behavior = params.get("proration_behavior", "create_prorations")
    if "items" in params:
        fields["items"] = {**subscription["items"], "data": _items(world, subscription, params["items"], behavior)}
    updated(
        world,
        subscription,
        "customer.subscription.updated",
        **fields,
        metadata=merged_metadata(subscription, params),
    )
    if "items" in params and behavior == "always_invoice":
        subscriptions.invoice_now(world, subscription)
    if params.get("trial_end") == "now" and subscription["status"] == "trialing":
        _end_trial(world, subscription)
    subscriptions.schedule(world, subscription)
    return subscription


def _end_trial(world: World, subscription: Json) -> None:
    subscription["trial_end"] = world.now_s
    for item in subscription["items"]["data"]:
        item["current_period_end"] = world.now_s
    world.notes[subscription["id"]]["anchor"] = world.now_s
    subscriptions.turn(world, subscription)


def _items(world: World, subscription: Json, told: list[Json], behavior: str) -> list[Json]:
    items: list[Json] = deepcopy(subscription["items"]["data"])
    by_id = {item["id"]: item for item in items}
    for number, each in enumerate(told):
        if "id" not in each:
            given = _given(world, each, f"items[{number}]")
            made = subscriptions.item_of(world, subscription, given, subscriptions.ends_at(subscription))
            items.append(made)
            _prorate(world, subscription, made, sign=1, behavior=behavior)
            continue
        item = by_id.get(each["id"])
        if item is None:
            raise invalid(f"No such subscription item: '{each['id']}'", param=f"items[{number}][id]")
        _prorate(world, subscription, item, sign=-1, behavior=behavior)
        if each.get("deleted"):
            items.remove(item)
            continue
        if "price" in each or "price_data" in each:
            given = _given(world, each, f"items[{number}]")
            fresh = subscriptions.item_of(world, subscription, given)
            item |= {"price": fresh["price"], "plan": fresh["plan"]}
        item["quantity"] = each.get("quantity", item["quantity"])
        _prorate(world, subscription, item, sign=1, behavior=behavior)
    return items


def _prorate(world: World, subscription: Json, item: Json, *, sign: int, behavior: str) -> None:
    quantity, price = item["quantity"], item["price"]
    if behavior == "none" or subscription["status"] == "trialing":
        return
    left_s = max(0, item["current_period_end"] - world.now_s)
    whole_s = item["current_period_end"] - item["current_period_start"]
    amount = sign * share(price["unit_amount"] * quantity, of_s=left_s, whole_s=whole_s)
    name = world.objects[price["product"]].get("name", "a product")
    what = "Unused time on" if sign < 0 else "Remaining time on"
    made = made_item(
        world,
        world.objects[subscription["customer"]],
        amount=amount,
        currency=subscription["currency"],
        description=f"{what} {quantity} × {name}",
        parent={
            "subscription_details": {"subscription": subscription["id"], "subscription_item": item["id"]},
            "type": "subscription_details",
        },
        period={"end": item["current_period_end"], "start": world.now_s},
        pricing=invoices.priced(price),
        proration=True,
        quantity=quantity,
        quantity_decimal=str(quantity),
    )
    world.emit("invoiceitem.created", made)


def cancel(world: World, call: Call) -> Json:
    """Cancel a subscription now.

    Raises Refusal when it has ended.
    """
    subscription = world.find("subscription", call.id())
    if subscription["status"] in subscriptions.ENDED:
        raise unexpected_state(f"No such subscription: '{subscription['id']}'", "resource_missing")
    return subscriptions.end(world, subscription, reason="cancellation_requested")


def resume(world: World, call: Call) -> Json:
    """Resume a paused subscription with a new period.

    Raises Refusal when it is not paused.
    """
    subscription = world.find("subscription", call.id())
    if subscription["status"] != "paused":
        raise unexpected_state("Only paused subscriptions can be resumed.", "")
    world.notes[subscription["id"]]["anchor"] = world.now_s
    for item in subscription["items"]["data"]:
        item["current_period_end"] = world.now_s
    subscriptions.renew(world, subscription, "subscription_update", status="active")
    world.emit("customer.subscription.resumed", subscription)
    return subscription


def retrieve(world: World, call: Call) -> Json:
    """Return a subscription."""
    return world.find("subscription", call.id())


def several(world: World, call: Call) -> Json:
    """Return a page of subscriptions: by customer, price or status; the cancelled only when asked for."""
    params = call.params
    status = params.get("status")
    found = [each for each in world.all("subscription") if params.get("customer") in {None, each["customer"]}]
    if "price" in params:
        found = [
            each for each in found if any(item["price"]["id"] == params["price"] for item in each["items"]["data"])
        ]
    if status in {None, "all", "ended"}:
        is_shown = partial(_is_shown, status)
        return page(call, [each for each in found if is_shown(each)])
    return page(call, [each for each in found if each["status"] == status])


def _is_shown(status: str | None, subscription: Json) -> bool:
    if status == "all":
        return True
    is_ended = subscription["status"] in subscriptions.ENDED
    return is_ended if status == "ended" else subscription["status"] != "canceled"


def items(world: World, call: Call) -> Json:
    """Return a page of a subscription's items."""
    return page(call, world.find("subscription", call.params["subscription"], param="subscription")["items"]["data"])


ROUTES = (
    Route("POST", "/v1/subscriptions", "SubscriptionCreateParams", create),
    Route("GET", "/v1/subscriptions", "SubscriptionListParams", several),
    Route("GET", "/v1/subscriptions/{id}", "SubscriptionRetrieveParams", retrieve),
    Route("POST", "/v1/subscriptions/{id}", "SubscriptionUpdateParams", change),
    Route(HTTPMethod.DELETE, "/v1/subscriptions/{id}", "SubscriptionCancelParams", cancel),
    Route("POST", "/v1/subscriptions/{id}/resume", "SubscriptionResumeParams", resume),
    Route("GET", "/v1/subscription_items", "SubscriptionItemListParams", items),
)
