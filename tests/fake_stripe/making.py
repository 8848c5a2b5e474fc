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
