"""The schema that holds the stand-in to the SDK: it fits Stripe's own samples, and finds every planted difference.

The judge beside ours is a JSON Schema validator that knows nothing of Stripe or of us.
"""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path

import jsonschema_rs
import pytest
from stripe import Event

from callfare.devtools.fake_stripe.catalogue import ROUTES
from callfare.devtools.fake_stripe.checking import violations
from callfare.devtools.fake_stripe.forms import nested, typed
from callfare.devtools.fake_stripe.nulls import NULLS
from callfare.devtools.fake_stripe.refusals import Refusal
from callfare.devtools.fake_stripe.schema import Types, kind_in_event
from tests.fake_stripe.making import payer, plan, session, subscription

SAMPLES = json.loads(Path(__file__).with_name("samples").joinpath("published.json").read_text(encoding="utf-8"))
# The samples are of an older version of the API; this is all that came or went since.
DRIFT = {
    "billing_portal.configuration": ["billing_portal.configuration.features.subscription_pause: missing"],
    "dispute": ["dispute.evidence_details.submission_method: missing"],
    "invoice": ["invoice.subscription: the SDK has no such field"],
}
# What the stand-in leaves out: a charge shows its refunds when asked, and nobody here lets Stripe be the merchant.
LEFT_OUT = {
    "charge": {"refunds"},
    "checkout.session": {"managed_payments"},
    "payment_intent": {"managed_payments"},
    "subscription": {"managed_payments"},
}


@pytest.fixture(scope="module")
def types():
    return Types()


def judge(types, kind):
    reference = types.of_object(kind)
    return jsonschema_rs.validator_for(types.document([reference]) | reference)


@pytest.mark.parametrize("kind", SAMPLES)
def test_a_published_sample_fits_save_for_what_changed_since(types, kind):
    assert violations(types, types.of_object(kind), SAMPLES[kind], kind) == DRIFT.get(kind, [])


@pytest.mark.parametrize("kind", SAMPLES)
def test_every_planted_difference_is_found_by_us_and_by_a_validator_that_is_not_ours(types, kind):
    schema, other = types.of_object(kind), judge(types, kind)
    drift = DRIFT.get(kind, [])
    for what, planted in planted_in(types, kind):
        ours = [told for told in violations(types, schema, planted, kind) if told not in drift]
        theirs = not other.is_valid(planted)
        assert ours, what
        assert theirs, what


def planted_in(types, kind):
    """Yield each way of making a sample wrong, one at a time."""
    sample = SAMPLES[kind]
    definition = types.resolve(types.of_object(kind))
    for name in definition["required"]:
        yield f"without {name}", {key: value for key, value in sample.items() if key != name}
    for name, schema in definition["properties"].items():
        if name in sample and schema and sample[name] is not None:
            yield f"{name} is a list of floats", sample | {name: [0.5]}
        if "enum" in schema and name in sample:
            yield f"{name} is an unknown word", sample | {name: "never heard of"}
    yield "with a field that is not there", sample | {"surprise": None}


@pytest.mark.parametrize("kind", SAMPLES)
def test_ours_and_the_other_validator_agree_on_the_samples(types, kind):
    agreed = bool(violations(types, types.of_object(kind), SAMPLES[kind], kind))

    assert agreed != judge(types, kind).is_valid(SAMPLES[kind])


def test_differences_deep_within_are_found(types):
    wrong = deepcopy(SAMPLES["subscription"])
    wrong["items"]["data"][0]["price"]["recurring"]["interval"] = "fortnight"

    assert violations(types, types.of_object("subscription"), wrong, "s") == [
        "s.items.data[0].price.recurring.interval: 'fortnight' is not among ['day', 'month', 'week', 'year']"
    ]


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_every_route_reads_its_request_by_a_class_of_the_sdk(types, route):
    if route.params:
        assert types.resolve(types.of_params(route.params))["additionalProperties"] is False
    else:
        assert route.path.startswith("/v1/payment_pages/")


@pytest.mark.parametrize("kind", NULLS)
def test_every_null_is_a_field_that_may_be_null(types, kind):
    properties = types.resolve(types.of_object(kind))["properties"]

    for name in NULLS[kind].split():
        assert {"type": "null"} in properties[name]["anyOf"], name


