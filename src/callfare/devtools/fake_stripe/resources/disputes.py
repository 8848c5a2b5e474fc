"""Disputes: a bank takes a charge back, or only asks about it.

Source: Stripe's pages "How disputes work" and "Inquiries", and the test evidence of "Testing". An inquiry moves
nothing; a dispute takes the amount and a fee with `charge.dispute.funds_withdrawn`, and winning it brings them back.
"""

from __future__ import annotations

from typing import Final

from callfare.devtools.fake_stripe.cards import Instrument
from callfare.devtools.fake_stripe.refusals import Json, unexpected_state
from callfare.devtools.fake_stripe.resources.charges import balance_transaction
from callfare.devtools.fake_stripe.routing import Call, Route, page
from callfare.devtools.fake_stripe.world import DAY_S, World, cleaned, merged_metadata, updated

_FEE: Final = 1_500
_DUE_DAYS: Final = 9
_CLOSED: Final = ("won", "lost", "warning_closed")
_EVIDENCE: Final = (
    "access_activity_log",
    "billing_address",
    "cancellation_policy",
    "cancellation_policy_disclosure",
    "cancellation_rebuttal",
    "customer_communication",
    "customer_email_address",
    "customer_name",
    "customer_purchase_ip",
    "customer_signature",
    "duplicate_charge_documentation",
    "duplicate_charge_explanation",
    "duplicate_charge_id",
    "product_description",
    "receipt",
    "refund_policy",
    "refund_policy_disclosure",
    "refund_refusal_explanation",
    "service_date",
    "service_documentation",
    "shipping_address",
    "shipping_carrier",
    "shipping_date",
    "shipping_documentation",
    "shipping_tracking_number",
    "uncategorized_file",
    "uncategorized_text",
)


def follow_card(world: World, charge: Json, found: Instrument) -> None:
    """Do to a new charge what its test card is for: a dispute, an inquiry, or a warning of fraud."""
    if found.dispute == "warning":
        warning = world.new(
            "radar.early_fraud_warning",
            "issfr",
            actionable=True,
            charge=charge["id"],
            fraud_type="unauthorized_use_of_card",
            payment_intent=charge["payment_intent"],
        )
        world.emit("radar.early_fraud_warning.created", warning)
        return
    opened(world, charge, reason=found.dispute_reason, is_inquiry=found.dispute == "inquiry")


def opened(
    world: World, charge: Json, *, amount: int | None = None, reason: str = "fraudulent", is_inquiry: bool = False
) -> Json:
    """Open a dispute of a charge, or an inquiry, and return it; a dispute's money is withdrawn at once."""
    dispute = world.new(
        "dispute",
        "du",
        amount=charge["amount"] if amount is None else amount,
        balance_transactions=[],
        charge=charge["id"],
        currency=charge["currency"],
        enhanced_eligibility_types=[],
        evidence={**dict.fromkeys(_EVIDENCE), "enhanced_evidence": {}},
        evidence_details={
            "due_by": world.now_s + _DUE_DAYS * DAY_S,
            "enhanced_eligibility": {},
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
            "submission_method": "not_submitted",
        },
        is_charge_refundable=is_inquiry,
        metadata={},
        payment_intent=charge["payment_intent"],
        payment_method_details={
            "card": {
                "brand": "visa",
                "case_type": "inquiry" if is_inquiry else "chargeback",
                "network": "visa",
                "network_reason_code": "10.4",
            },
            "type": "card",
        },
        reason=reason,
        status="warning_needs_response" if is_inquiry else "needs_response",
    )
    charge["disputed"] = True
    world.emit("charge.dispute.created", dispute)
    if not is_inquiry:
        withdraw(world, dispute)
    return dispute


def withdraw(world: World, dispute: Json) -> None:
    """Take a dispute's money and the fee from the balance; an inquiry becomes a dispute by it."""
    if dispute["status"].startswith("warning"):
        updated(world, dispute, "charge.dispute.updated", status="needs_response", is_charge_refundable=False)
    _move(world, dispute, amount=-dispute["amount"], fee=_FEE)
    world.emit("charge.dispute.funds_withdrawn", dispute)


def reinstate(world: World, dispute: Json) -> None:
    """Give a dispute's money back to the balance; the fee is kept, as Stripe does since June 2025."""
    _move(world, dispute, amount=dispute["amount"], fee=0)
    world.emit("charge.dispute.funds_reinstated", dispute)


def _move(world: World, dispute: Json, *, amount: int, fee: int) -> None:
    moved = balance_transaction(
        world,
        amount=amount,
        fee=fee,
        type="adjustment",
        source=dispute,
        description=f"Chargeback {'withdrawal' if amount < 0 else 'reversal'} for {dispute['charge']}",
        category="dispute" if amount < 0 else "dispute_reversal",
    )
    dispute["balance_transactions"] = [*dispute["balance_transactions"], moved]


def decide(world: World, dispute: Json, status: str) -> None:
    """End a dispute: "won" with its money back, "lost", or "warning_closed" for an inquiry.

    Raises Refusal when it has ended.
    """
    if dispute["status"] in _CLOSED:
        raise unexpected_state("This dispute is already closed", "")
    dispute["status"] = status
    world.emit("charge.dispute.closed", dispute)
    if status == "won":
        reinstate(world, dispute)


def close(world: World, call: Call) -> Json:
    """Give a dispute up: it is lost, and an inquiry is closed."""
    dispute = world.find("dispute", call.id())
    decide(world, dispute, "warning_closed" if dispute["status"].startswith("warning") else "lost")
    return dispute


def change(world: World, call: Call) -> Json:
    """Add evidence; submitted, the test texts `winning_evidence` and `losing_evidence` decide it."""
    dispute = world.find("dispute", call.id())
    params = call.params
    told = {name: text for name, text in cleaned(params.get("evidence") or {}).items() if name in _EVIDENCE}
    evidence = {**dispute["evidence"], **told}
    is_submitted = bool(params.get("evidence")) and params.get("submit", True)
    details = dict(dispute["evidence_details"])
    fields: Json = {}
    if is_submitted:
        details |= {
            "has_evidence": True,
            "submission_count": details["submission_count"] + 1,
            "submission_method": "manual",
        }
        is_inquiry = dispute["status"].startswith("warning")
        fields["status"] = "warning_under_review" if is_inquiry else "under_review"
    metadata = merged_metadata(dispute, params)
    updated(
        world,
        dispute,
        "charge.dispute.updated",
        evidence=evidence,
        evidence_details=details,
        metadata=metadata,
        **fields,
    )
    outcome = {"winning_evidence": "won", "losing_evidence": "lost"}.get(str(evidence["uncategorized_text"]))
    if is_submitted and outcome is not None:
        decide(world, dispute, outcome)
    return dispute


def retrieve(world: World, call: Call) -> Json:
    """Return a dispute."""
    return world.find("dispute", call.id())


def several(world: World, call: Call) -> Json:
    """Return a page of disputes, of one charge or intent where given."""
    wanted = {name: call.params[name] for name in ("charge", "payment_intent") if name in call.params}
    found = [each for each in world.all("dispute") if all(each[name] == told for name, told in wanted.items())]
    return page(call, found)


ROUTES = (
    Route("GET", "/v1/disputes", "DisputeListParams", several),
    Route("GET", "/v1/disputes/{id}", "DisputeRetrieveParams", retrieve),
    Route("POST", "/v1/disputes/{id}", "DisputeUpdateParams", change),
    Route("POST", "/v1/disputes/{id}/close", "DisputeCloseParams", close),
)
