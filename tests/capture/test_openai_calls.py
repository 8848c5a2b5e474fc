"""Every plain call of OpenAI's SDK is admitted once before it is made and settled once after it."""

from __future__ import annotations

import asyncio
import io
import logging
from fractions import Fraction

import openai
import pydantic
import pytest

from callfare.capture.openai import wrap
from callfare.capture.openai_dialect import OpenAIDialect
from callfare.capture.openai_requests import wav_seconds
from callfare.devtools.stand_in import Fault, Pause
from callfare.errors import InsufficientCredit
from callfare.money import Credits

HELLO = [{"role": "user", "content": "hi there"}]


async def test_a_chat_is_settled_by_what_the_provider_counted(either, meter):
    reply = await either.do(lambda client: client.chat.completions.create(model="gpt-5-mini", messages=HELLO))

    [(reading, estimated)] = meter.ticket.settled
    assert reading.usage == {
        "input_tokens": 5,
        "cached_input_tokens": 1,
        "output_tokens": 121,
        "reasoning_tokens": 64,
    }
    assert (reading.model, reading.response_id) == ("gpt-5-mini-2025-08-07", reply.id)
    assert reading.attributes == {"service_tier": "default"}
    assert not estimated
    assert reply.choices[0].message.content.startswith("for bread and every lamp")


async def test_what_a_chat_request_fixes_is_known_before_it_is_sent(either, meter, fake):
    await either.do(
        lambda client: client.chat.completions.create(
            model="gpt-5-mini", messages=HELLO, max_completion_tokens=30, n=3, service_tier="flex"
        )
    )

    intent = meter.ticket.intent
    assert (intent.provider, intent.base_url, intent.operation) == ("openai", fake.base_url, "chat")
    assert (intent.model, intent.usage) == ("gpt-5-mini", {"input_tokens": 2, "output_tokens": 90})
    assert intent.attributes == {"service_tier": "flex"}


async def test_sync_clients_are_metered_by_waiting_and_async_ones_without(either, meter):
    await either.do(lambda client: client.chat.completions.create(model="gpt-5-mini", messages=HELLO))

    assert meter.async_count == (2 if isinstance(either.client, openai.AsyncOpenAI) else 0)


async def test_a_response_is_settled_by_what_the_provider_counted(either, meter):
    await either.do(lambda client: client.responses.create(model="gpt-5-mini", input="hey", instructions="be brief"))

    assert meter.ticket.intent.operation == "responses"
    assert meter.ticket.intent.usage == {"input_tokens": 3}
    assert meter.ticket.usage == {
        "input_tokens": 6,
        "cached_input_tokens": 1,
        "output_tokens": 82,
        "reasoning_tokens": 64,
    }


class Weather(pydantic.BaseModel):
    city: str
    degrees: int


async def test_searches_of_the_web_are_counted_beside_the_tokens(either, meter):
    asked = {"model": "gpt-5-mini", "input": "hi there", "tools": [{"type": "web_search"}]}

    await either.do(lambda client: client.responses.create(**asked))
    await either.events(lambda client: client.responses.create(**asked, stream=True))

    plain, streamed = (ticket.usage for ticket in meter.tickets)
    assert (plain["web_searches"], plain["input_tokens"]) == (2, 5)
    assert streamed == plain


async def test_a_compacted_response_is_a_call_of_its_own(either, meter):
    await either.do(lambda client: client.responses.compact(model="gpt-5-mini", input="hi there"))

    assert (meter.ticket.intent.operation, meter.ticket.is_estimated) == ("responses", False)
    assert meter.ticket.usage["input_tokens"] == 5


async def test_parsed_chats_and_responses_are_metered_once_each(either, meter):
    chat = await either.do(
        lambda client: client.chat.completions.parse(model="gpt-5-mini", messages=HELLO, response_format=Weather)
    )
    response = await either.do(
        lambda client: client.responses.parse(model="gpt-5-mini", input="hey", text_format=Weather)
    )

    assert chat.choices[0].message.parsed == Weather(city="text", degrees=1)
    assert response.output_parsed == Weather(city="text", degrees=1)
    assert [ticket.is_estimated for ticket in meter.tickets] == [False, False]


async def test_a_reply_that_does_not_fit_the_callers_type_is_charged_all_the_same(either, meter):
    with pytest.raises(openai.LengthFinishReasonError):
        await either.do(
            lambda client: client.chat.completions.parse(
                model="gpt-5-mini", messages=HELLO, response_format=Weather, max_completion_tokens=2
            )
        )

    assert meter.ticket.usage == {"input_tokens": 5, "cached_input_tokens": 1, "output_tokens": 2}
    assert not meter.ticket.is_estimated


