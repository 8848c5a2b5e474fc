"""Hugging Face's own SDK: what is counted of each call, and whose prices it has."""

from __future__ import annotations

import wave
from contextlib import suppress
from fractions import Fraction
from io import BytesIO

import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError

from callfare import Callfare
from callfare.capture.clients import wrap_client
from callfare.devtools.fake_huggingface import LLAMA
from callfare.devtools.stand_in import Fault
from callfare.errors import UnpricedModel
from callfare.money import Usd
from tests.sdk.hubs import HELLO, TOKEN, USAGE

# What is counted


async def test_a_chat_is_settled_by_its_count_under_the_server_behind_the_router(either_hub, hub, meter):
    reply = await either_hub.ask(max_tokens=400)

    [(reading, estimated)] = meter.ticket.settled
    assert (reading.usage, reading.response_id, estimated) == (USAGE, reply.id, False)
    # What the server calls it is its own business; the router's prices are under Hugging Face's names.
    assert (reply.model, reading.model, reading.raw["model"]) == (f"{LLAMA}-Turbo", LLAMA, f"{LLAMA}-Turbo")
    intent = meter.ticket.intent
    assert (intent.provider, intent.operation, intent.model) == ("huggingface_together", "chat", LLAMA)
    assert intent.usage == {"input_tokens": 2, "output_tokens": 400}
    assert hub.requests[-1].headers["host"] == "router.huggingface.co"


async def test_a_stream_is_charged_alike_and_shows_nothing_that_was_not_asked_for(either_hub, hub, meter):
    events = await either_hub.read(await either_hub.ask(stream=True))

    assert (meter.ticket.usage, meter.ticket.is_estimated) == (USAGE, False)
    assert all(event.choices for event in events)
    assert hub.requests[-1].fields["stream_options"] == {"include_usage": True}


async def test_a_count_that_the_caller_asked_for_is_shown(either_hub, meter):
    events = await either_hub.read(await either_hub.ask(stream=True, stream_options={"include_usage": True}))

    assert (meter.ticket.usage, meter.ticket.is_estimated) == (USAGE, False)
    assert events[-1].usage.completion_tokens == 57


async def test_a_server_that_cannot_be_asked_for_a_count_is_asked_once(either_hub, hub, meter):
    hub.script(Fault(status=422, message="stream_options: extra fields not permitted"))
    client = either_hub.client(provider="together")

    await either_hub.read(await either_hub.ask(client, stream=True))
    await either_hub.read(await either_hub.ask(client, stream=True))
    await either_hub.settled()

    chats = [seen.fields for seen in hub.requests if seen.method == "POST"]
    assert ["stream_options" in fields for fields in chats] == [True, False, False]
    assert [(ticket.is_estimated, ticket.usage["output_tokens"]) for ticket in meter.tickets] == [(True, 57)] * 2


async def test_a_request_that_is_wrong_does_not_keep_the_next_from_being_asked_for_its_count(either_hub, hub, meter):
    # The async SDK does not read why it was refused, so that client asks a second time without the question.
    hub.script(*[Fault(status=400, message="messages: too many")] * (2 if either_hub.is_async else 1), path="chat")
    client = either_hub.client(provider="together")

    with pytest.raises(HfHubHTTPError):
        await either_hub.ask(client, stream=True)
    await either_hub.read(await either_hub.ask(client, stream=True))

    refused, answered = meter.tickets
    assert (refused.released, refused.settled) == (1, [])
    assert (answered.usage, answered.is_estimated) == (USAGE, False)


async def test_the_words_of_openais_sdk_are_the_same_calls(either_hub, meter):
    create = either_hub.client(provider="together").chat.completions.create
    reply = create(messages=HELLO, model=LLAMA)
    if either_hub.is_async:
        reply = await reply

    assert (meter.ticket.usage, reply.usage.completion_tokens) == (USAGE, 57)


