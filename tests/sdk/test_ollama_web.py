"""Searches and pages of the web by Ollama's SDK: its cloud does them, so each is a call that waits for a rate."""

from __future__ import annotations

import asyncio

import httpx
import ollama
import pytest

from callfare import Callfare
from callfare.capture.clients import wrap_client
from callfare.devtools.fake_ollama import FakeOllama
from callfare.devtools.stand_in import Fault
from callfare.money import Usd

KEY = {"authorization": "Bearer none"}
SEARCH = """
book = "ours"

[[model]]
provider = "ollama"
name = "web_search"
basis = ["web_searches"]
source = "our plan"
checked = 2026-11-23

[[model.rate]]
meter = "web_searches"
usd = "0.005"
per = 1
"""


def led(request, place):
    """Lead a request to the stand-in, whichever host it meant."""
    request.url = request.url.copy_with(scheme="http", host=place.host, port=place.port)


class Transport(httpx.HTTPTransport):
    def __init__(self, base_url):
        super().__init__()
        self.place = httpx.URL(base_url)

    def handle_request(self, request):
        led(request, self.place)
        return super().handle_request(request)


class AsyncTransport(httpx.AsyncHTTPTransport):
    def __init__(self, base_url):
        super().__init__()
        self.place = httpx.URL(base_url)

    async def handle_async_request(self, request):
        led(request, self.place)
        return await super().handle_async_request(request)


@pytest.fixture
def server():
    with FakeOllama() as fake:
        yield fake


@pytest.fixture
def bare(server):
    with ollama.Client(host=server.base_url, headers=KEY, transport=Transport(server.base_url)) as client:
        yield client


@pytest.mark.parametrize(
    ("ask", "name", "usage"),
    [
        (lambda client: client.web_search("boats"), "web_search", {"web_searches": 1}),
        (lambda client: client.web_fetch("https://example.com/"), "web_fetch", {"calls": 1}),
    ],
    ids=["search", "page"],
)
def test_each_is_settled_as_one_call_of_the_clouds(bare, meter, ask, name, usage):
    reply = ask(wrap_client(bare, meter, user=None))

    assert type(reply) is type(ask(bare))
    intent = meter.ticket.intent
    assert (intent.provider, intent.base_url, intent.attributes) == (
        "ollama",
        "https://ollama.com",
        {"region": "cloud"},
    )
    [(reading, estimated)] = meter.ticket.settled
    assert (reading.model, reading.usage, reading.incomplete, estimated) == (name, usage, False, False)


async def test_each_is_settled_by_the_async_client_too(server, meter):
    transport = AsyncTransport(server.base_url)
    async with ollama.AsyncClient(host=server.base_url, headers=KEY, transport=transport) as bare:
        client = wrap_client(bare, meter, user=None)
        await asyncio.gather(client.web_search("boats"), client.web_fetch("https://example.com/"))

    settled = {ticket.intent.model: [reading.usage for reading, _ in ticket.settled] for ticket in meter.tickets}
    assert settled == {"web_search": [{"web_searches": 1}], "web_fetch": [{"calls": 1}]}


def test_one_that_is_refused_costs_nothing(server, bare, meter):
    server.script(Fault(status=401))

    with pytest.raises(ollama.ResponseError):
        wrap_client(bare, meter, user=None).web_search("boats")

    assert (meter.ticket.settled, meter.ticket.released) == ([], 1)


def test_they_are_unpriced_and_never_refused_until_they_have_a_rate(server, bare, tmp_path):
    book = tmp_path / "ours.toml"
    book.write_text(SEARCH)
    with Callfare("memory://") as fare:
        fare.grant("alice", 100, key="k")
        client = fare.wrap(bare)
        with fare.user("alice"):
            client.web_search("boats")
            client.web_fetch("https://example.com/")
        with fare.run("tweet", user="alice"):
            client.web_search("boats")

        assert (fare.usage("alice").calls, fare.usage("alice").unpriced_calls) == (3, 3)
    with Callfare("memory://", books=[str(book)]) as fare:
        fare.grant("alice", 100, key="k")
        with fare.run("tweet", user="alice") as run:
            fare.wrap(bare).web_search("boats")

        [call] = fare.calls(run).items
        assert (call.status, call.cost) == ("priced", Usd("0.005"))


def test_without_a_key_the_sdk_refuses_and_nothing_is_counted(server, meter):
    with ollama.Client(host=server.base_url) as bare, pytest.raises(ValueError, match="Bearer token is required"):
        wrap_client(bare, meter, user=None).web_search("boats")

    assert meter.tickets == []
