"""What these tests make again and again, with the real SDK."""

from __future__ import annotations

from typing import Any

from stripe import StripeClient
from stripe.checkout import Session

ADDRESSES = {"success_url": "http://127.0.0.1:1/done?id={CHECKOUT_SESSION_ID}", "cancel_url": "http://127.0.0.1:1/no"}


def creator(amount: int = 1800, currency: str = "usd", **more: Any) -> dict[str, Any]:
    """Return the line of a package for sale."""
    price = {"currency": currency, "unit_amount": amount, "product_data": {"name": "Creator"}, **more}
    return {"quantity": 1, "price_data": price}


def session(client: StripeClient, **more: Any) -> Session:
    """Return a new session in payment mode for one package."""
    params: Any = {"mode": "payment", "line_items": [creator()], **ADDRESSES, **more}
    return client.v1.checkout.sessions.create(params)


def plan(client: StripeClient, amount: int = 2000, interval: str = "month") -> str:
    """Return the id of a new recurring price."""
    product = client.v1.products.create({"name": "Plan"})
    params: Any = {
        "product": product.id, "currency": "usd", "unit_amount": amount, "recurring": {"interval": interval},
    }  # fmt: skip
    return client.v1.prices.create(params).id


def payer(client: StripeClient, method: str = "pm_card_visa") -> str:
    """Return the id of a new customer who has something to pay with."""
    params: Any = {"payment_method": method, "invoice_settings": {"default_payment_method": method}}
    return client.v1.customers.create({"email": "payer@example.com", **params}).id


def subscription(client: StripeClient, **more: Any) -> Any:
    """Return a new subscription of a customer who can pay."""
    params: Any = {"customer": payer(client), "items": [{"price": plan(client)}], **more}
    return client.v1.subscriptions.create(params)
