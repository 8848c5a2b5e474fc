"""Stand-ins of other providers than OpenAI, a meter that remembers, and clients of the real SDKs between them.

tests/capture runs with two majors of OpenAI's SDK, in an environment that has no other: so these stand beside it.
"""

from __future__ import annotations

import anthropic
import pytest

from callfare.capture.anthropic import wrap
from callfare.devtools.fake_anthropic import FakeAnthropic
from tests.capture.conftest import Either
from tests.capture.fake_meter import FakeMeter


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