async def test_each_try_of_a_validation_is_charged_once_for_what_it_used_itself(either, meter):
    for _ in range(3):
        with pytest.raises(openai.LengthFinishReasonError):
            await either.do(
                lambda client: client.chat.completions.parse(
                    model="gpt-5-mini", messages=HELLO, response_format=Weather, max_completion_tokens=2
                )
            )

    assert [ticket.usage["output_tokens"] for ticket in meter.tickets] == [2, 2, 2]
    assert [len(ticket.settled) for ticket in meter.tickets] == [1, 1, 1]


async def test_embeddings_count_what_was_embedded(either, meter):
    await either.do(lambda client: client.embeddings.create(model="text-embedding-3-small", input=["hello", "you"]))

    assert (meter.ticket.usage, meter.ticket.is_estimated) == ({"input_tokens": 3}, False)


async def test_speech_counts_characters_as_code_points(either, meter):
    sound = await either.do(
        lambda client: client.audio.speech.create(model="gpt-4o-mini-tts", voice="alloy", input="naïve 🙂")
    )

    assert meter.ticket.intent.usage == {"characters": 7}
    assert (meter.ticket.usage, meter.ticket.is_estimated) == ({"characters": 7}, False)
    assert len(sound.content) == 176


async def test_speech_in_events_keeps_its_tokens_beside_the_characters(either, meter):
    await either.do(
        lambda client: client.audio.speech.create(
            model="gpt-4o-mini-tts", voice="alloy", input="hello", stream_format="sse"
        )
    )

    assert meter.ticket.usage == {
        "input_tokens": 2,
        "output_tokens": 10,
        "output_audio_tokens": 10,
        "characters": 5,
    }


async def test_a_transcript_counts_seconds_as_the_decimal_the_provider_wrote(either, meter):
    await either.do(
        lambda client: client.audio.transcriptions.create(model="whisper-1", file=("a.mp3", b"x" * 135_520))
    )

    assert meter.ticket.intent.usage == {}
    assert (meter.ticket.usage, meter.ticket.is_estimated) == ({"audio_seconds": Fraction(847, 100)}, False)


async def test_a_transcript_billed_by_tokens_counts_audio_inside_its_input(either, meter, wav):
    await either.do(
        lambda client: client.audio.transcriptions.create(
            model="gpt-4o-transcribe", file=("a.wav", wav), prompt="boats"
        )
    )

    assert meter.ticket.intent.usage == {"audio_seconds": Fraction(3, 2)}
    assert meter.ticket.usage == {"input_tokens": 17, "input_audio_tokens": 15, "output_tokens": 45}


@pytest.mark.parametrize("form", ["text", "srt", "vtt"])
async def test_a_transcript_as_text_is_as_long_as_the_wav_that_was_sent(either, meter, wav, form):
    text = await either.do(
        lambda client: client.audio.transcriptions.create(model="whisper-1", file=("a.wav", wav), response_format=form)
    )

    assert isinstance(text, str)
    assert (meter.ticket.usage, meter.ticket.is_estimated) == ({"audio_seconds": Fraction(3, 2)}, False)


async def test_a_transcript_as_text_of_an_unmeasured_upload_is_incomplete(either, meter):
    await either.do(
        lambda client: client.audio.transcriptions.create(
            model="whisper-1", file=("a.mp3", b"not a wav"), response_format="text"
        )
    )

    [(reading, estimated)] = meter.ticket.settled
    assert (reading.usage, reading.incomplete, estimated) == ({}, True, True)


def test_measuring_an_upload_leaves_the_file_where_it_stood(wav):
    file = io.BytesIO(b"junk" + wav)
    file.seek(4)

    assert wav_seconds([file]) == Fraction(3, 2)
    assert file.tell() == 4


def test_an_open_file_is_measured_and_sent_whole(client, meter, wav):
    file = io.BytesIO(wav)
    file.name = "a.wav"

    client.audio.transcriptions.create(model="whisper-1", file=file, response_format="verbose_json")

    assert meter.ticket.intent.usage == {"audio_seconds": Fraction(3, 2)}
    assert meter.ticket.usage == {"audio_seconds": Fraction(3, 2)}


def test_an_upload_by_path_is_measured(client, meter, wav, tmp_path):
    (tmp_path / "a.wav").write_bytes(wav)

    client.audio.transcriptions.create(model="whisper-1", file=tmp_path / "a.wav")

    assert meter.ticket.intent.usage == {"audio_seconds": Fraction(3, 2)}


def test_a_wav_that_claims_more_than_it_holds_is_not_believed(client, meter, wav):
    client.audio.transcriptions.create(model="whisper-1", file=("a.wav", wav[:1000]), response_format="text")

    assert meter.ticket.intent.usage == {}


