"""Invoices: from draft to paid, void or uncollectible, with the payment intent that pays them.

Source of states and events: Stripe's pages "Status transitions and finalization" and "Subscription webhooks". Since the
API's version "basil" an invoice names its subscription under `parent` and its payments as `invoice_payment` objects.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from callfare.devtools.fake_stripe.refusals import Json, Refusal, invalid, unexpected_state
from callfare.devtools.fake_stripe.resources import intents
from callfare.devtools.fake_stripe.routing import whole
from callfare.devtools.fake_stripe.world import World

Line = dict[str, Any]
OnEnd = Callable[[World, Json, str], None]


def made(world: World, customer: Json, currency: str, lines: list[Line], reason: str, **fields: object) -> Json:
    """Return a new draft with lines, told to everyone."""
    invoice = world.new(
        "invoice",
        "in",
        account_country="US",
        amount_overpaid=0,
        amount_paid=0,
        amount_shipping=0,
        attempt_count=0,
        attempted=False,
        auto_advance=True,
        automatic_tax={"disabled_reason": None, "enabled": False, "liability": None, "provider": None, "status": None},
        billing_reason=reason,
        collection_method="charge_automatically",
        currency=currency,
        customer=customer["id"],
        customer_email=customer["email"],
        customer_name=customer["name"],
        customer_tax_exempt="none",
        customer_tax_ids=[],
        default_tax_rates=[],
        discounts=[],
        issuer={"type": "self"},
        metadata={},
        payment_settings={"default_mandate": None, "payment_method_options": None, "payment_method_types": None},
        period_end=world.now_s,
        period_start=world.now_s,
        post_payment_credit_notes_amount=0,
        pre_payment_credit_notes_amount=0,
        starting_balance=0,
        status="draft",
        status_transitions=dict.fromkeys(("finalized_at", "marked_uncollectible_at", "paid_at", "voided_at")),
        total_discount_amounts=[],
    )
    invoice |= fields
    put_lines(world, invoice, lines)
    world.emit("invoice.created", invoice)
    return invoice


def put_lines(world: World, invoice: Json, lines: list[Line]) -> None:
    """Give an invoice its lines, and what they come to."""
    made_lines = [_line(world, invoice, line) for line in lines]
    total = sum(line["amount"] for line in made_lines)
    due = max(0, total)
    invoice |= {
        "lines": whole(f"/v1/invoices/{invoice['id']}/lines", made_lines),
        "amount_due": due,
        "amount_remaining": due,
        "subtotal": total,
        "subtotal_excluding_tax": total,
        "total": total,
        "total_excluding_tax": total,
        "total_taxes": [],
    }


def _line(world: World, invoice: Json, line: Line) -> Json:
    return world.new(
        "line_item",
        "il",
        **{
            "currency": invoice["currency"],
            "discount_amounts": [],
            "discountable": True,
            "discounts": [],
            "invoice": invoice["id"],
            "metadata": {},
            "period": {"end": world.now_s, "start": world.now_s},
            "pretax_credit_amounts": [],
            "quantity": 1,
            "subtotal": line["amount"],
            "taxes": [],
            **line,
        },
    )


def priced(price: Json) -> Json:
    """Return what a line tells of its price."""
    return {
        "price_details": {"price": price["id"], "product": price["product"]},
        "type": "price_details",
        "unit_amount_decimal": price["unit_amount_decimal"],
    }


def issue(world: World, invoice: Json, *, intent: Json | None = None) -> Json:
    """Make a draft final, with an intent for what is due; what is due nothing is paid at once.

    intent: the one that has paid it already, as Checkout's; None makes a new one. Raises Refusal when it is no draft.
    """
    must_be(invoice, ("draft",), "finalized")
    customer = world.objects[invoice["customer"]]
    number = customer.get("next_invoice_sequence", 1)
    if not customer.get("deleted"):
        customer["next_invoice_sequence"] = number + 1
    invoice |= {
        "auto_advance": invoice["auto_advance"],
        "effective_at": world.now_s,
        "ending_balance": 0,
        "hosted_invoice_url": f"{world.base_url}/i/{invoice['id']}",
        "invoice_pdf": f"{world.base_url}/i/{invoice['id']}/pdf",
        "number": f"{customer.get('invoice_prefix', 'DELETED')}-{number:04d}",
        "status": "open",
        "status_transitions": {**invoice["status_transitions"], "finalized_at": world.now_s},
    }
    if invoice["amount_due"] > 0:
        _expect_payment(world, invoice, intent)
    world.emit("invoice.finalized", invoice)
    if invoice["amount_due"] == 0:
        paid(world, invoice)
    return invoice


def _expect_payment(world: World, invoice: Json, paying: Json | None) -> None:
    intent = paying or _new_intent(world, invoice)
    world.notes[invoice["id"]]["intent"] = intent["id"]
    payment = world.new(
        "invoice_payment",
        "inpay",
        amount_requested=invoice["amount_due"],
        currency=invoice["currency"],
        invoice=invoice["id"],
        is_default=True,
        payment={"payment_intent": intent["id"], "type": "payment_intent"},
        status="open",
        status_transitions={"canceled_at": None, "paid_at": None},
    )
    world.notes[invoice["id"]]["payment"] = payment["id"]
    invoice["confirmation_secret"] = {"client_secret": intent["client_secret"], "type": "payment_intent"}
    if paying is None:
        world.follow(intent["id"], partial(_follow, world, invoice))
        world.emit("payment_intent.created", intent)


def _new_intent(world: World, invoice: Json) -> Json:
    kinds = invoice["payment_settings"]["payment_method_types"] or ["card", "sepa_debit", "us_bank_account"]
    return intents.made(
        world,
        amount=invoice["amount_due"],
        currency=invoice["currency"],
        customer=invoice["customer"],
        description="Subscription creation" if invoice["billing_reason"] == "subscription_create" else None,
        payment_method_types=kinds,
    )


def intent_of(world: World, invoice: Json) -> Json | None:
    """Return the intent that pays an invoice, None while it has none."""
    return world.objects.get(world.notes[invoice["id"]].get("intent", ""))


def on_end(world: World, invoice: Json, act: OnEnd) -> None:
    """Have someone told how each attempt to pay an invoice went: "paid", "failed" or "asked"."""
    world.notes[invoice["id"]].setdefault("on_end", []).append(act)


def _tell(world: World, invoice: Json, how: str) -> None:
    for act in world.notes[invoice["id"]].get("on_end", []):
        act(world, invoice, how)


def _follow(world: World, invoice: Json, intent: Json) -> None:
    if invoice["status"] not in {"open", "uncollectible"}:
        return
    match intent["status"]:
        case "succeeded":
            paid(world, invoice)
        case "requires_payment_method" if intent["last_payment_error"] is not None:
            _fail(world, invoice, intent)
        case "requires_action":
            _attempted(world, invoice)
            world.emit("invoice.payment_action_required", invoice)
            _tell(world, invoice, "asked")
        case _:
            pass  # it is under way, or waits


def _attempted(world: World, invoice: Json) -> None:
    invoice |= {"attempt_count": invoice["attempt_count"] + 1, "attempted": True}
    world.counts["invoice attempts"] += 1


def _fail(world: World, invoice: Json, intent: Json) -> None:
    _attempted(world, invoice)
    _tell(world, invoice, "failed")
    if intent["last_payment_error"]["code"] == "authentication_required":
        world.emit("invoice.payment_action_required", invoice)
    world.emit("invoice.payment_failed", invoice)


def paid(world: World, invoice: Json, *, out_of_band: bool = False) -> None:
    """Let an invoice be paid, and say so under each name of the event."""
    payment = world.objects.get(world.notes[invoice["id"]].get("payment", ""))
    due = invoice["amount_due"]
    if due > 0:
        invoice["attempted"] = True
        invoice["attempt_count"] = max(1, invoice["attempt_count"] + (0 if out_of_band else 1))
    invoice |= {
        "amount_paid": due,
        "amount_remaining": 0,
        "next_payment_attempt": None,
        "status": "paid",
        "status_transitions": {**invoice["status_transitions"], "paid_at": world.now_s},
    }
    if payment is not None and not out_of_band:
        payment |= {
            "amount_paid": due,
            "status": "paid",
            "status_transitions": {"canceled_at": None, "paid_at": world.now_s},
        }
    _tell(world, invoice, "paid")
    world.emit("invoice.updated", invoice, {"status": "open"})
    world.emit("invoice.paid", invoice)
    world.emit("invoice.payment_succeeded", invoice)
    if payment is not None and not out_of_band:
        world.emit("invoice_payment.paid", payment)


def pay(world: World, invoice: Json, method: Json | None, *, is_off_session: bool = True) -> Json:
    """Try to pay an open invoice by a payment method, or by the one its customer has.

    Raises Refusal when there is none, and when it is declined.
    """
    must_be(invoice, ("open", "uncollectible"), "paid")
    method = method or default_method(world, invoice)
    if method is None:
        raise missing_method()
    intent = intent_of(world, invoice)
    assert intent is not None, invoice["id"]
    intents.attempt(world, intent, method, is_off_session=is_off_session)
    return invoice


def missing_method() -> Refusal:
    """Return the refusal of a payment by a customer who has nothing to pay with."""
    return invalid(
        "This customer has no attached payment source or default payment method. Please consider adding a default"
        " payment method.",
        code="resource_missing",
    )


def default_method(world: World, invoice: Json) -> Json | None:
    """Return what an invoice is paid with: its own method, its subscription's, or its customer's."""
    parent = (invoice["parent"] or {}).get("subscription_details") or {}
    subscription = world.objects.get(parent.get("subscription", ""), {})
    customer = world.objects.get(invoice["customer"], {})
    chosen = (
        invoice["default_payment_method"]
        or subscription.get("default_payment_method")
        or customer.get("invoice_settings", {}).get("default_payment_method")
    )
    return world.objects.get(chosen or "")


def try_quietly(world: World, invoice: Json) -> None:
    """Try to pay an open invoice as Stripe does by itself: a decline is told by events, and raises nothing."""
    if invoice["status"] != "open":
        return
    try:
        pay(world, invoice, None)
    except Refusal as refusal:
        if not intents.is_decline(refusal):
            _attempted(world, invoice)
            _tell(world, invoice, "failed")
            world.emit("invoice.payment_failed", invoice)


def void(world: World, invoice: Json) -> Json:
    """Make an open invoice as if it had never been.

    Raises Refusal when it is a draft, paid or void.
    """
    must_be(invoice, ("open", "uncollectible"), "voided")
    _end(world, invoice, "void", "voided_at")
    world.emit("invoice.voided", invoice)
    return invoice


def give_up(world: World, invoice: Json) -> Json:
    """Mark an open invoice as one that will not be paid; it still can be.

    Raises Refusal when it is not open.
    """
    must_be(invoice, ("open",), "marked as uncollectible")
    stamps = {**invoice["status_transitions"], "marked_uncollectible_at": world.now_s}
    invoice |= {"status": "uncollectible", "status_transitions": stamps, "next_payment_attempt": None}
    world.emit("invoice.marked_uncollectible", invoice)
    return invoice


def _end(world: World, invoice: Json, status: str, stamp: str) -> None:
    intent = intent_of(world, invoice)
    invoice |= {
        "status": status,
        "status_transitions": {**invoice["status_transitions"], stamp: world.now_s},
        "next_payment_attempt": None,
    }
    if intent is not None and intent["status"] not in {"succeeded", "canceled", "processing"}:
        intents.cancelled(world, intent, "void_invoice")
    payment = world.objects.get(world.notes[invoice["id"]].get("payment", ""))
    if payment is not None:
        payment |= {"status": "canceled", "status_transitions": {"canceled_at": world.now_s, "paid_at": None}}


def must_be(invoice: Json, states: tuple[str, ...], what: str) -> None:
    """Raise Refusal unless an invoice has one of some states."""
    if invoice["status"] not in states:
        raise unexpected_state(
            f"This invoice cannot be {what}: its status is {invoice['status']}.", "invoice_not_editable"
        )


def found(world: World, id: str) -> Json:
    """Return an invoice that was not deleted.

    Raises Refusal when there is none.
    """
    return world.find("invoice", id)


def payments_of(world: World, invoice: Json) -> list[Json]:
    """Return an invoice's payments, the newest first."""
    return [each for each in world.all("invoice_payment") if each["invoice"] == invoice["id"]]
