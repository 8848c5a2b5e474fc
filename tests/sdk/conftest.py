"""Stand-ins of other providers than OpenAI, a meter that remembers, and clients of the real SDKs between them.

tests/capture runs with two majors of OpenAI's SDK, in an environment that has no other: so these stand beside it.
"""

from __future__ import annotations

import anthropic
import pytest
from google import genai

from callfare.capture import google
from callfare.capture.anthropic import wrap
from callfare.devtools.fake_anthropic import FakeAnthropic
from callfare.devtools.fake_google import FakeGoogle
from callfare.devtools.fake_huggingface import FakeHuggingFace
from tests.capture.conftest import Either
from tests.capture.fake_meter import FakeMeter
from tests.sdk.hubs import EitherHub
from tests.support.rerouted import rerouted


@pytest.fixture
def meter():
    return FakeMeter()


@pytest.fixture
def claude():
    """The stand-in for Anthropic."""
    with FakeAnthropic() as server:
        yield server


@pytest.fixture
def client(claude, meter):
    with anthropic.Anthropic(base_url=claude.base_url, api_key="none", max_retries=0) as bare:
        yield wrap(bare, meter)


@pytest.fixture
async def async_client(claude, meter):
    async with anthropic.AsyncAnthropic(base_url=claude.base_url, api_key="none", max_retries=0) as bare:
        yield wrap(bare, meter)


@pytest.fixture(params=["sync", "async"])
def either(request, claude, meter):
    return Either(request.getfixturevalue("client" if request.param == "sync" else "async_client"))


@pytest.fixture
def gemini():
    """The stand-in for Google."""
    with FakeGoogle() as server:
        yield server


@pytest.fixture
def gemini_client(gemini, meter):
    """One client has both kinds of calls."""
    with genai.Client(api_key="none", http_options={"base_url": gemini.base_url}) as bare:
        yield google.wrap(bare, meter)


@pytest.fixture
def vertex_client(gemini, meter):
    """A client of the address that has pictures and videos."""
    with genai.Client(vertexai=True, api_key="none", http_options={"base_url": gemini.base_url}) as bare:
        yield google.wrap(bare, meter)


class EitherGemini(Either):
    """A client of either kind, whose parts are called in the same words."""

    def __init__(self, client, *, is_async):
        super().__init__(client.aio if is_async else client)


@pytest.fixture(params=["sync", "async"])
async def gemini_either(request, gemini_client):
    yield EitherGemini(gemini_client, is_async=request.param == "async")
    await gemini_client.aio.aclose()


@pytest.fixture(params=["sync", "async"])
async def vertex_either(request, vertex_client):
    yield EitherGemini(vertex_client, is_async=request.param == "async")
    await vertex_client.aio.aclose()


@pytest.fixture
def hub():
    """The stand-in for Hugging Face and whoever stands behind its router: its SDK reaches nothing else."""
    with FakeHuggingFace() as server, rerouted(server.base_url):
        yield server


@pytest.fixture(params=["sync", "async"])
async def either_hub(request, hub, meter):
    made = EitherHub(meter, is_async=request.param == "async")
    yield made
    await made.close()
