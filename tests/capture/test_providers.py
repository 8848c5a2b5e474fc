"""Which provider stands behind a base address."""

from __future__ import annotations

import openai
import pytest

from callfare import Callfare
from callfare.capture.openai import wrap
from callfare.capture.providers import HOSTS, provider_at, stranger_at
from callfare.errors import InvalidInput

HELLO = [{"role": "user", "content": "hi there"}]


@pytest.mark.parametrize(
    ("address", "provider"),
    [
        ("https://api.openai.com/v1/", "openai"),
        ("https://mine.openai.azure.com/openai/v1", "openai"),
        ("https://openrouter.ai/api/v1", "openrouter"),
        ("https://api.groq.com/openai/v1", "groq"),
        ("https://API.Mistral.AI:443/v1", "mistral"),
        ("https://europe-west4-aiplatform.googleapis.com/v1", "google"),
        ("https://aiplatform.eu.rep.googleapis.com/v1", "google"),
        ("https://bedrock-runtime.us-west-2.amazonaws.com/openai/v1", "aws"),
        ("https://bedrock-mantle.eu-central-1.api.aws/openai/v1", "aws"),
        ("https://vpce-1a-2b.bedrock-runtime.us-east-1.vpce.amazonaws.com/openai/v1", "aws"),
        ("https://bedrock-mine.us-east-1.elb.amazonaws.com/v1", "openai"),
        ("https://bedrock-runtime.us-west-2.amazonaws.com.evil.example/v1", "openai"),
        ("http://127.0.0.1:8000/v1", "openai"),
        ("https://notopenrouter.ai/v1", "openai"),
        ("https://openrouter.ai.evil.example/v1", "openai"),
        ("http://[broken", "openai"),
        ("", "openai"),
    ],
)
def test_a_host_names_its_provider_and_any_other_keeps_its_sdks_maker(address, provider):
    assert provider_at(address) == provider


@pytest.mark.parametrize("address", ["https://mine.services.ai.azure.com/anthropic", "https://mine.openai.azure.com"])
def test_at_azure_the_maker_of_the_sdk_answers(address):
    assert provider_at(address, "anthropic") == "anthropic"


def test_each_host_has_one_provider():
    assert len(HOSTS) == len(set(HOSTS))
    assert all(host == host.lower() for host in HOSTS)


async def test_whoever_wraps_a_client_may_say_whose_address_it_is(fake, meter):
    with openai.OpenAI(base_url=fake.base_url, api_key="none") as bare:
        client = wrap(bare, meter, provider="groq")

        client.chat.completions.create(model="llama", messages=HELLO)
        client.with_options(timeout=90).chat.completions.create(model="llama", messages=HELLO)

    assert [ticket.intent.provider for ticket in meter.tickets] == ["groq", "groq"]


def test_prices_of_the_named_provider_apply(fake):
    with Callfare("memory://") as fare, openai.OpenAI(base_url=fake.base_url, api_key="none") as bare:
        fare.grant("alice", 2000, key="k")
        client = fare.wrap(bare, "alice", provider="groq")

        with fare.run("story", user="alice") as run:
            client.chat.completions.create(model="llama-3.1-8b-instant", messages=HELLO)

        [call] = fare.calls(run).items
        assert (call.provider, call.status) == ("groq", "priced")


def test_another_name_makes_another_client(fake, meter):
    with openai.OpenAI(base_url=fake.base_url, api_key="none") as bare:
        client = wrap(bare, meter, provider="groq")

        assert wrap(client, meter, provider="groq") is client
        assert wrap(client, meter) is not client


@pytest.mark.parametrize("provider", ["", "x" * 300, "two\nlines", 7])
def test_what_is_no_name_of_a_provider_is_refused(bare, provider):
    with Callfare("memory://") as fare, pytest.raises(InvalidInput, match="provider"):
        fare.wrap(bare, provider=provider)


@pytest.mark.parametrize(
    ("address", "provider"),
    [
        ("http://localhost:11434/v1", "ollama"),
        ("http://127.0.0.1:11434", "ollama"),
        ("http://[::1]:11434/v1/", "ollama"),
        ("http://gpu-1:11434/v1", "ollama"),
        ("https://ollama.com/v1", "ollama"),
        ("http://localhost/v1", "openai"),
        ("http://localhost:1143/v1", "openai"),
        ("http://localhost:8000/11434", "openai"),
        # Whom the host names, it is, wherever it listens.
        ("https://api.openai.com:11434/v1", "openai"),
        ("https://openrouter.ai:11434/v1", "openrouter"),
        ("http://localhost:114340/v1", "openai"),
        ("http://localhost:x/v1", "openai"),
    ],
)
def test_the_port_of_servers_of_ones_own_names_their_provider_where_the_host_names_none(address, provider):
    assert provider_at(address) == provider


@pytest.mark.parametrize(
    ("address", "provider", "host"),
    [
        ("http://localhost:8000/v1", "openai", "localhost:8000"),
        ("http://me:secret@gpu-1/v1", "openai", "gpu-1"),
        ("http://localhost:8000/v1", "anthropic", "localhost:8000"),
        ("https://api.openai.com/v1", "openai", ""),
        ("http://localhost:11434/v1", "ollama", ""),
        ("http://localhost:8000/v1", "our-servers", ""),
        (f"http://{'a' * 254}/v1", "openai", ""),
        ("http://höst/v1", "openai", ""),
        ("http://[broken", "openai", ""),
        ("", "openai", ""),
    ],
)
def test_a_host_that_is_nobodys_is_told_apart_from_one_whose_provider_is_known(address, provider, host):
    assert stranger_at(address, provider) == host
