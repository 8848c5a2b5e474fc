"""Which of Stripe's events matter, whom each is about, and what a message must be before anything of it is believed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from callfare.errors import InvalidInput

CHECKOUT: Final = (
    "checkout.session.completed",
    "checkout.session.async_payment_succeeded",
    "checkout.session.async_payment_failed",
    "checkout.session.expired",
)
MONEY: Final = (
    "payment_intent.succeeded",
    "payment_intent.payment_failed",
    "payment_intent.canceled",
    "charge.refunded",
    "charge.refund.updated",
    "refund.created",
    "refund.updated",
    "refund.failed",
    "charge.dispute.created",
    "charge.dispute.updated",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.funds_reinstated",
    "charge.dispute.closed",
    "radar.early_fraud_warning.created",
)
PLANS: Final = (
    "customer.subscription.created",
    "customer.subscription.updated",
    "customer.subscription.deleted",
    "customer.subscription.paused",
    "customer.subscription.resumed",
    "customer.subscription.pending_update_applied",
    "customer.subscription.pending_update_expired",
    "customer.subscription.trial_will_end",
)
INVOICES: Final = (
    "invoice.paid",
    "invoice.payment_succeeded",
    "invoice.payment_failed",
    "invoice.payment_action_required",
    "invoice.finalization_failed",
    "invoice.voided",
    "invoice.marked_uncollectible",
    "invoice.overpaid",
)
CUSTOMERS: Final = ("customer.deleted",)
# What an operator is told of in the log, once it is about a payment of ours.
ALARMS: Final = {
    "charge.dispute.created": "a payment is disputed; answer it in Stripe's dashboard",
    "radar.early_fraud_warning.created": "a bank takes a payment for fraud; refund it, or a dispute may follow",
    "invoice.finalization_failed": "an invoice could not be made final, often for want of an address",
}
# What the endpoint is made for. `invoice.payment_succeeded` always stands beside `invoice.paid`.
WANTED: Final = tuple(
    name
    for name in (*CHECKOUT, *MONEY, *PLANS, *INVOICES, *CUSTOMERS)
    if name not in {"invoice.payment_succeeded", "charge.refund.updated"}
)

# Numbers with a point are read exactly, and nothing here counts with them.
_decode = msgspec.json.Decoder(float_hook=str).decode
_ID = re.compile(r"[A-Za-z0-9_]{1,255}", re.ASCII)
_TYPE = re.compile(r"[a-z0-9_.]{1,100}", re.ASCII)
_VERSION = re.compile(r"[A-Za-z0-9_.-]{0,60}", re.ASCII)
_TIME_MAX: Final = 2**40


@dataclass(frozen=True, slots=True)
class Message:
    """An event as it came. object: what it says of what it is about; a hint, and no more."""

    id: str
    type: str
    mode: str
    api_version: str
    said_at_s: int
    account: str | None
    object: Mapping[str, Any]

    @property
    def object_id(self) -> str:
        """The id of what it is about, empty where that has none."""
        return self.hint("id") or ""

    def hint(self, *names: str) -> str | None:
        """Return an id that the object names, as text or as an object that was expanded."""
        found: Any = self.object
        for name in names:
            found = found.get(name) if isinstance(found, dict) else None
        if isinstance(found, dict):
            found = found.get("id")
        return found if isinstance(found, str) and _ID.fullmatch(found) else None


def read_message(body: bytes) -> Message:
    """Return what a message says, once its shape is one that Stripe sends.

    Raises InvalidInput for whatever else somebody signed.
    """
    try:
        told = _told(body)
    except (ValueError, RecursionError):
        raise InvalidInput("the body is no event of Stripe's", param="body") from None
    if isinstance(told, dict) and told.get("object") == "v2.core.event":
        raise InvalidInput("this is a thin event; send snapshots to this endpoint", param="body")
    if not isinstance(told, dict) or told.get("object") != "event" or not isinstance(told.get("livemode"), bool):
        raise InvalidInput("the body is no event of Stripe's", param="body")
    content = told.get("data")
    found = content.get("object") if isinstance(content, dict) else None
    account = told.get("account")
    return Message(
        id=_text(told, "id", _ID),
        type=_text(told, "type", _TYPE),
        mode="live" if told["livemode"] else "test",
        api_version=_text(told, "api_version", _VERSION) if told.get("api_version") is not None else "",
        said_at_s=_time(told.get("created")),
        account=account if isinstance(account, str) else None,
        object=found if isinstance(found, dict) else {},
    )


def _told(body: bytes) -> object:
    """Return what a body says: read fast, and once more where that reader is stricter than JSON."""
    try:
        return _decode(body)
    except msgspec.DecodeError:
        return json.loads(body.decode("utf-8"), parse_constant=_no_constant, parse_float=str)


def _no_constant(_: str) -> object:
    raise ValueError


def _text(told: dict[str, Any], name: str, pattern: re.Pattern[str]) -> str:
    found = told.get(name)
    if not isinstance(found, str) or not pattern.fullmatch(found):
        raise InvalidInput("the body is no event of Stripe's", param=name)
    return found


def _time(told: object) -> int:
    if not isinstance(told, int) or isinstance(told, bool) or not 0 <= told < _TIME_MAX:
        raise InvalidInput("the body is no event of Stripe's", param="created")
    return told
