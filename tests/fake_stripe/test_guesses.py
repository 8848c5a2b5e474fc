"""Whatever is asked, the stand-in answers as Stripe might: never with an error of its own, never off the types."""

from __future__ import annotations

import httpx
import pytest

from callfare.devtools.fake_stripe.app import application
from callfare.devtools.fake_stripe.deliveries import pass_time
from callfare.devtools.fake_stripe.standin import Standin
from tests.fake_stripe.guessing import Guesser

ROUND = 1_500
SOWN_EVERY = 300


async def guess(seed: int, rounds: int) -> tuple[Standin, dict[int, int]]:
    """Ask so many guessed requests of one stand-in, and let some time pass between them."""
    standin, guesser, statuses = Standin("http://fake", seed=str(seed)), Guesser(seed), {}
    over = httpx.ASGITransport(application(standin))
    headers = {"Authorization": "Bearer sk_test_any"}
    async with httpx.AsyncClient(transport=over, base_url="http://fake", headers=headers) as asking:

        async def ask(method: str, path: str, body: bytes):
            answer = await asking.request(method, path, content=body)
            assert answer.status_code < 500, (seed, method, path, body, answer.text)
            statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1
            return answer.json()

        for number in range(rounds):
            if number % SOWN_EVERY == 0:
                await guesser.sow(ask)
            guesser.note(await ask(*guesser.request()))
            if number % 20 == 0:  # a little, and a month before new things are sown
                await pass_time(
                    standin.world, standin.deliveries, standin.world.now_s + (2_700_000 if number % 300 == 280 else 600)
                )
    await standin.deliveries.close()
    return standin, statuses


async def test_guessed_requests_are_answered_within_the_types(seed):
    standin, statuses = await guess(seed, ROUND)

    assert standin.world.violations == []
    assert statuses[200] > ROUND // 20, statuses


@pytest.mark.all
@pytest.mark.parametrize("turn", range(3))
async def test_many_guessed_requests_are_answered_within_the_types(seed, turn):
    standin, _ = await guess(seed + turn, 4 * ROUND)

    assert standin.world.violations == []
