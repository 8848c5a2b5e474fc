"""Servers of one's own: whichever SDK reaches them, a call is under one name, one place and one rate."""

from __future__ import annotations

from contextlib import contextmanager

import anthropic
import httpx2
import ollama
import openai
import pytest

from callfare import Callfare
from callfare.capture import leftovers
from callfare.devtools.fake_anthropic import FakeAnthropic
from callfare.devtools.fake_ollama import FakeOllama
from callfare.devtools.fake_openai import FakeOpenAI
from callfare.errors import UnpricedModel
from callfare.money import Usd
from tests.cli.conftest import CommandLine
from tests.support.rerouted import transport_to

HELLO = [{"role": "user", "content": "hi there"}]
OLLAMA = "http://localhost:11434"
RATES = ("input_tokens=0.10/1000000", "output_tokens=0.20/1000000")


CLOUD = """
book = "ours"

[[model]]
provider = "ollama"
name = "gpt-oss:120b-cloud"
basis = ["input_tokens", "output_tokens"]
source = "our contract"
checked = 2026-11-23

[[model.rate]]
meter = "input_tokens"
attributes = { region = "cloud" }
usd = "0"
per = 1_000_000

[[model.rate]]
meter = "output_tokens"
attributes = { region = "cloud" }
usd = "0.20"
per = 1_000_000
"""


@contextmanager
def by_openai(fare, address, **options):
    """Yield what asks a model by OpenAI's SDK at an address, behind which a stand-in answers."""
    with FakeOpenAI() as fake, httpx2.Client(transport=transport_to(fake.base_url)) as connections:
        client = fare.wrap(openai.OpenAI(base_url=address, api_key="x", http_client=connections), **options)
        yield lambda model: client.chat.completions.create(model=model, messages=HELLO)


@contextmanager
def by_anthropic(fare, address, **options):
    """Yield what asks a model by Anthropic's SDK, which Ollama's server answers too."""
    with FakeAnthropic() as fake, httpx2.Client(transport=transport_to(fake.base_url)) as connections:
        bare = anthropic.Anthropic(base_url=address.removesuffix("/v1"), api_key="x", http_client=connections)
        client = fare.wrap(bare, **options)
        yield lambda model: client.messages.create(model=model, max_tokens=400, messages=HELLO)


@contextmanager
def by_ollama(fare, _address, **options):
    """Yield what asks a model by Ollama's own SDK."""
    with FakeOllama() as fake, ollama.Client(host=fake.base_url) as bare:
        client = fare.wrap(bare, **options)
        yield lambda model: client.chat(model=model, messages=HELLO)


SDKS = [by_openai, by_anthropic, by_ollama]


@contextmanager
def opened(*books):
    with Callfare("memory://", books=list(map(str, books))) as fare:
        fare.grant("alice", 2000, key="k")
        yield fare


@pytest.fixture
def cli(tmp_path):
    return CommandLine(tmp_path)


@pytest.mark.parametrize("way", SDKS)
def test_what_ollamas_server_runs_is_free_by_whichever_sdk(way):
    with opened() as fare, way(fare, f"{OLLAMA}/v1") as ask:
        with fare.run("story", user="alice") as run_handle:
            ask("llama3.2")

        [call] = fare.calls(run_handle).items
        assert (call.provider, call.model, call.status, call.cost) == ("ollama", "llama3.2", "priced", Usd("0"))
        assert call.attributes["region"] == "local"


@pytest.mark.parametrize("way", SDKS)
@pytest.mark.parametrize("name", ["llama3.2", "llama3.2:latest"])
def test_one_rate_holds_for_a_model_by_whichever_sdk(way, name, cli, tmp_path):
    words = ("--provider", "ollama", "--source", "what our machines cost", "--book", str(tmp_path / "ours.toml"))
    assert cli("prices", "set", name, *RATES, *words).exit_code == 0
    with opened(tmp_path / "ours.toml") as fare, way(fare, f"{OLLAMA}/v1") as ask:
        with fare.run("story", user="alice") as run_handle:
            ask("llama3.2")
            ask("llama3.2:latest")
            ask("qwen3")

        ours, tagged, other = fare.calls(run_handle).items
        # Hundredths of a microdollar: each input token ten, each output token twenty.
        assert ours.cost == tagged.cost
        assert ours.cost.picousd == 100_000 * ours.usage["input_tokens"] + 200_000 * ours.usage["output_tokens"]
        assert (other.status, other.cost) == ("priced", Usd("0"))


