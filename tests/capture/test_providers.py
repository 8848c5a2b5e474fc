"""Which provider stands behind a base address."""

from __future__ import annotations

import pytest

from callfare.capture.providers import HOSTS, provider_at


@pytest.mark.parametrize(
    ("address", "provider"),
    [
        ("https://api.openai.com/v1/", "openai"),
        ("https://mine.openai.azure.com/openai/v1", "openai"),
        ("https://openrouter.ai/api/v1", "openrouter"),
        ("https://api.groq.com/openai/v1", "groq"),
        ("https://API.Mistral.AI:443/v1", "mistral"),
        ("https://europe-west4-aiplatform.googleapis.com/v1", "openai"),
        ("http://127.0.0.1:8000/v1", "openai"),
        ("https://notopenrouter.ai/v1", "openai"),
        ("https://openrouter.ai.evil.example/v1", "openai"),
        ("http://[broken", "openai"),
        ("", "openai"),
    ],
)
def test_a_host_names_its_provider_and_any_other_keeps_its_sdks_maker(address, provider):
    assert provider_at(address) == provider


def test_each_host_has_one_provider():
    assert len(HOSTS) == len(set(HOSTS))
    assert all(host == host.lower() for host in HOSTS)
