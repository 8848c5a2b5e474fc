"""Customers: who pays. A deleted one can still be looked at, and takes no new payment."""

from __future__ import annotations

from http import HTTPMethod

from callfare.devtools.fake_stripe.refusals import Json
from callfare.devtools.fake_stripe.resources import methods, subscriptions
from callfare.devtools.fake_stripe.routing import Call, Route, page
from callfare.devtools.fake_stripe.world import World, merged_metadata, taken, updated

_TAKEN = ("address", "description", "email", "name", "phone", "preferred_locales", "shipping", "tax_exempt")


def create(world: World, call: Call) -> Json:
    """Make a customer, with a payment method when one is given."""
    params = call.params
    customer = made(world, **taken(params, *_TAKEN))
    customer["metadata"] = merged_metadata({}, params)
    if "payment_method" in params:
        methods.attach(world, params["payment_method"], customer)
    _set_default(world, customer, params)
    world.emit("customer.created", customer)
    return customer


def made(world: World, **fields: object) -> Json:
    """Return a new customer that nobody has been told of."""
    customer = world.new("customer", "cus", id_width=14, balance=0, delinquent=False, livemode=world.livemode)
    customer |= {
        "invoice_prefix": customer["id"][-8:].upper(),
        "invoice_settings": {
            "custom_fields": None,
            "default_payment_method": None,
            "footer": None,
            "rendering_options": None,
        },
        "metadata": {},
        "next_invoice_sequence": 1,
        "preferred_locales": [],
        "tax_exempt": "none",
    }
    customer |= fields
    return customer


def _set_default(world: World, customer: Json, params: Json) -> None:
    told = (params.get("invoice_settings") or {}).get("default_payment_method")
    if told is not None:
        method = methods.attached(world, told, customer) if told else None
        customer["invoice_settings"] = {
            **customer["invoice_settings"],
            "default_payment_method": method["id"] if method else None,
        }


def change(world: World, call: Call) -> Json:
    """Change a customer's fields."""
    customer = world.find("customer", call.id())
    params = call.params
    before = dict(customer["invoice_settings"])
    _set_default(world, customer, params)
    after, customer["invoice_settings"] = customer["invoice_settings"], before
    fields = taken(params, *_TAKEN)
    return updated(
        world,
        customer,
        "customer.updated",
        **fields,
        metadata=merged_metadata(customer, params),
        invoice_settings=after,
    )


def retrieve(world: World, call: Call) -> Json:
    """Return a customer, or that it was deleted."""
    return world.find("customer", call.id(), or_deleted=True)


def delete(world: World, call: Call) -> Json:
    """Delete a customer; its subscriptions end with it."""
    customer = world.find("customer", call.id(), or_deleted=True)
    if not customer.get("deleted"):
        for subscription in list(world.all("subscription")):
            if subscription["customer"] == customer["id"] and subscription["status"] not in subscriptions.ENDED:
                subscriptions.end(world, subscription, reason=None)
        whole = dict(customer)
        world.delete(customer)
        world.emit("customer.deleted", whole)
    return world.objects[customer["id"]]


def several(world: World, call: Call) -> Json:
    """Return a page of customers, those with an address of e-mail where one is given."""
    email = call.params.get("email")
    return page(call, [each for each in world.all("customer") if email in {None, each["email"]}])


def their_methods(world: World, call: Call) -> Json:
    """Return a page of a customer's payment methods."""
    customer = world.find("customer", call.id())
    return page(call, methods.of_customer(world, customer["id"], call.params.get("type")))


ROUTES = (
    Route("POST", "/v1/customers", "CustomerCreateParams", create),
    Route("GET", "/v1/customers", "CustomerListParams", several),
    Route("GET", "/v1/customers/{id}", "CustomerRetrieveParams", retrieve),
    Route("POST", "/v1/customers/{id}", "CustomerUpdateParams", change),
    Route(HTTPMethod.DELETE, "/v1/customers/{id}", "CustomerDeleteParams", delete),
    Route("GET", "/v1/customers/{id}/payment_methods", "CustomerListPaymentMethodsParams", their_methods),
)