async def test_images_are_counted_with_the_size_that_was_made(either, meter):
    await either.do(lambda client: client.images.generate(model="gpt-image-1", prompt="a cat", n=2, size="1024x1536"))

    assert meter.ticket.intent.usage == {"images": 2}
    assert meter.ticket.intent.attributes == {"size": "1024x1536"}
    [(reading, estimated)] = meter.ticket.settled
    assert reading.usage == {
        "input_tokens": 2,
        "output_tokens": 3168,
        "output_image_tokens": 3168,
        "images": 2,
    }
    assert reading.attributes == {
        "size": "1024x1536",
        "quality": "medium",
        "background": "opaque",
        "output_format": "png",
    }
    assert not estimated


async def test_what_is_left_to_the_model_is_left_out_before_and_known_after(either, meter):
    await either.do(
        lambda client: client.images.generate(model="gpt-image-1", prompt="a cat", size="auto", quality="auto")
    )

    assert (meter.ticket.intent.usage, meter.ticket.intent.attributes) == ({"images": 1}, {})
    assert meter.ticket.settled[0][0].attributes["size"] == "1024x1024"


async def test_edited_images_count_the_images_that_went_in_as_tokens(either, meter):
    await either.do(lambda client: client.images.edit(model="gpt-image-1", prompt="a cat", image=[b"one", b"two"]))

    assert meter.ticket.usage == {
        "input_tokens": 648,
        "input_image_tokens": 646,
        "output_tokens": 1056,
        "output_image_tokens": 1056,
        "images": 1,
    }


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, openai.BadRequestError), (429, openai.RateLimitError), (500, openai.InternalServerError)],
)
async def test_a_call_that_the_provider_refuses_is_let_go(either, meter, fake, status, error):
    fake.script(Fault(status=status))

    with pytest.raises(error, match="told to fail"):
        await either.do(lambda client: client.responses.create(model="gpt-5-mini", input="hey"))

    assert (meter.ticket.settled, meter.ticket.released) == ([], 1)


async def test_a_connection_that_breaks_before_any_answer_lets_the_call_go(either, meter, fake):
    fake.script(Fault(drop_after=0))

    with pytest.raises(openai.APIConnectionError):
        await either.do(lambda client: client.responses.create(model="gpt-5-mini", input="hey"))

    assert (meter.ticket.settled, meter.ticket.released) == ([], 1)


async def test_a_timeout_before_any_answer_lets_the_call_go(either, meter, fake):
    pause = Pause()
    fake.script(Fault(pause=pause))

    with pytest.raises(openai.APITimeoutError):
        await either.do(lambda client: client.responses.create(model="gpt-5-mini", input="hey", timeout=0.05))
    pause.released.set()

    assert (meter.ticket.settled, meter.ticket.released) == ([], 1)


async def test_a_call_that_is_cancelled_before_any_answer_is_let_go(async_client, meter, fake):
    pause = Pause()
    fake.script(Fault(pause=pause))
    call = asyncio.create_task(async_client.responses.create(model="gpt-5-mini", input="hey"))
    await asyncio.to_thread(pause.reached.wait, 60)

    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    pause.released.set()

    assert (meter.ticket.settled, meter.ticket.released) == ([], 1)


async def test_retries_of_the_sdk_charge_once(either, meter, fake):
    fake.script(Fault(status=500, retry_after="0.01"), Fault(status=429, retry_after="0.01"))
    patient = either.client.with_options(max_retries=2)

    await either.do(lambda _: patient.responses.create(model="gpt-5-mini", input="hey"))

    assert fake.count == 3
    assert meter.ticket.is_estimated is False
    assert meter.ticket.released == 0


async def test_a_refusal_is_raised_before_any_request(either, meter, fake):
    meter.refusal = InsufficientCredit("ann", needed=Credits("2"), available=Credits("1"))

    with pytest.raises(InsufficientCredit) as raised:
        await either.do(lambda client: client.chat.completions.create(model="gpt-5-mini", messages=HELLO))

    assert raised.value is meter.refusal
    assert fake.count == 0


async def test_a_meter_that_breaks_after_the_answer_does_not_lose_it(either, meter, caplog):
    meter.breaks = True

    with caplog.at_level(logging.ERROR, logger="callfare"):
        reply = await either.do(lambda client: client.responses.create(model="gpt-5-mini", input="hey"))

    assert reply.output_text
    assert "could not settle a call; the call itself is unharmed" in caplog.text


