"""Stripe's messages: every kind of signature, bodies of every shape, replays, other modes, other installations."""

from __future__ import annotations

import json

import pytest
from stripe import WebhookSignature

from callfare.clock import US_PER_S
from callfare.errors import InvalidInput
from callfare.payments.events import read_message
from tests.support.books import Balance
from tests.support.shop import OLD_SECRET, SECRET

BODY = b'{"id":"evt_1","object":"event","type":"charge.refunded","created":1,"livemode":false,"data":{"object":{}}}'


def signed(body: bytes, secret: str, stamp_s: int) -> str:
    return WebhookSignature.generate_signature_header(body.decode(), secret, stamp_s)


# Each kind: whether it is taken, and how it is made of the body and the present second.
SIGNATURES = {
    "as Stripe signs": (True, lambda now: signed(BODY, SECRET, now)),
    "by the secret before, while one is rolled": (True, lambda now: signed(BODY, OLD_SECRET, now)),
    "by both": (True, lambda now: f"{signed(BODY, 'whsec_x', now)},{signed(BODY, SECRET, now).split(',')[1]}"),
    "with a scheme to come beside it": (True, lambda now: f"{signed(BODY, SECRET, now)},v9=00ff"),
    "almost too old": (True, lambda now: signed(BODY, SECRET, now - 300)),
    "too old": (False, lambda now: signed(BODY, SECRET, now - 301)),
    "ahead of time": (False, lambda now: signed(BODY, SECRET, now + 301)),
    "far in the future": (False, lambda now: signed(BODY, SECRET, 2**40)),
    "by somebody else": (False, lambda now: signed(BODY, "whsec_foreign", now)),
    "by nothing": (False, lambda now: signed(BODY, " ", now)),
    "of another body": (False, lambda now: signed(BODY + b" ", SECRET, now)),
    "by the old scheme alone": (False, lambda now: signed(BODY, SECRET, now).replace("v1=", "v0=")),
    "with two stamps": (False, lambda now: f"t=1,{signed(BODY, SECRET, now)}"),
    "in letters that no signature has": (False, lambda now: f"t={now},v1=\u00e4\u00f6"),
    "without a stamp": (False, lambda now: signed(BODY, SECRET, now).split(",")[1]),
    "missing": (False, lambda now: None),
    "empty": (False, lambda now: ""),
}


