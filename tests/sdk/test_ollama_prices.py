"""What calls of Ollama's SDK cost: nothing on one's own machine, and in its cloud what one says."""

from __future__ import annotations

import ollama
import pytest

from callfare import Callfare
from callfare.devtools.fake_ollama import ALIAS, FakeOllama
from callfare.errors import UnpricedModel
from callfare.money import Usd

MODEL = "llama3.2"
HELLO = [{"role": "user", "content": "hi there"}]
USAGE = {"input_tokens": 5, "output_tokens": 57}

OURS = """
book = "ours"

[[model]]
provider = "ollama"
name = "llama3.2"
basis = ["input_tokens", "output_tokens"]
source = "what our machines cost"
checked = 2026-11-23

[[model.rate]]
meter = "input_tokens"
usd = "0.10"
per = 1_000_000

[[model.rate]]
meter = "output_tokens"
usd = "0.20"
per = 1_000_000
"""


@pytest.fixture
def bare():
    with FakeOllama() as server, ollama.Client(host=server.base_url) as client:
        yield client


def test_what_ones_own_machine_runs_is_free_and_recorded(bare):
    with Callfare("memory://") as fare:
        fare.grant("alice", 2000, key="k")
        with fare.run("story", user="alice") as run_handle:
            fare.wrap(bare).chat(model=MODEL, messages=HELLO)

        [call] = fare.calls(run_handle).items
        assert (call.provider, call.status, call.cost, call.usage) == ("ollama", "priced", Usd("0"), USAGE)


def test_what_ones_own_machine_runs_costs_what_one_says(bare, tmp_path):
    book = tmp_path / "ours.toml"
    book.write_text(OURS)
    with Callfare("memory://", books=[str(book)]) as fare:
        fare.grant("alice", 2000, key="k")
        with fare.run("story", user="alice") as run_handle:
            fare.wrap(bare).chat(model="llama3.2:latest", messages=HELLO)
            fare.wrap(bare).chat(model="qwen3", messages=HELLO)

        # 5 at $0.10 and 57 at $0.20 a million; another model is nobody's business.
        first, second = fare.calls(run_handle).items
        assert (first.status, first.cost) == ("priced", Usd("0.0000119"))
        assert (second.status, second.cost) == ("priced", Usd("0"))


def test_what_the_cloud_runs_has_no_price_until_it_is_given_one(bare):
    with Callfare("memory://") as fare:
        fare.grant("alice", 2000, key="k")
        client = fare.wrap(bare)
        with fare.run("story", user="alice"), pytest.raises(UnpricedModel, match="region cloud"):
            client.chat(model="gpt-oss:120b-cloud", messages=HELLO)
        with fare.user("alice"):
            client.chat(model="gpt-oss:120b-cloud", messages=HELLO)
            client.chat(model=ALIAS, messages=HELLO)

        used = fare.usage("alice")
        assert (used.calls, used.unpriced_calls) == (2, 2)