async def test_text_of_an_endpoint_of_ones_own_is_counted_by_its_details(either_hub, hub, meter):
    client = either_hub.client(hub.base_url)
    plain = await either_hub.do(
        client, "text_generation", "hi there", details=True, decoder_input_details=True, max_new_tokens=90
    )
    detailed = await either_hub.read(
        await either_hub.do(client, "text_generation", "hi there", details=True, stream=True)
    )
    words = await either_hub.read(await either_hub.do(client, "text_generation", "hi there", stream=True))

    assert plain.generated_text == detailed[-1].generated_text == "".join(words)
    first, second, third = meter.tickets
    assert first.usage == second.usage == third.usage == {"input_tokens": 2, "output_tokens": 57}
    assert (first.is_estimated, second.is_estimated, third.is_estimated) == (False, False, False)
    assert first.intent.usage == {"input_tokens": 2, "output_tokens": 90}
    assert not any("stream_options" in seen.fields for seen in hub.requests)


async def test_text_without_details_is_an_estimate(either_hub, hub, meter):
    await either_hub.do(either_hub.client(hub.base_url), "text_generation", "hi there")

    assert (meter.ticket.usage, meter.ticket.is_estimated) == ({"input_tokens": 2, "output_tokens": 57}, True)


async def test_embeddings_are_counted_where_the_server_counts_them(either_hub, meter):
    with suppress(ImportError):  # it is answered, then unpacked with numpy
        await either_hub.do(
            either_hub.client(provider="together"),
            "feature_extraction",
            "four words in here",
            model="intfloat/e5-large",
        )

    assert (meter.ticket.intent.operation, meter.ticket.usage) == ("embedding", {"input_tokens": 5})
    assert not meter.ticket.is_estimated


async def test_speech_is_its_characters(either_hub, meter):
    await either_hub.do(
        either_hub.client(provider="together"), "text_to_speech", "nine char", model="hexgrad/Kokoro-82M"
    )

    assert (meter.ticket.intent.operation, meter.ticket.usage) == ("speech", {"characters": 9})


@pytest.mark.parametrize(("provider", "fields", "images"), [("together", {}, 1), ("fal-ai", {"num_images": 3}, 3)])
async def test_pictures_are_counted_with_their_size(either_hub, meter, provider, fields, images):
    with suppress(ImportError):  # it is drawn, then opened with Pillow
        await either_hub.do(
            either_hub.client(provider=provider),
            "text_to_image",
            "a lighthouse",
            model="black-forest-labs/FLUX.1-schnell",
            width=512,
            height=256,
            extra_body=fields,
        )

    [(reading, _)] = meter.ticket.settled
    assert (meter.ticket.intent.operation, reading.usage["images"]) == ("image", images)
    assert reading.attributes == {"size": "512x256"}
    assert meter.ticket.intent.provider == f"huggingface_{provider}"


def wav_of(seconds):
    sound = BytesIO()
    with wave.open(sound, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(16000 * seconds))
    return sound.getvalue()


async def test_a_transcript_is_as_long_as_what_was_heard(either_hub, meter, tmp_path):
    place = tmp_path / "three.wav"
    place.write_bytes(wav_of(3))
    client = either_hub.client(provider="fal-ai")
    for sound in (wav_of(3), str(place)):
        await either_hub.do(client, "automatic_speech_recognition", sound, model="openai/whisper-large-v3")
    await either_hub.do(client, "automatic_speech_recognition", b"ID3?", model="openai/whisper-large-v3")

    first, second, third = meter.tickets
    assert first.usage == second.usage == {"audio_seconds": Fraction(3)}
    assert (third.usage, third.is_estimated) == ({}, True)


async def test_a_video_is_charged_once_though_it_is_waited_for(either_hub, meter):
    film = await either_hub.do(either_hub.client(provider="fal-ai"), "text_to_video", "waves", model="Wan-AI/Wan2.2")

    assert film
    assert (meter.ticket.intent.operation, meter.ticket.pended, len(meter.ticket.settled)) == ("video", [], 1)


async def test_what_has_no_unit_is_one_call(either_hub, meter):
    await either_hub.do(
        either_hub.client(provider="hf-inference"), "text_classification", "nice", model="distilbert/sst-2"
    )

    assert (meter.ticket.intent.operation, meter.ticket.usage) == ("text-classification", {"calls": 1})
    assert (meter.ticket.intent.provider, meter.ticket.is_estimated) == ("huggingface_hf-inference", False)


# Who answers


