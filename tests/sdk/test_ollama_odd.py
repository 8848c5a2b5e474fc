"""Ollama's own SDK, asked and answered oddly: what the SDK bears the metered client bears too, and charges."""

from __future__ import annotations

from threading import Thread

import ollama
import pytest

from callfare.capture.clients import wrap_client
from callfare.capture.ollama import intent_of
from tests.support.scripted import Scripted

MODEL = "llama3.2"
HELLO = [{"role": "user", "content": "hi there"}]
REPLY = {"model": MODEL, "message": {"role": "assistant", "content": "hi"}, "done": True}
COUNTED = REPLY | {"prompt_eval_count": 5, "eval_count": 1}


@pytest.fixture
def scripted():
    server = Scripted()
    serving = Thread(target=server.server.serve_forever, kwargs={"poll_interval": 0.01})
    serving.start()
    yield server
    server.server.shutdown()
    serving.join()
    server.server.server_close()


@pytest.fixture
def client(scripted, meter):
    with ollama.Client(host=scripted.url) as bare:
        yield wrap_client(bare, meter, user=None)


@pytest.fixture
async def async_client(scripted, meter):
    async with ollama.AsyncClient(host=scripted.url) as bare:
        yield wrap_client(bare, meter, user=None)


def test_whatever_the_sdk_takes_for_a_stream_or_for_none_is_one_or_none(client, scripted, meter):
    scripted.answers = [(200, {}, COUNTED)]

    plain = client.chat(MODEL, messages=HELLO, stream=None)
    (event,) = client.chat(MODEL, messages=HELLO, stream="yes")

    assert plain.eval_count == event.eval_count == 1
    assert [ticket.usage for ticket in meter.tickets] == [{"input_tokens": 5, "output_tokens": 1}] * 2


async def test_the_async_client_takes_the_same_for_none(async_client, scripted, meter):
    scripted.answers = [(200, {}, COUNTED)]

    plain = await async_client.chat(MODEL, messages=HELLO, stream=None)
    events = [event async for event in await async_client.chat(MODEL, messages=HELLO, stream="yes")]

    assert [plain.eval_count, *(event.eval_count for event in events)] == [1, 1]
    assert [ticket.usage for ticket in meter.tickets] == [{"input_tokens": 5, "output_tokens": 1}] * 2


def test_a_reply_may_have_fields_of_any_name(client, scripted, meter):
    scripted.answers = [(200, {}, COUNTED | {"self": 1, "kind": 2, "told": 3})]

    reply = client.chat(MODEL, messages=HELLO)

    assert reply.eval_count == 1
    assert (meter.ticket.usage, meter.ticket.is_estimated) == ({"input_tokens": 5, "output_tokens": 1}, False)


def test_a_reply_that_nests_too_deeply_was_answered_and_is_an_estimate(client, scripted, meter):
    scripted.answers = [(200, {}, b"[" * 100_000)]

    with pytest.raises(RecursionError):
        client.chat(MODEL, messages=HELLO)

    assert (meter.ticket.released, meter.ticket.is_estimated) == (0, True)


@pytest.mark.parametrize(
    ("model", "region"),
    [
        ("gpt-oss:120b-cloud", "cloud"),
        ("gpt-oss:120B-Cloud", "cloud"),
        ("glm-5:cloud", "cloud"),
        # The tag decides, as Ollama's server has it: these run here, and are refused nowhere.
        ("thundercloud", "local"),
        ("hf.co/someone/point-cloud", "local"),
        ("hf.co/someone/point-cloud:Q4_K_M", "local"),
        ("llama3.2:mycloud", "local"),
    ],
)
def test_a_model_is_the_clouds_by_its_tag(model, region):
    intent = intent_of("chat", {"model": model}, base_url="http://127.0.0.1:11434", provider=None)

    assert intent.attributes == {"region": region}
