"""Credit notes: what an invoice asks too much is given back, before it is paid or after.

Before payment it lowers what is due; after, `refund_amount` refunds the payment (Stripe's page "Credit notes").
"""

from __future__ import annotations

from callfare.devtools.fake_stripe.refusals import Json, invalid, unexpected_state
from callfare.devtools.fake_stripe.resources import invoices, refunds
from callfare.devtools.fake_stripe.routing import Call, Route, page, whole
from callfare.devtools.fake_stripe.world import World, merged_metadata, updated


def create(world: World, call: Call) -> Json:
    """Issue a credit note on an invoice that is final.

    Raises Refusal for more than the invoice has.
    """
    params = call.params
    invoice = invoices.found(world, params["invoice"])
    invoices.must_be(invoice, ("open", "paid"), "credited")
    amount = _amount(params)
    is_paid = invoice["status"] == "paid"
    left = invoice["total"] - sum(each["amount"] for each in _of(world, invoice["id"]) if each["status"] == "issued")
    if not 0 < amount <= left:
        raise invalid(f"The sum of credit amounts ({amount}) must not exceed {left}.", param="amount")
    _must_be_refundable(world, invoice, int(params.get("refund_amount", 0)))
    number = len(_of(world, invoice["id"])) + 1
    note = world.new(
        "credit_note",
        "cn",
        amount=amount,
        amount_shipping=0,
        currency=invoice["currency"],
        customer=invoice["customer"],
        discount_amount=0,
        discount_amounts=[],
        effective_at=world.now_s,
        invoice=invoice["id"],
        memo=params.get("memo"),
        metadata=merged_metadata({}, params),
        number=f"{invoice['number']}-CN-{number:02d}",
        out_of_band_amount=params.get("out_of_band_amount"),
        pdf=f"{world.base_url}/i/{invoice['id']}/credit-note",
        post_payment_amount=amount if is_paid else 0,
        pre_payment_amount=0 if is_paid else amount,
        pretax_credit_amounts=[],
        reason=params.get("reason"),
        refunds=[],
        status="issued",
        subtotal=amount,
        subtotal_excluding_tax=amount,
        total=amount,
        total_excluding_tax=amount,
        total_taxes=[],
        type="post_payment" if is_paid else "pre_payment",
    )
    note["lines"] = whole(f"/v1/credit_notes/{note['id']}/lines", _lines(world, params, amount))
    _settle(world, note, invoice, int(params.get("refund_amount", 0)))
    world.emit("credit_note.created", note)
    return note


def _must_be_refundable(world: World, invoice: Json, refunded: int) -> None:
    intent = invoices.intent_of(world, invoice)
    charge = world.objects.get((intent or {}).get("latest_charge") or "", {})
    if refunded > charge.get("amount_captured", 0) - charge.get("amount_refunded", 0) or refunded < 0:
        raise invalid("The refund amount is above what was paid by this invoice's payment.", param="refund_amount")


def _amount(params: Json) -> int:
    if "amount" in params:
        return int(params["amount"])
    lines = params.get("lines") or []
    return sum(line.get("amount") or line.get("unit_amount", 0) * line.get("quantity", 1) for line in lines)


def _lines(world: World, params: Json, amount: int) -> list[Json]:
    told = params.get("lines") or [{"type": "custom_line_item", "unit_amount": amount, "quantity": 1}]
    return [
        world.new(
            "credit_note_line_item",
            "cnli",
            amount=line.get("amount") or line.get("unit_amount", 0) * line.get("quantity", 1),
            description=line.get("description"),
            discount_amount=0,
            discount_amounts=[],
            metadata={},
            pretax_credit_amounts=[],
            quantity=line.get("quantity"),
            tax_rates=[],
            taxes=[],
            type=line["type"],
            unit_amount=line.get("unit_amount"),
            unit_amount_decimal=str(line["unit_amount"]) if "unit_amount" in line else None,
        )
        for line in told
    ]


def _settle(world: World, note: Json, invoice: Json, refunded: int) -> None:
    if invoice["status"] == "open":
        invoice["amount_due"] -= note["amount"]
        invoice["amount_remaining"] -= note["amount"]
        invoice["pre_payment_credit_notes_amount"] += note["amount"]
        return
    invoice["post_payment_credit_notes_amount"] += note["amount"]
    intent = invoices.intent_of(world, invoice)
    if refunded and intent is not None:
        charge = world.objects[intent["latest_charge"]]
        made = refunds.made(world, charge, refunded, metadata={})
        note["refunds"] = [{"amount_refunded": refunded, "payment_record_refund": None, "refund": made["id"]}]


def _of(world: World, invoice: str) -> list[Json]:
    return [each for each in world.all("credit_note") if each["invoice"] == invoice]


def change(world: World, call: Call) -> Json:
    """Change a credit note's memo or metadata."""
    note = world.find("credit_note", call.id())
    fields = {"memo": call.params["memo"]} if "memo" in call.params else {}
    return updated(world, note, "credit_note.updated", **fields, metadata=merged_metadata(note, call.params))


def void(world: World, call: Call) -> Json:
    """Void a credit note of an invoice that is not paid.

    Raises Refusal for any other.
    """
    note = world.find("credit_note", call.id())
    invoice = world.objects[note["invoice"]]
    if note["status"] == "void" or invoice["status"] != "open":
        raise unexpected_state("Only issued credit notes of open invoices can be voided.", "")
    note |= {"status": "void", "voided_at": world.now_s}
    invoice["amount_due"] += note["amount"]
    invoice["amount_remaining"] += note["amount"]
    invoice["pre_payment_credit_notes_amount"] -= note["amount"]
    world.emit("credit_note.voided", note)
    return note


def retrieve(world: World, call: Call) -> Json:
    """Return a credit note."""
    return world.find("credit_note", call.id())


def several(world: World, call: Call) -> Json:
    """Return a page of credit notes, of one invoice or customer where given."""
    wanted = {name: call.params[name] for name in ("customer", "invoice") if name in call.params}
    found = [each for each in world.all("credit_note") if all(each[name] == told for name, told in wanted.items())]
    return page(call, found)


ROUTES = (
    Route("POST", "/v1/credit_notes", "CreditNoteCreateParams", create),
    Route("GET", "/v1/credit_notes", "CreditNoteListParams", several),
    Route("GET", "/v1/credit_notes/{id}", "CreditNoteRetrieveParams", retrieve),
    Route("POST", "/v1/credit_notes/{id}", "CreditNoteUpdateParams", change),
    Route("POST", "/v1/credit_notes/{id}/void", "CreditNoteVoidCreditNoteParams", void),
)
