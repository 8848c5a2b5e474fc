"""A module in place of a client: Ollama's functions are metered, any other module is answered with what to give."""

from __future__ import annotations

import asyncio
import importlib
import types

import ollama
import pytest

from callfare import Callfare
from callfare.capture.clients import wrap_client
from callfare.capture.providers import CLIENTS, SIBLINGS, WHOLE, WRAPPED
from callfare.devtools.fake_ollama import FakeOllama
from callfare.errors import InvalidInput
from tests.capture.fake_meter import FakeMeter

MODEL = "llama3.2"
HELLO = [{"role": "user", "content": "hi there"}]
USAGE = {"input_tokens": 5, "output_tokens": 57}


@pytest.fixture
def server(monkeypatch):
    """The stand-in, to which the module's own client goes."""
    with FakeOllama() as fake, ollama.Client(host=fake.base_url) as bare:
        monkeypatch.setattr(ollama._client, "_client", bare._client)
        yield fake


@pytest.fixture
def metered(server, meter):
    return wrap_client(ollama, meter, user=None)


def test_the_modules_own_functions_are_metered(metered, meter):
    reply = metered.chat(model=MODEL, messages=HELLO)
    parts = list(metered.chat(MODEL, HELLO, stream=True))
    metered.generate(model=MODEL, prompt="hi there")
    metered.embed(model=MODEL, input="hi there")

    assert reply.eval_count == parts[-1].eval_count == 57
    assert [settled.usage for ticket in meter.tickets for settled, _ in ticket.settled] == [
        USAGE,
        USAGE,
        {"input_tokens": 2, "output_tokens": 57},
        {"input_tokens": 2},
    ]


def test_what_costs_nothing_by_the_module_is_as_it_was(metered, meter):
    assert metered.list().models == []
    assert meter.tickets == []


def test_the_given_module_stays_as_it_is(metered, meter):
    ollama.chat(model=MODEL, messages=HELLO)

    assert meter.tickets == []
    assert ollama.chat.__self__ is ollama._client
    assert metered is not ollama


def test_it_is_a_module_with_all_that_the_given_one_has(metered):
    assert isinstance(metered, types.ModuleType)
    assert metered.__name__ == "ollama"
    assert (metered.Client, metered.ResponseError) == (ollama.Client, ollama.ResponseError)
    assert set(vars(metered)) == set(vars(ollama))
    # Nothing of it goes past the meter.
    assert [name for name, one in vars(metered).items() if getattr(one, "__self__", None) is ollama._client] == []


def test_a_module_that_is_wrapped_twice_counts_once(metered, meter):
    again = wrap_client(metered, meter, user=None)
    other = FakeMeter()

    wrap_client(metered, other, user=None).chat(model=MODEL, messages=HELLO)
    again.chat(model=MODEL, messages=HELLO)

    assert again is metered
    assert (len(meter.tickets), len(other.tickets)) == (1, 1)


def test_by_the_facade_a_module_is_charged_like_a_client(server):
    with Callfare("memory://") as fare:
        fare.grant("alice", 100, key="k")
        with fare.run("tweet", user="alice") as run:
            fare.wrap(ollama).chat(model=MODEL, messages=HELLO)

        [call] = fare.calls(run).items
        assert (call.provider, call.status, call.usage) == ("ollama", "priced", USAGE)


@pytest.mark.parametrize("name", ["openai", "anthropic", "cohere", "groq", "huggingface_hub", "google.genai", "boto3"])
def test_another_module_is_refused_saying_what_to_make_of_it(meter, name):
    with pytest.raises(InvalidInput) as refusal:
        wrap_client(importlib.import_module(name), meter, user=None)

    assert refusal.value.message == (
        f"{name} is a module; make a client of it, and wrap that: fare.wrap({CLIENTS[name]})"
    )


@pytest.mark.parametrize("name", ["litellm", "pydantic_ai"])
def test_a_framework_is_refused_saying_how_it_is_listened_to(meter, name):
    with pytest.raises(InvalidInput, match=rf'{name} is a module.*: fare.listener\("{name}"\)'):
        wrap_client(types.ModuleType(name), meter, user=None)


@pytest.mark.parametrize("module", [asyncio, types.ModuleType("ollamas"), types.ModuleType("")])
def test_a_module_of_nobodys_is_refused_naming_the_sdks_that_are_known(meter, module):
    with pytest.raises(InvalidInput, match=r"is a module; wrap a client of openai, .*fare.metered"):
        wrap_client(module, meter, user=None)


def test_a_module_without_a_client_of_its_own_is_refused(meter):
    with pytest.raises(InvalidInput, match=r"give one such as ollama.Client\(\)"):
        wrap_client(types.ModuleType("ollama"), meter, user=None)


def test_each_package_says_what_to_give_in_place_of_it():
    assert CLIENTS.keys() >= WRAPPED.keys() | SIBLINGS.keys()
    assert {"ollama"} == WHOLE
