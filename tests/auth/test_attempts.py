"""The bound on failed attempts: ten a minute from one address, whatever is tried, in bounded memory."""

from __future__ import annotations

import asyncio

import pytest

from callfare.auth import attempts
from callfare.auth.attempts import Attempts
from callfare.errors import TooManyAttempts, Unauthorized
from tests.auth.conftest import HERE


async def fail(door, times: int, address: str = HERE) -> None:
    for _ in range(times):
        with pytest.raises(Unauthorized):
            await door.principal("Bearer wrong", address=address)


async def test_the_eleventh_attempt_is_refused_whatever_it_shows(door, make):
    written = make()
    await fail(door, 10)

    with pytest.raises(TooManyAttempts) as refusal:
        await door.principal(f"Bearer {written}", address=HERE)

    assert refusal.value.facts() == {
        "code": "too_many_attempts",
        "message": "too many failed attempts from this address; try again in 60 seconds",
        "param": None,
        "retry_after_s": 60,
    }


async def test_others_are_let_in_meanwhile(door, make):
    written = make()
    await fail(door, 10)

    assert await door.principal(f"Bearer {written}", address="192.0.2.8")


async def test_a_minute_later_it_may_be_tried_again(door, make, clock):
    written = make()
    await fail(door, 10)
    clock.advance(59)
    with pytest.raises(TooManyAttempts) as refusal:
        await door.principal(f"Bearer {written}", address=HERE)
    assert refusal.value.retry_after_s == 1

    clock.advance(1)

    assert await door.principal(f"Bearer {written}", address=HERE)


async def test_attempts_count_for_a_minute_each(door, clock):
    await fail(door, 5)
    clock.advance(40)
    await fail(door, 5)
    clock.advance(30)

    # The first five are forgotten, the others count.
    await fail(door, 5)
    with pytest.raises(TooManyAttempts):
        await door.principal("Bearer wrong", address=HERE)


async def test_who_shows_nothing_has_not_failed(door, make):
    await_nothing = [door.principal(None, address=HERE) for _ in range(50)]
    results = await asyncio.gather(*await_nothing, return_exceptions=True)

    assert {type(result) for result in results} == {Unauthorized}
    assert await door.principal(f"Bearer {make()}", address=HERE)


async def test_who_holds_a_key_is_never_counted(door, make):
    written = make()

    for _ in range(30):
        assert await door.principal(f"Bearer {written}", address=HERE)


async def test_of_a_hundred_at_once_ten_are_told_that_they_failed(door):
    results = await asyncio.gather(
        *(door.principal("Bearer wrong", address=HERE) for _ in range(100)), return_exceptions=True
    )

    kinds = [type(result) for result in results]
    assert (kinds.count(Unauthorized), kinds.count(TooManyAttempts)) == (10, 90)


async def test_all_addresses_of_one_holder_count_together(door):
    for number in range(10):
        await fail(door, 1, f"2001:db8:0:1::{number:x}")

    with pytest.raises(TooManyAttempts):
        await door.principal("Bearer wrong", address="2001:db8:0:1:ffff::1")
    await fail(door, 1, "2001:db8:0:2::1")


async def test_an_address_is_one_address_in_either_form(door):
    await fail(door, 5, "192.0.2.7")
    await fail(door, 5, "::ffff:192.0.2.7")

    with pytest.raises(TooManyAttempts):
        await door.principal("Bearer wrong", address="192.0.2.7")


def test_no_more_addresses_are_remembered_than_there_is_room_for(clock, monkeypatch):
    monkeypatch.setattr(attempts, "ADDRESSES_MAX", 100)
    bound = Attempts(clock)

    for number in range(5000):
        bound.failed(f"10.0.{number // 250}.{number % 250}")

    assert len(bound._failed) == 100
    assert all(len(times) <= 10 for times in bound._failed.values())


def test_a_clock_that_is_set_back_shuts_nobody_out(clock):
    bound = Attempts(clock)
    for _ in range(10):
        bound.failed(HERE)

    clock.advance(-3600)

    bound.check(HERE)


async def test_a_door_that_forgets_to_count_is_found_out(door, monkeypatch):
    monkeypatch.setattr(Attempts, "failed", lambda self, address: None)

    await fail(door, 11)
