"""Charges and balance transactions: what an attempt to be paid left behind, and what it moved."""

from __future__ import annotations

from typing import Final

from callfare.devtools.fake_stripe.cards import Instrument
from callfare.devtools.fake_stripe.refusals import Json
from callfare.devtools.fake_stripe.resources.methods import instrument_of, shown_card
from callfare.devtools.fake_stripe.routing import Call, Route, page
from callfare.devtools.fake_stripe.world import DAY_S, World, merged_metadata, taken, updated

_FEE_PER_MILLE: Final = 29
_FEE_FIXED: Final = 30
_AVAILABLE_DAYS: Final = 2


def made(world: World, intent: Json, method: Json, **fields: object) -> Json:
    """Return a new charge for an intent that nobody has been told of."""
    found = instrument_of(world, method)
    charge = world.new(
        "charge",
        "py" if found.is_delayed else "ch",
        amount=intent["amount"],
        amount_captured=0,
        amount_refunded=0,
        billing_details=method["billing_details"],
        captured=False,
        currency=intent["currency"],
        customer=intent["customer"],
        description=intent["description"],
        disputed=False,
        fraud_details={},
        metadata=dict(intent["metadata"]),
        paid=False,
        payment_intent=intent["id"],
        payment_method=method["id"],
        payment_method_details=_details(found, method),
        receipt_email=intent["receipt_email"],
        refunded=False,
        shipping=intent["shipping"],
        status="pending",
    )
    charge["outcome"] = _outcome("approved_by_network", "authorized", "Payment complete.")
    charge["receipt_url"] = f"{world.base_url}/receipts/{charge['id']}"
    charge |= fields
    intent["latest_charge"] = charge["id"]
    return charge


def _outcome(network_status: str, type: str, message: str, reason: str | None = None) -> Json:
    return {
        "advice_code": None,
        "network_advice_code": None,
        "network_decline_code": None,
        "network_status": network_status,
        "reason": reason,
        "risk_level": "normal",
        "seller_message": message,
        "type": type,
    }


def _details(found: Instrument, method: Json) -> Json:
    if found.is_delayed:
        own = method[found.kind]
        taken = {
            "sepa_debit": ("bank_code", "branch_code", "country", "fingerprint", "last4"),
            "us_bank_account": (
                "account_holder_type",
                "account_type",
                "bank_name",
                "fingerprint",
                "last4",
                "routing_number",
            ),
        }
        return {"type": found.kind, found.kind: {name: own[name] for name in taken[found.kind]}}
    card = {
        **shown_card(found),
        "amount_authorized": None,
        "authorization_code": None,
        "installments": None,
        "mandate": None,
        "network": found.brand,
        "network_token": {"used": False},
        "network_transaction_id": None,
        "regulated_status": "unregulated",
        "three_d_secure": None,
        "wallet": None,
    }
    return {"type": "card", "card": card}


def failed(world: World, charge: Json, code: str, decline_code: str, message: str) -> None:
    """Let a charge fail, and say so."""
    charge |= {
        "failure_code": code,
        "failure_message": message,
        "outcome": _outcome("declined_by_network", "issuer_declined", "The bank declined the payment.", decline_code),
        "status": "failed",
    }
    world.emit("charge.failed", charge)


def succeeded(world: World, charge: Json, *, is_captured: bool = True) -> None:
    """Let a charge succeed, and say so. Its balance transaction comes a moment later, with `charge.updated`."""
    captured = charge["amount"] if is_captured else 0
    charge |= {"amount_captured": captured, "captured": is_captured, "paid": True, "status": "succeeded"}
    world.emit("charge.succeeded", charge)
    if is_captured:
        world.clock.at(world.now_s, lambda: _book(world, charge))


def captured(world: World, charge: Json, amount: int) -> None:
    """Capture what was authorized, and give the rest back."""
    charge |= {"amount_captured": amount, "captured": True}
    world.emit("charge.captured", charge)
    world.clock.at(world.now_s, lambda: _book(world, charge))


def _book(world: World, charge: Json) -> None:
    if charge["balance_transaction"] is not None:
        return
    amount = charge["amount_captured"]
    fee = (amount * _FEE_PER_MILLE + 999) // 1000 + _FEE_FIXED
    moved = balance_transaction(
        world, amount=amount, fee=fee, type="charge", source=charge, description=charge["description"]
    )
    updated(world, charge, "charge.updated", balance_transaction=moved["id"])


def balance_transaction(
    world: World, *, amount: int, fee: int, type: str, source: Json, description: str | None, category: str = ""
) -> Json:
    """Return a new balance transaction: what an object moved on the account's balance."""
    details = {"amount": fee, "application": None, "currency": source["currency"], "description": "Stripe fees"}
    return world.new(
        "balance_transaction",
        "txn",
        amount=amount,
        available_on=world.now_s + _AVAILABLE_DAYS * DAY_S,
        balance_type="payments",
        currency=source["currency"],
        description=description,
        fee=fee,
        fee_details=[{**details, "type": "stripe_fee"}] if fee else [],
        net=amount - fee,
        reporting_category=category or type,
        source=source["id"],
        status="pending",
        type=type,
    )


def retrieve(world: World, call: Call) -> Json:
    """Return a charge."""
    return world.find("charge", call.id())


def change(world: World, call: Call) -> Json:
    """Change what can be changed of a charge."""
    charge = world.find("charge", call.id())
    fields = taken(call.params, "description", "receipt_email")
    return updated(world, charge, "charge.updated", **fields, metadata=merged_metadata(charge, call.params))


def several(world: World, call: Call) -> Json:
    """Return a page of charges, by customer or intent where given."""
    wanted = {name: call.params[name] for name in ("customer", "payment_intent") if name in call.params}
    found = [each for each in world.all("charge") if all(each[name] == told for name, told in wanted.items())]
    return page(call, found)


def refunds_of(world: World, charge: Json) -> list[Json]:
    """Return a charge's refunds, the newest first."""
    return [each for each in world.all("refund") if each["charge"] == charge["id"]]


def their_refunds(world: World, call: Call) -> Json:
    """Return a page of a charge's refunds."""
    return page(call, refunds_of(world, world.find("charge", call.id())))


def transaction(world: World, call: Call) -> Json:
    """Return a balance transaction; it is available after two days."""
    return _ripe(world, world.find("balance_transaction", call.id()))


def transactions(world: World, call: Call) -> Json:
    """Return a page of balance transactions, by source, type or currency where given."""
    wanted = {name: call.params[name] for name in ("currency", "source", "type") if name in call.params}
    found = (_ripe(world, each) for each in world.all("balance_transaction"))
    return page(call, [each for each in found if all(each[name] == told for name, told in wanted.items())])


def _ripe(world: World, moved: Json) -> Json:
    if world.now_s >= moved["available_on"]:
        moved["status"] = "available"
    return moved


ROUTES = (
    Route("GET", "/v1/charges", "ChargeListParams", several),
    Route("GET", "/v1/charges/{id}", "ChargeRetrieveParams", retrieve),
    Route("POST", "/v1/charges/{id}", "ChargeUpdateParams", change),
    Route("GET", "/v1/charges/{id}/refunds", "ChargeListRefundsParams", their_refunds),
    Route("GET", "/v1/balance_transactions", "BalanceTransactionListParams", transactions),
    Route("GET", "/v1/balance_transactions/{id}", "BalanceTransactionRetrieveParams", transaction),
)
