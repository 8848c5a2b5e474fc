"""What tests of xAI's SDK share: a client of either kind, called in the same words. A plugin of pytest's."""

from __future__ import annotations

from fractions import Fraction

import pytest
import xai_sdk
from xai_sdk.chat import user

from callfare.capture import leftovers
from callfare.capture.clients import wrap_client
from callfare.devtools.fake_xai import FakeXAI
from tests.capture.fake_meter import FakeMeter

MODEL = "grok-4.3"
# 64 of thought beside the 57 that are written; 2 + 121 at a hundred-millionth of a dollar.
USAGE = {"input_tokens": 2, "output_tokens": 121, "reasoning_tokens": 64, "billed_usd": Fraction(123, 10**8)}


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """Who leaves a stream waits until it is settled, however busy the machine is."""
    monkeypatch.setattr(leftovers, "WAIT_MS_MAX", 60_000)


@pytest.fixture
def server():
    with FakeXAI() as fake:
        yield fake


@pytest.fixture
def meter():
    return FakeMeter()


def made(kind, server):
    return kind(api_key="none", api_host=server.host, use_insecure_channel=True)


class Kind:
    """A client of either kind, called in the same words."""

    def __init__(self, client):
        self.client = client
        self.is_async = isinstance(client, xai_sdk.AsyncClient)

    def chat(self, *said, **settings):
        return self.client.chat.create(model=MODEL, messages=[user(part) for part in said or ("hi there",)], **settings)

    async def done(self, reply):
        return await reply if self.is_async else reply

    async def ask(self, **settings):
        return await self.done(self.chat(**settings).sample())

    async def chunks(self, stream=None, **settings):
        stream = self.chat(**settings).stream() if stream is None else stream
        return [chunk async for chunk in stream] if self.is_async else list(stream)

    async def close(self, stream):
        await stream.aclose() if self.is_async else stream.close()

    async def next(self, stream):
        return await anext(stream) if self.is_async else next(stream)


@pytest.fixture(params=[xai_sdk.Client, xai_sdk.AsyncClient], ids=["sync", "async"])
async def kind(request, server, meter):
    bare = made(request.param, server)
    either = Kind(wrap_client(bare, meter, user=None))
    yield either
    await either.done(bare.close())


@pytest.fixture
def bare(server):
    with made(xai_sdk.Client, server) as client:
        yield client


@pytest.fixture
def client(bare, meter):
    return wrap_client(bare, meter, user=None)