@pytest.mark.parametrize("way", SDKS)
def test_what_ollamas_cloud_runs_has_no_price_by_whichever_sdk(way):
    with opened() as fare, way(fare, f"{OLLAMA}/v1") as ask:
        with fare.run("story", user="alice"), pytest.raises(UnpricedModel, match="region cloud"):
            ask("gpt-oss:120b-cloud")
        with fare.user("alice"):
            ask("gpt-oss:120b-cloud")

        used = fare.usage("alice")
        assert (used.calls, used.unpriced_calls) == (1, 1)


@pytest.mark.parametrize("way", [by_openai, by_anthropic])
def test_at_the_clouds_own_address_nothing_is_free(way):
    with opened() as fare, way(fare, "https://ollama.com/v1") as ask:
        with fare.user("alice"):
            ask("gpt-oss:120b")

        assert fare.usage("alice").unpriced_calls == 1


def test_a_stream_that_is_left_and_taken_up_again_keeps_its_place_and_so_its_price(tmp_path, monkeypatch):
    monkeypatch.setattr(leftovers, "WAIT_MS_MAX", 60_000)
    book = tmp_path / "ours.toml"
    book.write_text(CLOUD)
    with opened(book) as fare, FakeOpenAI() as fake, openai.OpenAI(base_url=fake.base_url, api_key="x") as bare:
        client = fare.wrap(bare, provider="ollama")
        with fare.run("story", user="alice") as run_handle:
            stream = client.chat.completions.create(model="gpt-oss:120b-cloud", messages=HELLO, stream=True)
            for _ in stream:
                break
            list(stream)

        estimate, counted = fare.calls(run_handle).items
        assert estimate.flags == ("estimated",)
        assert (counted.status, counted.attributes["region"]) == ("priced", "cloud")
        # $0.20 a million, for all that was written.
        used = fare.usage("alice")
        assert used.unpriced_calls == 0
        assert used.cost.picousd == 200_000 * counted.usage["output_tokens"]


def test_whoever_names_ollama_has_its_rates_at_any_address():
    with opened() as fare, by_openai(fare, "http://gpu-1:8080/v1", provider="ollama") as ask:
        with fare.run("story", user="alice") as run_handle:
            ask("llama3.2")

        [call] = fare.calls(run_handle).items
        assert (call.provider, call.status, call.cost) == ("ollama", "priced", Usd("0"))


def test_a_server_of_nobodys_is_refused_within_a_run_saying_how_to_name_it():
    with opened() as fare, by_openai(fare, "http://me:secret@localhost:8000/v1") as ask:
        with fare.user("alice"):
            ask("Qwen/Qwen3-8B")
        with fare.run("story", user="alice"), pytest.raises(UnpricedModel) as refusal:
            ask("Qwen/Qwen3-8B")

        assert fare.usage("alice").unpriced_calls == 1
        assert refusal.value.message == (
            "Qwen/Qwen3-8B has no price: no price book names Qwen/Qwen3-8B of openai; add a rate for it to a price "
            "book, or say whose server localhost:8000 is with fare.wrap(…, provider=…)"
        )


def test_one_command_prices_all_that_a_server_of_ones_own_has(cli, tmp_path):
    words = ("--provider", "our-servers", "--source", "the electricity bill", "--book", str(tmp_path / "ours.toml"))
    assert cli("prices", "set", "*", "input_tokens=0/1000000", "output_tokens=0.05/1000000", *words).exit_code == 0
    with opened(tmp_path / "ours.toml") as fare:
        way = by_openai(fare, "http://localhost:8000/v1", provider="our-servers")
        with way as ask, fare.run("story", user="alice") as run_handle:
            ask("Qwen/Qwen3-8B")

        [call] = fare.calls(run_handle).items
        assert (call.provider, call.status) == ("our-servers", "priced")
        assert call.cost.picousd == 50_000 * call.usage["output_tokens"]


def test_a_call_that_a_framework_tells_without_an_address_says_what_its_price_waits_for():
    with opened() as fare:
        hear = fare.listener("langchain")
        about = {"ls_provider": "ollama", "ls_model_name": "llama3.2"}
        with fare.run("story", user="alice") as run_handle:
            hear.on_chat_model_start({}, [[]], run_id="1", metadata=about)
            said = {"usage_metadata": {"input_tokens": 5, "output_tokens": 7}, "response_metadata": {}, "id": "msg-1"}
            hear.on_llm_end({"generations": [[{"message": said}]]}, run_id="1")

        [call] = fare.calls(run_handle).items
        assert (call.provider, call.status) == ("ollama", "unpriced")
        assert call.reason == "the price of any other model of ollama depends on region; give region as one of local"
