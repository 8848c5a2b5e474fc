"""A process that takes messages and tells of each once it has said yes to it, until it is killed.

`hasty` is the planted fault: it says yes to a message as soon as it has been handed over, before it is durable.
"""

from __future__ import annotations

import asyncio
import sys

from callfare.engine.engine import Engine
from callfare.facade import open_engine
from callfare.payments.config import PaymentConfig
from callfare.payments.desk import Desk
from callfare.payments.stripe import StripeGateway
from callfare.payments.till import Till
from tests.support.fake_stripe import TEST_KEY
from tests.support.shop import FOR_SALE, SECRET


def take(url: str, api_url: str, kind: str) -> None:
    """Take the messages that come as lines of a body and its signature, and answer each with a line."""
    engine = open_engine(url, (), seed_prices=True, markup=1, require_user=False, clock=None)
    asyncio.run(_take(engine, api_url, is_hasty=kind == "hasty"))


async def _take(engine: Engine, api_url: str, *, is_hasty: bool) -> None:
    config = PaymentConfig(
        secret_key=TEST_KEY, mode="test", webhook_secrets=(SECRET,), success_url="https://shop.example/",
        cancel_url="https://shop.example/", return_url="https://shop.example/", api_url=api_url,
    )  # fmt: skip
    till = Till(Desk(engine, StripeGateway(config.secret_key, api_url=api_url), config, FOR_SALE))
    await till.desk.open()
    print("ready", flush=True)
    while line := sys.stdin.readline():
        body, signature = line.rstrip("\n").split("\t")
        taken = asyncio.ensure_future(till.take(body.encode(), signature))
        if is_hasty:
            await asyncio.sleep(0)
        else:
            await taken
        print("yes", flush=True)