@pytest.mark.parametrize("kind", SIGNATURES)
async def test_only_what_stripe_has_signed_now_is_believed(shop, kind):
    is_taken, made = SIGNATURES[kind]
    header = made(shop.clock.now_us() // US_PER_S)

    if is_taken:
        await shop.till.take(BODY, header)
        await shop.till.idle()
        assert shop.messages() == {"charge.refunded": "ignored"}
    else:
        with pytest.raises(InvalidInput):
            await shop.till.take(BODY, header)
        assert shop.messages() == {}


NO_EVENTS = {
    "nothing": b"",
    "a list": b"[]",
    "null": b"null",
    "a number": b"1",
    "text": b'"event"',
    "half an object": b"{",
    "an empty object": b"{}",
    "no UTF-8": b"\xff\xfe",
    "a NUL": b"\x00",
    "NaN": b"NaN",
    "hardly anything": b'{"id":"evt_1"}',
    "a numeric id": BODY.replace(b'"evt_1"', b"1"),
    "an empty id": BODY.replace(b'"evt_1"', b'""'),
    "half a surrogate": BODY.replace(b'"evt_1"', b'"evt_\\ud800"'),
    "a NUL in its id": BODY.replace(b'"evt_1"', b'"evt\\u0000"'),
    "no mode": BODY.replace(b"false", b"null"),
    "a time before all": BODY.replace(b":1,", b":-1,"),
    "a broken time": BODY.replace(b":1,", b":1e3,"),
    "a far time": BODY.replace(b":1,", b":99999999999999999999,"),
    "a true time": BODY.replace(b":1,", b":true,"),
    "an endless time": BODY.replace(b":1,", b":" + b"9" * 5000 + b","),
    "a thin event": BODY.replace(b'"event"', b'"v2.core.event"'),
    "a loud type": BODY.replace(b'"charge.refunded"', b'"CHARGE"'),
    "deep lists": b"[" * 5000,
    "deep objects": b'{"id":' * 3000,
}


@pytest.mark.parametrize("kind", NO_EVENTS)
async def test_a_signed_body_that_is_no_event_is_refused_and_leaves_nothing(shop, kind):
    with pytest.raises(InvalidInput):
        await shop.till.inbox.keep(NO_EVENTS[kind])

    assert shop.messages() == {}


@pytest.mark.parametrize("value", [b'"\\ud800"', b"123456789012345678901234567890", b"1e400", b"[" * 90 + b"]" * 90])
def test_what_only_a_strict_reader_minds_is_read_all_the_same(value):
    message = read_message(BODY.replace(b'"object":{}', b'"object":{"id":"ch_1","amount":' + value + b"}"))

    assert (message.id, message.object_id) == ("evt_1", "ch_1")


@pytest.mark.parametrize("secrets", [(), ("",), ("  ",)])
async def test_without_a_secret_nothing_is_believed(open_shop, secrets):
    async with open_shop(webhook_secrets=secrets) as shop:
        with pytest.raises(InvalidInput):
            await shop.bring(BODY, secret="")


async def test_a_message_of_the_other_mode_is_kept_and_ignored(shop):
    await shop.bought()
    [event] = shop.events("checkout.session.completed")

    await shop.tell(event | {"livemode": True})

    assert (shop.messages(), shop.balance().posted) == ({"checkout.session.completed": "ignored"}, "0")


async def test_a_message_of_another_version_counts_all_the_same(shop):
    await shop.bought()
    [event] = shop.events("checkout.session.completed")

    await shop.tell(event | {"api_version": "2020-08-27"})

    assert shop.balance().available == "2000"


async def test_a_type_that_nobody_knows_is_kept_and_ignored(shop):
    await shop.bring(BODY.replace(b"charge.refunded", b"moon.risen"))

    assert shop.messages() == {"moon.risen": "ignored"}


async def test_another_installations_checkout_in_the_same_account_is_ignored(open_shop, shop):
    async with open_shop() as other:
        await other.bought()
        await shop.tell_all()

        assert set(shop.messages().values()) == {"ignored"}
        assert (shop.balance(), shop.quarantined()) == (Balance("0", "0", "0"), [])


async def test_what_bears_our_stamp_and_has_no_order_waits_and_is_tried_again(shop):
    await shop.bought()
    [event] = shop.events("checkout.session.completed")
    lost = json.loads(json.dumps(event).replace(shop.orders()[0].order_id, f"ord_{'0' * 12}1_{'0' * 16}"))

    await shop.tell(lost)

    assert shop.messages() == {"checkout.session.completed": "waiting"}
    shop.clock.advance(3600)
    assert await shop.till.inbox.due() == [event["id"]]


async def test_a_message_can_say_what_it_likes_and_the_order_decides(shop):
    """The amount, the credits and the state that a message tells of are never used."""
    await shop.checkout()
    [order] = shop.orders()
    told = {
        "id": "cs_test_forged",
        "object": "checkout.session",
        "client_reference_id": order.order_id,
        "payment_status": "paid",
        "status": "complete",
        "amount_subtotal": 1,
        "metadata": {"credits": "999999", "callfare_instance": order.instance, "callfare_order": order.order_id},
    }
    forged = {
        "id": "evt_forged", "object": "event", "type": "checkout.session.completed", "created": 1, "livemode": False,
        "data": {"object": told},
    }  # fmt: skip

    await shop.tell(forged)

    assert (shop.balance(), shop.orders()[0].state) == (Balance("0", "0", "0"), "open")


async def test_a_message_that_stripe_cannot_be_asked_about_waits_for_its_answer(shop):
    await shop.bought()
    shop.fake.fault(path="/v1/checkout/sessions/*", method="GET", times=9, status=500)

    await shop.tell_all("checkout.session.completed")
    before = shop.messages()
    shop.fake.fault(clear=True)
    shop.clock.advance(3600)
    await shop.till.work_due()

    assert before == {"checkout.session.completed": "waiting"}
    assert (shop.messages(), shop.balance().available) == ({"checkout.session.completed": "done"}, "2000")


def test_hints_of_a_message_are_ids_or_nothing():
    message = read_message(
        b'{"id":"evt_1","object":"event","type":"a.b","created":1,"livemode":false,'
        b'"data":{"object":{"id":"x","payment_intent":{"id":"pi_1"},"charge":7,"customer":"a b","metadata":[]}}}'
    )

    assert (message.hint("payment_intent"), message.hint("charge")) == ("pi_1", None)
    assert (message.hint("customer"), message.hint("metadata", "k")) == (None, None)
