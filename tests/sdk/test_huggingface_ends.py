"""Hugging Face's own SDK: how its calls end, and that the caller gets what the SDK gave."""

from __future__ import annotations

import json
import sys
import threading
from subprocess import run
from types import SimpleNamespace

import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError

from callfare.capture.base import is_metered, marked_as_metered
from callfare.capture.clients import wrap_client
from callfare.capture.huggingface_dialect import Asked, HuggingFaceDialect, LineTally
from callfare.devtools.fake_huggingface import LLAMA
from callfare.devtools.stand_in import Fault, Pause
from callfare.errors import InsufficientCredit, InvalidInput
from callfare.money import Credits
from tests.sdk.hubs import HELLO, TOKEN, USAGE

# How calls end


async def test_a_stream_left_after_its_last_words_is_charged_exactly(either_hub, meter):
    stream = await either_hub.ask(stream=True)
    if either_hub.is_async:
        async for event in stream:
            if event.choices[0].finish_reason:
                break
    else:
        for event in stream:
            if event.choices[0].finish_reason:
                break

    assert (meter.ticket.usage, meter.ticket.is_estimated) == (USAGE, False)


async def test_a_stream_that_is_left_is_an_estimate(either_hub, meter):
    stream = await either_hub.ask(stream=True)
    events = await either_hub.read(stream, most=9)
    del stream
    await either_hub.settled()

    said = sum(len(event.choices[0].delta.content or "") for event in events)
    assert meter.ticket.is_estimated
    assert meter.ticket.usage == {"input_tokens": 2, "output_tokens": -(-said // 4)}


async def test_a_stream_that_is_dropped_unread_is_settled(either_hub, meter):
    stream = await either_hub.ask(stream=True)
    del stream
    await either_hub.settled()

    assert (meter.ticket.is_estimated, meter.ticket.usage["output_tokens"]) == (True, 0)


async def test_a_stream_that_breaks_is_charged_for_what_came(either_hub, hub, meter):
    client = either_hub.client(provider="together")
    await either_hub.ask(client)
    hub.script(Fault(drop_after=5))

    with pytest.raises(Exception, match=r"(?i)peer|closed|incomplete"):
        await either_hub.read(await either_hub.ask(client, stream=True))

    ticket = meter.tickets[-1]
    assert ticket.is_estimated
    assert 0 < ticket.usage["output_tokens"] < 57


async def test_an_error_within_a_stream_is_raised_and_what_came_is_charged(either_hub, hub, meter):
    client = either_hub.client(provider="together")
    hub.script(Fault(error_after=5), path="chat")

    with pytest.raises(Exception, match="told to fail"):
        await either_hub.read(await either_hub.ask(client, stream=True))
    await either_hub.settled()

    assert meter.ticket.is_estimated


async def test_a_stream_of_text_that_is_left_is_an_estimate(either_hub, hub, meter):
    client = either_hub.client(hub.base_url)
    stream = await either_hub.do(client, "text_generation", "hi there", stream=True)
    words = await either_hub.read(stream, most=3)
    del stream
    await either_hub.settled()

    assert (len("".join(words)), meter.ticket.usage["output_tokens"], meter.ticket.is_estimated) == (12, 3, True)


async def test_a_refused_call_is_not_made(either_hub, hub, meter):
    meter.refusal = InsufficientCredit("alice", needed=Credits(2), available=Credits(1))

    for is_stream in (False, True):
        with pytest.raises(InsufficientCredit):
            await either_hub.ask(stream=is_stream)

    assert all(seen.method == "GET" for seen in hub.requests)


@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_call_that_a_server_refuses_is_released(either_hub, hub, meter, is_stream):
    hub.script(Fault(status=429), path="chat")

    with pytest.raises(HfHubHTTPError):
        await either_hub.ask(stream=is_stream)

    assert (meter.ticket.settled, meter.ticket.released) == ([], 1)


@pytest.mark.parametrize(
    ("counts", "usage"),
    [
        ({"prompt_tokens": -5, "completion_tokens": 57}, {"input_tokens": 2, "output_tokens": 57}),
        ({"prompt_tokens": 5, "completion_tokens": 10**30}, {"input_tokens": 5, "output_tokens": 57}),
        (None, {"input_tokens": 2, "output_tokens": 57}),
        ("many", {"input_tokens": 2, "output_tokens": 57}),
    ],
)
async def test_counts_that_cannot_be_true_are_an_estimate(either_hub, hub, meter, counts, usage):
    hub.script(Fault(usage=counts), Fault(usage=counts), path="chat")

    await either_hub.ask()
    await either_hub.read(await either_hub.ask(stream=True))
    await either_hub.settled()

    plain, streamed = meter.tickets
    assert (plain.usage, plain.is_estimated) == (streamed.usage, streamed.is_estimated) == (usage, True)


async def test_details_that_cannot_be_true_are_an_estimate(either_hub, hub, meter):
    hub.script(Fault(usage={"generated_tokens": -3, "input_length": "two"}))

    await either_hub.read(
        await either_hub.do(either_hub.client(hub.base_url), "text_generation", "hi there", stream=True)
    )
    await either_hub.settled()

    assert (meter.ticket.usage, meter.ticket.is_estimated) == ({"input_tokens": 2, "output_tokens": 57}, True)


# The client


async def test_the_given_client_stays_as_it_is(either_hub, meter):
    client = either_hub.client(provider="together")
    [bare] = either_hub.made
    await either_hub.ask(bare)

    assert meter.tickets == []
    assert type(client) is type(bare)


async def test_a_client_wrapped_twice_meters_once(either_hub, meter):
    client = either_hub.client(provider="together")

    assert wrap_client(client, meter, user=None) is client
    await either_hub.ask(wrap_client(client, meter, user="alice"))

    assert (meter.ticket.user, meter.ticket.usage) == ("alice", USAGE)


async def test_a_call_within_another_metered_one_is_not_metered_again(either_hub, meter):
    with marked_as_metered():
        await either_hub.ask()
        await either_hub.read(await either_hub.ask(stream=True))

    assert meter.tickets == []


def test_what_is_changed_on_a_metered_client_holds(hub, meter):
    client = wrap_client(InferenceClient(provider="together", api_key=TOKEN), meter, user=None)

    client.headers = {"x-fake-fault": "status=418"}
    with pytest.raises(HfHubHTTPError, match="418"):
        client.chat_completion(HELLO, model=LLAMA)

    assert meter.ticket.released == 1


def test_what_somebody_else_has_put_before_the_sdks_function_is_called(hub, meter):
    bare = InferenceClient(provider="together", api_key=TOKEN)
    theirs, seen = bare._inner_post, []
    bare._inner_post = lambda parameters, *, stream=False: (
        seen.append((stream, is_metered())) or theirs(parameters, stream=stream)
    )

    client = wrap_client(wrap_client(bare, meter, user="bob"), meter, user="alice")
    client.chat_completion(HELLO, model=LLAMA)
    list(client.chat_completion(HELLO, model=LLAMA, stream=True))

    assert seen == [(False, True), (True, True)]
    assert [(ticket.user, ticket.usage) for ticket in meter.tickets] == [("alice", USAGE)] * 2


def test_what_the_sdk_asks_again_in_other_words_is_a_call_of_its_own(hub, meter):
    refusal = "The following `model_kwargs` are not used by the model: ['return_full_text']"
    hub.script(Fault(status=400, message=refusal))

    text = wrap_client(InferenceClient(hub.base_url), meter, user=None).text_generation("hi there", model=hub.base_url)

    refused, answered = meter.tickets
    assert (refused.settled, refused.released, answered.usage["input_tokens"]) == ([], 1, 2)
    assert text


CHUNK = b'data: {"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"boats"},"finish_reason":null}]}'


@pytest.fixture
def tally():
    """An empty tally of a chat's lines."""
    asked = SimpleNamespace(
        url="https://router.huggingface.co/v1", task="conversational", model="m", json={"model": "m"}
    )
    return LineTally(HuggingFaceDialect().asked_of(Asked(), asked, is_stream=True, asks_usage=True))


def test_lines_of_bytes_as_older_majors_have_them_are_read_and_shown(tally):
    hidden = [tally.take(line) for line in (CHUNK, b"", CHUNK, b"data: [DONE]")]

    assert (hidden, tally.written_bytes, tally.is_final) == ([False, True, False, False], 10, False)


def test_a_word_with_a_quotation_mark_in_it_is_as_long_as_it_is(tally):
    tally.take(CHUNK)

    assert tally.takes_lightly(CHUNK.decode())
    quoting = CHUNK.decode().replace("boats", 'say \\"hi\\"')
    assert not tally.takes_lightly(quoting)
    tally.take(quoting)
    assert tally.written_bytes == len("boats") * 2 + len('say "hi"')


def test_the_last_line_is_the_end_of_what_was_counted(tally):
    counting = CHUNK.replace(b'"model"', b'"usage":{"prompt_tokens":5,"completion_tokens":1},"model"')

    before = [tally.take(counting), tally.is_final]
    tally.take(b"data: [DONE]")

    assert (before, tally.is_final) == ([False, False], True)


def test_calls_of_several_threads_are_each_counted_once(hub, meter):
    client = wrap_client(InferenceClient(provider="together", api_key=TOKEN), meter, user=None)
    client.chat_completion(HELLO, model=LLAMA)
    pause = Pause()
    hub.script(Fault(pause=pause))
    threads = [
        threading.Thread(target=client.chat_completion, args=(HELLO,), kwargs={"model": LLAMA}) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    assert pause.reached.wait(60)
    pause.released.set()
    for thread in threads:
        thread.join(60)

    assert [ticket.usage for ticket in meter.tickets] == [USAGE] * 5


@pytest.mark.parametrize("what", [InferenceClient, type("Part", (), {"__module__": "huggingface_hub.hf_api"})()])
def test_what_is_no_client_is_refused(meter, what):
    with pytest.raises(InvalidInput):
        wrap_client(what, meter, user=None)


def test_a_broken_meter_does_not_reach_the_caller(hub, meter):
    meter.breaks = True
    client = wrap_client(InferenceClient(provider="together", api_key=TOKEN), meter, user=None)

    assert client.chat_completion(HELLO, model=LLAMA).choices
    assert list(client.chat_completion(HELLO, model=LLAMA, stream=True))


def test_nothing_that_was_said_is_kept(hub, meter):
    client = wrap_client(InferenceClient(provider="together", api_key=TOKEN), meter, user=None)

    client.chat_completion([{"role": "user", "content": "the moon is cheese"}], model=LLAMA)

    [(reading, _)] = meter.ticket.settled
    assert reading.raw["usage"]["completion_tokens"] == reading.usage["output_tokens"]
    assert "cheese" not in json.dumps(reading.raw)


def test_capture_does_not_import_the_sdk():
    code = "import callfare.capture.clients, sys; print('huggingface_hub' in sys.modules)"

    assert run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
