"""Invoices and invoice items as requests ask for them."""

from __future__ import annotations

from http import HTTPMethod

from callfare.devtools.fake_stripe.refusals import Json, invalid, missing_param
from callfare.devtools.fake_stripe.resources import invoices, methods
from callfare.devtools.fake_stripe.routing import Call, Route, page
from callfare.devtools.fake_stripe.world import DAY_S, World, merged_metadata, taken, updated


def create_item(world: World, call: Call) -> Json:
    """Make an invoice item, which waits for its customer's next invoice."""
    params = call.params
    if "customer" not in params:
        raise missing_param("customer")
    customer = world.find("customer", params["customer"], param="customer")
    item = made_item(
        world,
        customer,
        amount=_amount(world, params),
        currency=params.get("currency", "usd").lower(),
        description=params.get("description"),
    )
    item["metadata"] = merged_metadata({}, params)
    world.emit("invoiceitem.created", item)
    if "invoice" in params:
        _put_on(world, invoices.found(world, params["invoice"]), [item])
    return item


def _amount(world: World, params: Json) -> int:
    if "amount" in params:
        return int(params["amount"])
    price = (params.get("pricing") or {}).get("price")
    if price is None:
        raise missing_param("amount")
    found = world.find("price", price, param="pricing[price]")
    return int(found["unit_amount"] * params.get("quantity", 1))


def made_item(world: World, customer: Json, *, amount: int, currency: str, **fields: object) -> Json:
    """Return a new invoice item that nobody has been told of."""
    item = world.new(
        "invoiceitem",
        "ii",
        amount=amount,
        currency=currency,
        customer=customer["id"],
        date=world.now_s,
        discountable=True,
        discounts=[],
        metadata={},
        net_amount=amount,
        period={"end": world.now_s, "start": world.now_s},
        proration=False,
        quantity=1,
        quantity_decimal="1",
        tax_rates=[],
    )
    item |= fields
    return item


def line_of(item: Json) -> Json:
    """Return the line that an invoice item becomes."""
    subscription = ((item["parent"] or {}).get("subscription_details") or {}).get("subscription")
    return {
        "amount": item["amount"],
        "description": item["description"],
        "metadata": dict(item["metadata"]),
        "parent": {
            "invoice_item_details": {
                "invoice_item": item["id"],
                "proration": item["proration"],
                "proration_details": {"credited_items": None},
                "subscription": subscription,
            },
            "subscription_item_details": None,
            "type": "invoice_item_details",
        },
        "period": item["period"],
        "pricing": item["pricing"],
        "subscription": subscription,
    }


def pending(world: World, customer: str, subscription: str | None = None) -> list[Json]:
    """Return a customer's items that wait for an invoice, the oldest first."""
    waiting = []
    for item in world.all("invoiceitem"):
        told = ((item["parent"] or {}).get("subscription_details") or {}).get("subscription")
        if item["invoice"] is None and item["customer"] == customer and told == subscription:
            waiting.append(item)
    return waiting[::-1]


def _put_on(world: World, invoice: Json, items: list[Json]) -> None:
    for item in items:
        item["invoice"] = invoice["id"]
    waiting = [each for each in reversed(list(world.all("invoiceitem"))) if each["invoice"] == invoice["id"]]
    invoices.put_lines(world, invoice, [line_of(item) for item in waiting])


def create(world: World, call: Call) -> Json:
    """Make a draft of a customer's waiting items, when the request asks for them."""
    params = call.params
    if "customer" not in params:
        raise missing_param("customer")
    customer = world.find("customer", params["customer"], param="customer")
    waiting = pending(world, customer["id"]) if params.get("pending_invoice_items_behavior") == "include" else []
    currency = waiting[0]["currency"] if waiting else params.get("currency", "usd").lower()
    sent = params.get("collection_method") == "send_invoice"
    if sent and not {"days_until_due", "due_date"} & set(params):
        raise invalid("If invoices are sent, `days_until_due` or `due_date` is required.", param="days_until_due")
    invoice = invoices.made(
        world,
        customer,
        currency,
        [line_of(item) for item in waiting],
        "manual",
        auto_advance=params.get("auto_advance", False),
        collection_method=params.get("collection_method", "charge_automatically"),
        default_payment_method=params.get("default_payment_method"),
        description=params.get("description"),
        due_date=world.now_s + params["days_until_due"] * DAY_S if "days_until_due" in params else None,
        metadata=merged_metadata({}, params),
    )
    for item in waiting:
        item["invoice"] = invoice["id"]
    return invoice


def change(world: World, call: Call) -> Json:
    """Change an invoice's description, method or metadata."""
    invoice = invoices.found(world, call.id())
    fields = taken(call.params, "auto_advance", "default_payment_method", "description", "footer")
    return updated(world, invoice, "invoice.updated", **fields, metadata=merged_metadata(invoice, call.params))


def delete(world: World, call: Call) -> Json:
    """Delete a draft.

    Raises Refusal when it is no draft.
    """
    invoice = invoices.found(world, call.id())
    invoices.must_be(invoice, ("draft",), "deleted")
    world.emit("invoice.deleted", dict(invoice))
    return world.delete(invoice)


