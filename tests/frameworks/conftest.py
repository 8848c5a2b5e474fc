"""Real frameworks, in environments of their own that `./run test --all` makes. Elsewhere nothing is collected."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from callfare.capture.recent import RECENT
from callfare.devtools.fake_openai import FakeOpenAI

HAS_FRAMEWORKS = find_spec("langchain_openai") is not None
collect_ignore_glob = [] if HAS_FRAMEWORKS else ["test_*.py"]


@pytest.fixture
def stand_in(monkeypatch):
    # Each stand-in begins its ids anew.
    RECENT._ids.clear()
    with FakeOpenAI() as fake:
        monkeypatch.setenv("OPENAI_BASE_URL", fake.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        yield fake