async def test_a_request_that_a_fault_of_ours_cannot_read_is_sent_told_and_settled(either, meter, caplog, monkeypatch):
    def fault(*_args, **_kwargs):
        raise KeyError("n")

    monkeypatch.setattr(OpenAIDialect, "request_of", fault)

    with caplog.at_level(logging.ERROR, logger="callfare"):
        await either.do(lambda client: client.chat.completions.create(model="gpt-5-mini", messages=HELLO))

    [(reading, estimated)] = meter.ticket.settled
    assert "could not read a request; the call itself is unharmed" in caplog.text
    assert (meter.ticket.intent.operation, meter.ticket.intent.usage) == ("chat", {})
    assert (reading.model, reading.usage["output_tokens"]) == ("gpt-5-mini-2025-08-07", 121)
    assert not estimated


async def test_a_reply_without_a_count_is_charged_by_its_text_as_an_estimate(either, meter, fake):
    fake.script(Fault(usage=None))

    reply = await either.do(lambda client: client.chat.completions.create(model="gpt-5-mini", messages=HELLO))

    assert reply.usage is None
    assert len(reply.choices[0].message.content) == 228
    assert (meter.ticket.usage, meter.ticket.is_estimated) == ({"input_tokens": 2, "output_tokens": 57}, True)


async def test_half_a_count_is_completed_by_estimate(either, meter, fake):
    fake.script(Fault(usage={"prompt_tokens": 9, "completion_tokens": -4}))

    await either.do(lambda client: client.chat.completions.create(model="gpt-5-mini", messages=HELLO))

    assert (meter.ticket.usage, meter.ticket.is_estimated) == ({"input_tokens": 9, "output_tokens": 57}, True)


async def test_a_repeated_id_is_told_for_the_ledger_to_see(either, meter, fake):
    fake.script(Fault(response_id="resp_same"), Fault(response_id="resp_same"))

    for _ in range(2):
        await either.do(lambda client: client.responses.create(model="gpt-5-mini", input="hey"))

    assert [ticket.settled[0][0].response_id for ticket in meter.tickets] == ["resp_same", "resp_same"]


async def test_fields_in_the_extra_body_win_as_they_do_on_the_wire(either, meter, fake):
    await either.do(
        lambda client: client.responses.create(
            model="gpt-5-mini", input="hey", extra_body={"model": "gpt-5", "max_output_tokens": 20}
        )
    )

    assert (meter.ticket.intent.model, fake.requests[-1].fields["model"]) == ("gpt-5", "gpt-5")
    assert meter.ticket.intent.usage == {"input_tokens": 1, "output_tokens": 20}


async def test_a_call_by_path_is_metered_too(either, meter):
    reply = await either.do(
        lambda client: client.post("/responses", body={"model": "gpt-5-mini", "input": "hey"}, cast_to=object)
    )

    assert reply["usage"]["output_tokens"] == 111
    assert meter.ticket.usage["output_tokens"] == 111


async def test_a_request_that_costs_nothing_is_handed_through(either, meter, fake):
    with pytest.raises(openai.NotFoundError):
        await either.do(lambda client: client.models.retrieve("gpt-5-mini"))

    assert (meter.tickets, fake.count) == ([], 1)


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": "data:" + "A" * 9000}}],
        [{"type": "text", "text": "look"}, {"type": "file", "file": {"file_data": "A" * 9000}}],
        [{"type": "text", "text": "look"}, {"type": "input_audio", "input_audio": {"data": "A" * 9000}}],
    ],
)
def test_files_inside_a_message_are_no_text(client, meter, content):
    client.chat.completions.create(model="gpt-5-mini", messages=[{"role": "user", "content": content}])

    assert meter.ticket.intent.usage == {"input_tokens": 1}


@pytest.mark.parametrize(
    "oddity",
    [
        {"messages": "not a list"},
        {"messages": [{"role": "user", "content": "x"}], "max_tokens": -5, "n": 0},
        {"messages": [{"role": "user", "content": "x"}], "max_tokens": 10**15},
        {"messages": [{"role": "user", "content": "x"}], "model": None},
    ],
)
def test_an_odd_request_is_the_providers_to_judge(client, meter, oddity):
    reply = client.post("/chat/completions", body={"model": "gpt-5-mini", **oddity}, cast_to=object)

    assert reply["object"] == "chat.completion"
    assert len(meter.ticket.settled) == 1


def test_a_request_that_the_sdk_cannot_send_is_let_go(client, meter, fake):
    with pytest.raises(UnicodeEncodeError):
        client.responses.create(model="gpt-5-mini", input="\ud800")

    assert (meter.ticket.released, fake.count) == (1, 0)


def test_the_user_of_the_wrap_is_told_at_each_admission(bare, meter):
    client = wrap(bare, meter, user="ann")

    client.responses.create(model="gpt-5-mini", input="hey")

    assert meter.ticket.user == "ann"
