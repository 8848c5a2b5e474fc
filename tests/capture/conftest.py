"""The stand-in, a meter that remembers, and clients of the real SDK between them."""

from __future__ import annotations

import inspect
import io
import wave

import openai
import pytest

from callfare.capture import leftovers
from callfare.capture.openai import wrap
from callfare.devtools.fake_openai import FakeOpenAI
from tests.capture.fake_meter import FakeMeter


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who leaves a stream waits until it is settled, however busy the machine is and whatever was left before."""
    monkeypatch.setattr(leftovers, "WAIT_MS_MAX", 60_000)


@pytest.fixture
def fake():
    with FakeOpenAI() as server:
        yield server


@pytest.fixture
def meter():
    return FakeMeter()


@pytest.fixture
def bare(fake):
    """A client that nobody meters."""
    with openai.OpenAI(base_url=fake.base_url, api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
def client(bare, meter):
    return wrap(bare, meter)


@pytest.fixture
async def async_client(fake, meter):
    async with openai.AsyncOpenAI(base_url=fake.base_url, api_key="none", max_retries=0) as bare:
        yield wrap(bare, meter)


class Either:
    """A client of either kind, called in the same words."""

    def __init__(self, client):
        self.client = client

    async def do(self, call):
        """Return what a call returns, awaited where it must be."""
        result = call(self.client)
        return await result if inspect.isawaitable(result) else result

    async def events(self, call):
        """Return all events of the stream that a call returns."""
        stream = await self.do(call)
        return [event async for event in stream] if hasattr(stream, "__anext__") else list(stream)


@pytest.fixture(params=["sync", "async"])
def either(request, fake, meter):
    return Either(request.getfixturevalue("client" if request.param == "sync" else "async_client"))


@pytest.fixture
def wav():
    """A second and a half of silence."""
    sound = io.BytesIO()
    with wave.open(sound, "wb") as header:
        header.setnchannels(1)
        header.setsampwidth(2)
        header.setframerate(8000)
        header.writeframes(b"\0\0" * 12_000)
    return sound.getvalue()