@pytest.mark.parametrize(
    ("model", "provider", "name"),
    [
        (LLAMA, "huggingface", LLAMA),
        (f"{LLAMA}:cheapest", "huggingface", LLAMA),
        (f"{LLAMA}:together", "huggingface_together", LLAMA),
    ],
)
async def test_who_the_router_chooses_is_known_where_the_model_names_it(either_hub, meter, model, provider, name):
    await either_hub.ask(either_hub.client(), model=model)

    [(reading, _)] = meter.ticket.settled
    assert (meter.ticket.intent.provider, meter.ticket.intent.model, reading.model) == (provider, name, name)


async def test_a_servers_own_address_has_its_own_prices_and_names(either_hub, hub, meter):
    await either_hub.ask(either_hub.client(provider="together", api_key="of_togethers"))
    await either_hub.ask(either_hub.client(provider="featherless-ai", api_key="of_theirs"))

    first, second = meter.tickets
    assert (first.intent.provider, first.intent.model) == ("together", f"{LLAMA}-Turbo")
    assert first.settled[0][0].model == f"{LLAMA}-Turbo"
    assert (second.intent.provider, second.intent.model) == ("featherless-ai", LLAMA)
    assert [seen.headers["host"] for seen in hub.requests if seen.method == "POST"] == [
        "api.together.xyz",
        "api.featherless.ai",
    ]


async def test_elsewhere_than_behind_the_router_the_model_that_answered_wins(either_hub, hub, meter):
    await either_hub.ask(either_hub.client(hub.base_url, provider="together"), model="gpt-5-mini")

    [(reading, _)] = meter.ticket.settled
    assert (meter.ticket.intent.model, reading.model) == ("gpt-5-mini", "gpt-5-mini-2025-08-07")
    assert meter.ticket.intent.provider == "huggingface"


async def test_an_endpoint_of_ones_own_is_named_by_its_address_where_nobody_names_a_model(either_hub, hub, meter):
    await either_hub.ask(either_hub.client(hub.base_url), model=None)
    await either_hub.do(either_hub.client(hub.base_url), "text_generation", "hi there")

    assert [ticket.intent.model for ticket in meter.tickets] == ["127.0.0.1", "127.0.0.1"]
    assert [ticket.settled[0][0].model for ticket in meter.tickets] == ["127.0.0.1", "127.0.0.1"]


def test_whoever_answers_may_be_told(hub, meter):
    client = wrap_client(InferenceClient(hub.base_url), meter, user=None, provider="our-servers")

    client.chat_completion(HELLO)

    assert meter.ticket.intent.provider == "our-servers"


# Prices


def test_a_call_costs_what_the_server_behind_the_router_takes(hub):
    with Callfare("memory://") as fare:
        fare.grant("alice", 2000, key="k")
        client = fare.wrap(InferenceClient(provider="together", api_key=TOKEN))
        with fare.run("story", user="alice") as run_handle:
            client.chat_completion(HELLO, model="openai/gpt-oss-120b")

        # 5 at $0.15, one of them cached, which has no rate of its own, and 57 at $0.60 a million.
        [call] = fare.calls(run_handle).items
        assert (call.provider, call.status, call.cost) == ("huggingface_together", "priced", Usd("0.00003495"))


def test_what_nobody_can_price_is_refused_within_a_run_and_kept_outside(hub):
    with Callfare("memory://") as fare:
        fare.grant("alice", 2000, key="k")
        client = fare.wrap(InferenceClient(api_key=TOKEN))
        with fare.run("story", user="alice"), pytest.raises(UnpricedModel, match="of huggingface"):
            client.chat_completion(HELLO, model=LLAMA)
        with fare.user("alice"):
            client.chat_completion(HELLO, model=LLAMA)
            client.text_classification("nice", model="distilbert/sst-2")

        used = fare.usage("alice")
        assert (used.calls, used.unpriced_calls) == (2, 2)


def test_a_class_of_ones_own_may_have_functions_that_are_given_nothing_but_a_model(hub, meter):
    class Own(InferenceClient):
        @staticmethod
        def short(model):
            return model.rpartition("/")[2]

    client = wrap_client(Own(hub.base_url, api_key=TOKEN), meter, user=None)

    assert client.short("meta/llama") == client.short(model="meta/llama") == "llama"
    assert client.chat_completion(HELLO).usage.completion_tokens == 57
    assert meter.ticket.usage == USAGE