def test_an_event_tells_which_kind_of_object_it_carries():
    assert kind_in_event("checkout.session.completed") == "checkout.session"
    assert kind_in_event("charge.refund.updated") == "refund"
    assert kind_in_event("charge.dispute.closed") == "dispute"
    assert kind_in_event("billing_portal.session.created") == "billing_portal.session"
    assert kind_in_event("never.heard.of") == ""


def test_what_is_made_has_every_field_of_the_published_sample(fake, client, types):
    made = session(client, customer=payer(client))
    fake.act("pay_session", session=made.id)
    charge = fake.events("charge.succeeded")[0]["data"]["object"]
    fake.act("dispute_charge", charge=charge["id"], is_inquiry=True)
    fake.act("refund_charge", charge=charge["id"], amount=100)
    subscription(client)
    client.v1.setup_intents.create({})
    client.v1.invoice_items.create({"customer": payer(client), "amount": 5, "currency": "usd"})
    client.v1.billing_portal.configurations.create({"features": {"invoice_history": {"enabled": True}}})
    client.v1.prices.retrieve(plan(client))

    seen = {}
    for event in fake.events():
        seen[event["data"]["object"]["object"]] = event["data"]["object"]
    for kind in sorted(set(seen) & set(SAMPLES)):
        known = set(types.resolve(types.of_object(kind))["properties"])
        lacking = (set(SAMPLES[kind]) & known) - set(seen[kind])
        assert lacking == LEFT_OUT.get(kind, set()), kind
    assert len(set(seen) & set(SAMPLES)) >= 12


@pytest.mark.parametrize(
    ("planted", "told"),
    [
        ({"email": 5}, "customer.email: 5 is of none of the types it may be"),
        ({"surprise": 1}, "customer.surprise: the SDK has no such field"),
        ({"livemode": "no"}, "customer.livemode: 'no' is no boolean"),
    ],
)
def test_an_event_that_stripe_would_not_send_is_counted(process, planted, told):
    process.reset(seed="tests")
    customer = process.client().v1.customers.create({}).to_dict()

    process.act("emit_event", type="customer.created", object=customer | planted)

    assert process.violations() == [f"event customer.created.data.object: {told}"]
    assert process.get("state")["violations"] == 1


def test_an_event_about_another_kind_of_object_is_counted(process):
    process.reset(seed="tests")
    customer = process.client().v1.customers.create({}).to_dict()

    process.act("emit_event", type="invoice.paid", object=customer)
    process.act("emit_event", type="invoice.settled", object=customer)

    assert process.violations()[0] == "event invoice.paid: carries a customer, not a invoice"
    assert any("'invoice.settled' is not among" in told for told in process.violations())


def test_forms_are_read_with_their_types(types):
    fields = nested(
        b"line_items[0][quantity]=2&line_items[1][price]=p&expand[]=a&expand[]=b&metadata[0]=x&mode=payment"
    )

    read = typed(types, types.of_params("checkout.SessionCreateParams"), fields)

    assert read == {
        "line_items": [{"quantity": 2}, {"price": "p"}],
        "expand": ["a", "b"],
        "metadata": {"0": "x"},
        "mode": "payment",
    }


def test_list_elements_without_numbers_begin_when_a_name_comes_again():
    fields = nested(b"items[][price]=a&items[][quantity]=1&items[][price]=b")

    assert fields == {"items": {"0": {"price": "a", "quantity": "1"}, "1": {"price": "b"}}}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"line_items[0][quantiti]=2", "line_items[0][quantiti]"),
        (b"line_items[0][quantity]=two", "line_items[0][quantity]"),
        (b"automatic_tax[enabled]=yes", "automatic_tax[enabled]"),
        (b"automatic_tax=1", "automatic_tax"),
        (b"line_items=1", "line_items"),
        (b"payment_method_types[0]=card", "payment_method_types"),
    ],
)
def test_what_a_form_has_wrong_is_named(types, body, param):
    with pytest.raises(Refusal) as refused:
        typed(types, types.of_params("checkout.SessionCreateParams"), nested(body))

    assert refused.value.error["param"] == param


def test_every_type_of_event_that_is_made_is_one_of_the_sdks(types):
    known = types.resolve(types.of_object("event"))["properties"]["type"]["enum"]

    assert len(known) == 275
    assert Event.OBJECT_NAME == "event"
