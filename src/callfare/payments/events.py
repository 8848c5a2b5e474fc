"""Which of Stripe's events matter, whom each is about, and what a message must be before anything of it is believed."""

from __future__ import annotations

import json
import re
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

_ID = re.compile(r"[A-Za-z0-9_]{1,255}", re.ASCII)
_TYPE = re.compile(r"[a-z0-9_.]{1,100}", re.ASCII)
_VERSION = re.compile(r"[A-Za-z0-9_.-]{0,60}", re.ASCII)
_TIME_MAX: Final = 2**40


class _Hints(msgspec.Struct, gc=False):
    """What may be asked of the object of an event: nothing else of it is looked at, or kept in memory."""

    id: Any = None
    client_reference_id: Any = None
    payment_intent: Any = None
    metadata: Any = None
    charge: Any = None
    customer: Any = None


class _Content(msgspec.Struct, gc=False):
    object: _Hints


class _Event(msgspec.Struct, gc=False):
    """An event of the shape that Stripe sends."""

    object: str
    id: str
    type: str
    livemode: bool
    created: int
    content: _Content = msgspec.field(name="data")
    api_version: str | None = None
    account: Any = None


_HINTS: Final = _Hints.__struct_fields__
# Numbers with a point are read exactly, and nothing here counts with them.
_decode = msgspec.json.Decoder(_Event, float_hook=str).decode


@dataclass(frozen=True, slots=True)
class Message:
    """An event as it came. object: what it says of what it is about; a hint, and no more."""

    id: str
    type: str
    mode: str
    api_version: str
    said_at_s: int
    account: str | None
    object: _Hints

    @property
    def object_id(self) -> str:
        """The id of what it is about, empty where that has none."""
        return self.hint("id") or ""

    def hint(self, first: str, *names: str) -> str | None:
        """Return an id that the object names, as text or as an object that was expanded."""
        assert first in _HINTS, first
        found: Any = getattr(self.object, first)
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
        told = _decode(body)
    except (ValueError, RecursionError):
        # What the strict reader minds may be no fault: it is looked at once more.
        told = _read_slowly(body)
    if told.object == "v2.core.event":
        raise InvalidInput("this is a thin event; send snapshots to this endpoint", param="body")
    if told.object != "event":
        raise InvalidInput("the body is no event of Stripe's", param="body")
    return Message(
        id=_text("id", told.id, _ID),
        type=_text("type", told.type, _TYPE),
        mode="live" if told.livemode else "test",
        api_version=_text("api_version", told.api_version, _VERSION) if told.api_version is not None else "",
        said_at_s=_time(told.created),
        account=told.account if isinstance(told.account, str) else None,
        object=told.content.object,
    )


def _read_slowly(body: bytes) -> _Event:
    """Return what a body says, whatever its object is, where it is an event at all."""
    try:
        told = json.loads(body.decode("utf-8"), parse_constant=_no_constant, parse_float=str)
    except (ValueError, RecursionError):
        raise InvalidInput("the body is no event of Stripe's", param="body") from None
    if isinstance(told, dict) and told.get("object") == "v2.core.event":
        raise InvalidInput("this is a thin event; send snapshots to this endpoint", param="body")
    if not isinstance(told, dict) or not isinstance(told.get("livemode"), bool):
        raise InvalidInput("the body is no event of Stripe's", param="body")
    content = told.get("data")
    found = content.get("object") if isinstance(content, dict) else None
    hints = {name: found.get(name) for name in _HINTS} if isinstance(found, dict) else {}
    named: Any = {name: told.get(name) for name in ("object", "id", "type", "livemode", "created", "api_version")}
    return _Event(**named, account=told.get("account"), content=_Content(_Hints(**hints)))


def _no_constant(_: str) -> object:
    raise ValueError


def _text(name: str, found: object, pattern: re.Pattern[str]) -> str:
    if not isinstance(found, str) or not pattern.fullmatch(found):
        raise InvalidInput("the body is no event of Stripe's", param=name)
    return found


def _time(told: object) -> int:
    if not isinstance(told, int) or isinstance(told, bool) or not 0 <= told < _TIME_MAX:
        raise InvalidInput("the body is no event of Stripe's", param="created")
    return told
