"""Real frameworks, in environments of their own that `./run test --all` makes. Elsewhere nothing is collected."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from callfare.capture.recent import RECENT
from callfare.devtools.fake_openai import FakeOpenAI

NEEDED = {"test_page.py": "langchain_openai", "test_litellm.py": "litellm"}
collect_ignore = [file for file, library in NEEDED.items() if find_spec(library) is None]


@pytest.fixture
def stand_in(monkeypatch):
    # Each stand-in begins its ids anew.
    RECENT._ids.clear()
    with FakeOpenAI() as fake:
        monkeypatch.setenv("OPENAI_BASE_URL", fake.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        yield fake