def issue(world: World, call: Call) -> Json:
    """Make a draft final."""
    return invoices.issue(world, invoices.found(world, call.id()))


def pay(world: World, call: Call) -> Json:
    """Pay an invoice; a draft is made final first.

    Raises Refusal when the payment fails.
    """
    invoice = invoices.found(world, call.id())
    if invoice["status"] == "draft":
        invoices.issue(world, invoice)
    if call.params.get("paid_out_of_band"):
        invoices.must_be(invoice, ("open", "uncollectible"), "paid")
        invoices.paid(world, invoice, out_of_band=True)
        return invoice
    if invoice["status"] == "paid":
        return invoice
    told = call.params.get("payment_method")
    customer = world.objects[invoice["customer"]]
    method = methods.attached(world, told, customer) if told else None
    return invoices.pay(world, invoice, method, is_off_session=call.params.get("off_session", True))


def send(world: World, call: Call) -> Json:
    """Send an invoice to its customer; a draft is made final first."""
    invoice = invoices.found(world, call.id())
    if invoice["status"] == "draft":
        invoices.issue(world, invoice)
    world.emit("invoice.sent", invoice)
    return invoice


def void(world: World, call: Call) -> Json:
    """Void an invoice."""
    return invoices.void(world, invoices.found(world, call.id()))


def give_up(world: World, call: Call) -> Json:
    """Mark an invoice as uncollectible."""
    return invoices.give_up(world, invoices.found(world, call.id()))


def retrieve(world: World, call: Call) -> Json:
    """Return an invoice."""
    return invoices.found(world, call.id())


def lines(world: World, call: Call) -> Json:
    """Return a page of an invoice's lines."""
    return page(call, invoices.found(world, call.id())["lines"]["data"])


def several(world: World, call: Call) -> Json:
    """Return a page of invoices, by customer, status or subscription where given."""
    names = ("collection_method", "customer", "status")
    wanted = {name: call.params[name] for name in names if name in call.params}
    found = [each for each in world.all("invoice") if all(each[name] == told for name, told in wanted.items())]
    if "subscription" in call.params:
        found = [each for each in found if subscription_of(each) == call.params["subscription"]]
    return page(call, found)


def subscription_of(invoice: Json) -> str | None:
    """Return the subscription that an invoice is of."""
    told = ((invoice["parent"] or {}).get("subscription_details") or {}).get("subscription")
    return str(told) if told else None


def retrieve_payment(world: World, call: Call) -> Json:
    """Return the link between an invoice and what pays it."""
    return world.find("invoice_payment", call.id())


def payments(world: World, call: Call) -> Json:
    """Return a page of such links, by invoice, status or intent where given."""
    params = call.params
    wanted = {name: params[name] for name in ("invoice", "status") if name in params}
    intent = (params.get("payment") or {}).get("payment_intent")
    found = [each for each in world.all("invoice_payment") if all(each[name] == told for name, told in wanted.items())]
    return page(call, [each for each in found if intent in {None, each["payment"].get("payment_intent")}])


def retrieve_item(world: World, call: Call) -> Json:
    """Return an invoice item."""
    return world.find("invoiceitem", call.id())


def items(world: World, call: Call) -> Json:
    """Return a page of invoice items, a customer's where one is given."""
    customer = call.params.get("customer")
    return page(call, [each for each in world.all("invoiceitem") if customer in {None, each["customer"]}])


ROUTES = (
    Route("POST", "/v1/invoiceitems", "InvoiceItemCreateParams", create_item),
    Route("GET", "/v1/invoiceitems", "InvoiceItemListParams", items),
    Route("GET", "/v1/invoiceitems/{id}", "InvoiceItemRetrieveParams", retrieve_item),
    Route("POST", "/v1/invoices", "InvoiceCreateParams", create),
    Route("GET", "/v1/invoices", "InvoiceListParams", several),
    Route("GET", "/v1/invoices/{id}", "InvoiceRetrieveParams", retrieve),
    Route("POST", "/v1/invoices/{id}", "InvoiceUpdateParams", change),
    Route(HTTPMethod.DELETE, "/v1/invoices/{id}", "InvoiceDeleteParams", delete),
    Route("GET", "/v1/invoices/{id}/lines", "InvoiceListLinesParams", lines),
    Route("POST", "/v1/invoices/{id}/finalize", "InvoiceFinalizeInvoiceParams", issue),
    Route("POST", "/v1/invoices/{id}/pay", "InvoicePayParams", pay),
    Route("POST", "/v1/invoices/{id}/send", "InvoiceSendInvoiceParams", send),
    Route("POST", "/v1/invoices/{id}/void", "InvoiceVoidInvoiceParams", void),
    Route("POST", "/v1/invoices/{id}/mark_uncollectible", "InvoiceMarkUncollectibleParams", give_up),
    Route("GET", "/v1/invoice_payments", "InvoicePaymentListParams", payments),
    Route("GET", "/v1/invoice_payments/{id}", "InvoicePaymentRetrieveParams", retrieve_payment),
)
