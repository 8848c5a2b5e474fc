"""`wrap` gives a metered client of the same kind and leaves the given one as it was."""

from __future__ import annotations

import asyncio
import contextvars
import subprocess
import sys

import openai
import pytest

from callfare.capture.base import is_metered, marked_as_metered
from callfare.capture.openai import wrap
from callfare.errors import InvalidInput
from tests.capture.fake_meter import FakeMeter

ASK = {"model": "gpt-5-mini", "input": "hey"}


def test_the_given_client_stays_unmetered(bare, meter):
    bare.responses.create(**ASK)
    before = dict(vars(bare))

    wrap(bare, meter).responses.create(**ASK)
    bare.responses.create(**ASK)

    assert len(meter.tickets) == 1
    assert vars(bare) == before


def test_the_metered_client_shares_the_connections(bare, meter):
    client = wrap(bare, meter)

    assert isinstance(client, openai.OpenAI)
    assert client is not bare
    assert client._client is bare._client


def test_resources_made_before_are_made_anew(bare, meter):
    unmetered = bare.responses

    client = wrap(bare, meter)

    assert client.responses is not unmetered
    unmetered.create(**ASK)
    assert meter.tickets == []


def test_wrapping_twice_meters_once(bare, meter):
    client = wrap(wrap(bare, meter), meter)

    client.responses.create(**ASK)

    assert len(meter.tickets) == 1
    assert wrap(client, meter) is client


def test_wrapping_for_another_user_charges_that_user_alone(bare, meter):
    client = wrap(wrap(bare, meter, user="ann"), meter, user="bob")

    reply = client.responses.create(**ASK)
    client.responses.retrieve(reply.id)

    assert meter.ticket.user == "bob"
    assert len(meter.observed) == 1


def test_wrapping_for_another_ledger_charges_that_ledger_alone(bare, meter):
    other = FakeMeter()

    wrap(wrap(bare, meter), other).responses.create(**ASK)

    assert (len(meter.tickets), len(other.tickets)) == (0, 1)


@pytest.mark.parametrize("name", ["with_options", "copy"])
def test_copies_of_a_metered_client_are_metered(bare, meter, name):
    client = wrap(bare, meter, user="ann")

    other = getattr(client, name)(timeout=70)
    getattr(other, name)(max_retries=0).responses.create(**ASK)

    assert other.timeout == 70
    assert meter.ticket.user == "ann"


async def test_copies_of_a_metered_async_client_are_metered(async_client, meter):
    await async_client.with_options(timeout=60).responses.create(**ASK)

    assert len(meter.tickets) == 1


def test_a_metered_client_can_be_entered_and_closed(fake, meter):
    with wrap(openai.OpenAI(base_url=fake.base_url, api_key="none"), meter) as client:
        client.responses.create(**ASK)

    assert client.is_closed()
    assert len(meter.tickets) == 1


def test_a_client_of_azure_is_metered_under_the_model_that_served(fake, meter):
    azure = openai.AzureOpenAI(
        azure_endpoint=fake.base_url.removesuffix("/v1"),
        azure_deployment="our-own-name",
        api_version="2024-10-21",
        api_key="none",
        max_retries=0,
    )

    with wrap(azure, meter) as client:
        client.chat.completions.create(model="gpt-5-mini", messages=[{"role": "user", "content": "hi there"}])

    assert isinstance(client, openai.AzureOpenAI)
    assert meter.ticket.intent.base_url.endswith("/openai/deployments/our-own-name")
    assert meter.ticket.settled[0][0].model == "gpt-5-mini-2025-08-07"


async def test_an_async_client_of_azure_is_metered(fake, meter):
    azure = openai.AsyncAzureOpenAI(
        azure_endpoint=fake.base_url.removesuffix("/v1"), api_version="2024-10-21", api_key="none", max_retries=0
    )

    async with wrap(azure, meter) as client:
        await client.chat.completions.create(model="gpt-5-mini", messages=[{"role": "user", "content": "hi there"}])

    assert meter.ticket.usage["output_tokens"] == 121


class TeamClient(openai.OpenAI):
    """A client of the caller's own, which cannot be made from the SDK's arguments alone."""

    def __init__(self, team, **options):
        super().__init__(**options)
        self.team = team


def test_a_client_of_the_callers_own_class_is_metered(fake, meter):
    with wrap(TeamClient("blue", base_url=fake.base_url, api_key="none"), meter) as client:
        client.responses.create(**ASK)

    assert (type(client), client.team) == (TeamClient, "blue")
    assert len(meter.tickets) == 1


def test_what_others_put_on_a_client_stays_below(bare, meter):
    seen = []
    post = bare.post

    def watched(path, **options):
        seen.append((path, is_metered()))
        return post(path, **options)

    bare.post = watched
    client = wrap(wrap(bare, meter), meter, user="ann")

    client.responses.create(**ASK)

    assert seen == [("/responses", True)]
    assert len(meter.tickets) == 1


@pytest.mark.parametrize("client", [None, object(), openai, openai.OpenAI, "client"])
def test_what_is_no_client_is_refused(client, meter):
    with pytest.raises(InvalidInput, match="no client of this SDK; give one such as OpenAI"):
        wrap(client, meter)


# Layers that meter the same call


def test_a_call_that_an_outer_layer_meters_is_not_counted_again(client, meter):
    with marked_as_metered():
        client.responses.create(**ASK)

    assert meter.tickets == []
    client.responses.create(**ASK)
    assert len(meter.tickets) == 1


async def test_a_task_begun_within_a_metered_call_is_metered_when_that_call_is_over(async_client, meter):
    with marked_as_metered():
        later = contextvars.copy_context()

    await asyncio.create_task(async_client.responses.create(**ASK), context=later)

    assert len(meter.tickets) == 1


def test_capture_does_not_import_the_sdk():
    code = "import callfare.capture.openai, sys; sys.exit('openai' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
