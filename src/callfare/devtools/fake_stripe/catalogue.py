"""Every route of the API, gathered from the families, and what objects show only when asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from callfare.devtools.fake_stripe.refusals import Json
from callfare.devtools.fake_stripe.resources import (
    account,
    catalog,
    charges,
    checkout,
    checkout_paying,
    credit_notes,
    customers,
    disputes,
    intents,
    invoice_calls,
    invoices,
    methods,
    portal,
    refunds,
    setups,
    subscription_calls,
)
from callfare.devtools.fake_stripe.routing import Inclusion, Route, whole
from callfare.devtools.fake_stripe.world import World

ROUTES: Final[tuple[Route, ...]] = (
    *account.ROUTES,
    *catalog.ROUTES,
    *charges.ROUTES,
    *checkout.ROUTES,
    *checkout_paying.ROUTES,
    *credit_notes.ROUTES,
    *customers.ROUTES,
    *disputes.ROUTES,
    *intents.ROUTES,
    *invoice_calls.ROUTES,
    *methods.ROUTES,
    *portal.ROUTES,
    *refunds.ROUTES,
    *setups.ROUTES,
    *subscription_calls.ROUTES,
)


def _line_items(world: World, session: Json) -> Json:
    return whole(f"/v1/checkout/sessions/{session['id']}/line_items", checkout.items_of(world, session))


def _refunds(world: World, charge: Json) -> Json:
    return whole(f"/v1/charges/{charge['id']}/refunds", charges.refunds_of(world, charge))


def _payments(world: World, invoice: Json) -> Json:
    return whole(f"/v1/invoice_payments?invoice={invoice['id']}", invoices.payments_of(world, invoice))


def _subscriptions(world: World, customer: Json) -> Json:
    found = [each for each in world.all("subscription") if each["customer"] == customer["id"]]
    return whole(f"/v1/customers/{customer['id']}/subscriptions", found)


INCLUSIONS: Final[Mapping[tuple[str, str], Inclusion]] = {
    ("checkout.session", "line_items"): _line_items,
    ("charge", "refunds"): _refunds,
    ("invoice", "payments"): _payments,
    ("customer", "subscriptions"): _subscriptions,
}
