"""A function of one's own, metered by a decorator."""

from __future__ import annotations

import functools

import pytest

from callfare.capture.base import marked_as_metered
from callfare.capture.metered import metered
from callfare.errors import InsufficientCredit, InvalidInput
from callfare.money import Credits
from tests.capture.fake_meter import FakeMeter


@pytest.fixture
def meter():
    return FakeMeter()


def tokens(reply):
    return {"input_tokens": reply["in"], "output_tokens": reply["out"]}


@pytest.fixture(params=["sync", "async"])
def make(request, meter):
    """Return what makes a metered function out of a plain one, called the same way in both kinds."""

    def make(function, **options):
        decorate = metered(meter, "my-model", provider="acme", **({"usage": tokens} | options))
        if request.param == "sync":
            inner = decorate(function)

            async def call(*arguments):
                return inner(*arguments)

            return call

        async def slow(*arguments):
            return function(*arguments)

        return decorate(slow)

    return make


async def test_a_call_is_admitted_before_and_settled_after(make, meter):
    ask = make(
        lambda text: {"in": len(text), "out": 3, "id": "a1"},
        at_most={"output_tokens": 50},
        response_id=lambda reply: reply["id"],
    )

    assert (await ask("hello"))["out"] == 3

    assert meter.ticket.intent.usage == {"output_tokens": 50}
    [(reading, estimated)] = meter.ticket.settled
    assert (reading.usage, reading.response_id, estimated) == ({"input_tokens": 5, "output_tokens": 3}, "a1", False)


async def test_a_refused_call_is_not_made(make, meter):
    meter.refusal = InsufficientCredit("alice", needed=Credits(2), available=Credits(1))
    called = []

    with pytest.raises(InsufficientCredit):
        await make(called.append)("hello")

    assert called == []


async def test_a_call_that_raises_costs_nothing(make, meter):
    with pytest.raises(ZeroDivisionError):
        await make(lambda: 1 / 0)()

    assert (meter.ticket.settled, meter.ticket.released) == ([], 1)


@pytest.mark.parametrize(
    "usage",
    [lambda _: 1 / 0, lambda _: None, lambda _: {"wishes": 3}, lambda _: {"input_tokens": -1}],
    ids=["raises", "nothing", "unknown meter", "negative"],
)
async def test_a_count_that_cannot_be_told_is_one_call_estimated(make, meter, usage):
    reply = await make(lambda: "answer", usage=usage)()

    assert reply == "answer"
    assert (meter.ticket.usage, meter.ticket.is_estimated) == ({"calls": 1}, True)


async def test_a_call_within_a_metered_one_is_not_counted(make, meter):
    with marked_as_metered():
        await make(lambda: {"in": 1, "out": 1})()

    assert meter.tickets == []


class Asking:
    """A callable object, which no function tells to be async."""

    async def __call__(self, reply):
        return reply


async def answer(reply):
    return reply


def promise(reply):
    return answer(reply)


@pytest.mark.parametrize("function", [Asking(), promise, functools.partial(answer)], ids=["object", "plain", "partial"])
async def test_what_is_awaited_is_settled_by_its_reply(meter, function):
    decorated = metered(meter, "my-model", usage=tokens)(function)

    reply = await decorated({"in": 7, "out": 2})

    assert reply == {"in": 7, "out": 2}
    assert (meter.ticket.usage, meter.ticket.is_estimated) == ({"input_tokens": 7, "output_tokens": 2}, False)


async def test_a_coroutine_that_a_plain_function_returns_costs_nothing_when_it_raises(meter):
    async def fail():
        raise OSError

    def promise_to_fail():
        return fail()

    with pytest.raises(OSError):
        await metered(meter, "my-model", usage=tokens)(promise_to_fail)()

    assert (meter.ticket.settled, meter.ticket.released) == ([], 1)


async def test_an_async_function_that_is_called_wrongly_costs_nothing(meter):
    with pytest.raises(TypeError, match="reply"):
        await metered(meter, "my-model", usage=tokens)(answer)()

    assert (meter.ticket.settled, meter.ticket.released) == ([], 1)


def test_methods_are_metered_below_what_makes_them_static(meter):
    for made in (staticmethod, classmethod):
        with pytest.raises(InvalidInput, match="below @staticmethod"):
            metered(meter, "my-model", usage=tokens)(made(answer))


def test_generators_are_refused(meter):
    def words():
        yield "word"

    with pytest.raises(InvalidInput, match="no generator"):
        metered(meter, "m", usage=tokens)(words)
