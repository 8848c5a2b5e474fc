"""Documents, sound, classes and responses by Mistral's SDK: the pages, seconds and characters that are billed."""

from __future__ import annotations

import gc
import io
import wave
from fractions import Fraction

import pytest
from mistralai.client import Mistral
from mistralai.client.errors import MistralError, ResponseValidationError
from mistralai.client.models import DocumentURLChunk, File, ResponseFormat

from callfare import Callfare
from callfare.capture import leftovers
from callfare.capture.base import marked_as_metered
from callfare.capture.clients import wrap_client
from callfare.devtools.fake_siblings import FakeMistral
from callfare.devtools.stand_in import Fault
from callfare.errors import InsufficientCredit
from callfare.money import Credits, Usd
from tests.sdk.mistral_clients import Kind, closed

# The stand-in takes 3,000 bytes for a page.
LETTER = {"type": "document_url", "document_url": "data:application/pdf;base64," + "A" * 7_000}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "letter", "schema": {"type": "object"}}}
DOCUMENT = {"model": "mistral-ocr-latest", "document": LETTER}
SOUND = {"model": "voxtral-mini-latest", "file_url": "https://example.com/minute.mp3"}
SPEECH = {"model": "voxtral-mini-tts-2603", "input": "The moon is cheese.", "voice_id": "voice_1"}
TRANSCRIBE, SPEAK = "audio.transcriptions", "audio.speech"


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who leaves a stream waits until it is settled, however busy the machine is."""
    monkeypatch.setattr(leftovers, "WAIT_MS_MAX", 60_000)


@pytest.fixture
def server():
    with FakeMistral() as fake:
        yield fake


@pytest.fixture
async def bare(server):
    client = Mistral(server_url=server.base_url, api_key="none")
    yield client
    await closed(client)


@pytest.fixture
def client(bare, meter):
    return wrap_client(bare, meter, user=None)


@pytest.fixture(params=["sync", "async"])
def kind(request, client):
    return Kind(client, is_async=request.param == "async")


def wav(seconds):
    made = io.BytesIO()
    with wave.open(made, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(1)
        sound.setframerate(100)
        sound.writeframes(bytes(100 * seconds))
    return made.getvalue()


async def test_a_document_is_settled_by_its_pages(kind, meter):
    reply = await kind.do("ocr", "process", **DOCUMENT)

    [(reading, estimated)] = meter.ticket.settled
    assert (reading.usage, reading.model, estimated) == ({"pages": 3}, "mistral-ocr-latest", False)
    assert reading.raw["usage_info"] == {"pages_processed": 3, "doc_size_bytes": reply.usage_info.doc_size_bytes}
    intent = meter.ticket.intent
    assert (intent.operation, intent.usage, intent.model) == ("ocr", {}, "mistral-ocr-latest")


@pytest.mark.parametrize("field", ["document_annotation_format", "bbox_annotation_format"])
@pytest.mark.parametrize("schema", [SCHEMA, ResponseFormat.model_validate(SCHEMA)], ids=["dictionary", "object"])
async def test_pages_that_are_annotated_are_pages_of_their_own(kind, meter, field, schema):
    await kind.do("ocr", "process", **DOCUMENT, **{field: schema})

    assert meter.ticket.usage == {"pages": 3, "annotated_pages": 3}


@pytest.mark.parametrize(
    ("asked", "bound"),
    [
        ({"pages": [0, 2]}, {"pages": 2}),
        ({"pages": "0,2-4"}, {"pages": 4}),
        ({"pages": "0-1", "document_annotation_format": SCHEMA}, {"pages": 2, "annotated_pages": 2}),
        ({"pages": "the first"}, {}),
        ({"document": {"type": "image_url", "image_url": "https://example.com/page.png"}}, {"pages": 1}),
        ({"document": DocumentURLChunk(document_url="https://example.com/letter.pdf")}, {}),
    ],
)
async def test_pages_that_are_named_bound_the_call(kind, meter, asked, bound):
    await kind.do("ocr", "process", **DOCUMENT | asked)

    assert meter.ticket.intent.usage == bound


async def test_a_document_without_a_count_is_an_estimate_of_the_pages_that_were_named(kind, server, meter):
    server.script(Fault(usage={"pages_processed": None}))

    with pytest.raises(ResponseValidationError):
        await kind.do("ocr", "process", **DOCUMENT, pages=[0, 1])

    assert (meter.ticket.usage, meter.ticket.is_estimated) == ({"pages": 2}, True)


async def test_a_transcript_is_settled_by_its_seconds(kind, meter):
    reply = await kind.do(TRANSCRIBE, "complete", **SOUND)
    await kind.events(await kind.do(TRANSCRIBE, "stream", **SOUND))

    plain, streamed = meter.tickets
    assert (plain.usage, plain.is_estimated) == ({"audio_seconds": 60}, False)
    assert (streamed.usage, streamed.is_estimated) == ({"audio_seconds": 60}, False)
    # Its tokens are not billed, and kept beside the count.
    [(reading, _)] = plain.settled
    assert reading.raw["usage"]["completion_tokens"] == reply.usage.completion_tokens


@pytest.mark.parametrize("made", [dict, File.model_validate], ids=["dictionary", "object"])
async def test_a_wav_is_bounded_by_its_own_length(kind, meter, made):
    file = made({"file_name": "story.wav", "content": wav(90)})

    await kind.do(TRANSCRIBE, "complete", model="voxtral-mini-latest", file=file)

    assert meter.ticket.intent.usage == {"audio_seconds": 90}
    assert meter.ticket.usage == {"audio_seconds": 90}


async def test_an_open_file_is_sent_whole(kind, meter):
    with io.BytesIO(wav(90)) as file:
        await kind.do(TRANSCRIBE, "complete", model="voxtral-mini-latest", file={"file_name": "a.wav", "content": file})

    assert meter.ticket.usage == {"audio_seconds": 90}


async def test_a_transcript_that_breaks_is_charged_for_what_was_heard(kind, server, meter):
    server.script(Fault(drop_after=8))

    with pytest.raises(Exception, match=r"(?i)peer|closed|incomplete"):
        await kind.events(await kind.do(TRANSCRIBE, "stream", **SOUND))

    # One segment had come.
    assert (meter.ticket.usage, meter.ticket.is_estimated) == ({"audio_seconds": Fraction(15, 2)}, True)


async def test_a_transcript_of_a_wav_that_breaks_is_charged_for_all_of_it(kind, server, meter):
    server.script(Fault(drop_after=3))
    file = {"file_name": "story.wav", "content": wav(90)}

    with pytest.raises(Exception, match=r"(?i)peer|closed|incomplete"):
        await kind.events(await kind.do(TRANSCRIBE, "stream", model="voxtral-mini-latest", file=file))

    assert (meter.ticket.usage, meter.ticket.is_estimated) == ({"audio_seconds": 90}, True)


async def test_speech_is_settled_by_its_characters(kind, meter):
    await kind.do(SPEAK, "complete", **SPEECH)
    await kind.events(await kind.do(SPEAK, "complete", **SPEECH, stream=True))

    plain, streamed = meter.tickets
    assert (plain.intent.usage, plain.usage, plain.is_estimated) == ({"characters": 19}, {"characters": 19}, False)
    # A stream tells tokens besides, which are not billed.
    assert (streamed.usage["characters"], streamed.is_estimated) == (19, False)


def test_speech_that_is_left_is_charged_for_all_its_characters(client, meter):
    for _ in client.audio.speech.complete(**SPEECH, stream=True):
        break
    gc.collect()

    assert meter.ticket.ended.wait(60)
    assert (meter.ticket.usage, meter.ticket.is_estimated) == ({"characters": 19}, False)


@pytest.mark.parametrize(
    ("method", "asked", "tokens"),
    [
        ("moderate", {"inputs": ["hi there", "you two"]}, 4),
        ("moderate_chat", {"inputs": [{"role": "user", "content": "hi there"}]}, 2),
        ("classify", {"inputs": "hi there"}, 2),
        ("classify_chat", {"input": {"messages": [{"role": "user", "content": "hi there"}]}}, 2),
    ],
)
async def test_classes_are_estimated_by_their_text_for_no_count_is_told(kind, meter, method, asked, tokens):
    await kind.do("classifiers", method, model="mistral-moderation-2603", **asked)

    assert meter.ticket.intent.operation == "classification"
    assert (meter.ticket.usage, meter.ticket.is_estimated) == ({"input_tokens": tokens}, True)


async def test_a_response_is_settled_by_its_count_plain_and_streamed(kind, meter):
    asked = {"model": "mistral-small-latest", "input": "hi there", "max_output_tokens": 400}

    await kind.do("responses", "create", **asked)
    await kind.events(await kind.do("responses", "create", **asked, stream=True))

    plain, streamed = meter.tickets
    assert plain.intent.usage == {"input_tokens": 2, "output_tokens": 400}
    assert plain.usage == streamed.usage == {"input_tokens": 5, "cached_input_tokens": 1, "output_tokens": 57}
    assert not plain.is_estimated
    assert not streamed.is_estimated


async def test_a_response_that_is_closed_is_charged_for_what_came(kind, meter):
    stream = await kind.do("responses", "create", model="mistral-small-latest", input="hi there", stream=True)
    await kind.begun(stream, 8)

    await kind.close(stream)

    assert meter.ticket.is_estimated
    assert 0 < meter.ticket.usage["output_tokens"] < 57


async def test_sound_that_a_chat_heard_is_counted_in_seconds(kind, server, meter):
    server.script(Fault(usage={"prompt_tokens": 5, "completion_tokens": 7, "prompt_audio_seconds": 30}))

    await kind.do("chat", "complete", model="voxtral-small-latest", messages=[{"role": "user", "content": "hi"}])

    assert meter.ticket.usage == {"input_tokens": 5, "output_tokens": 7, "audio_seconds": 30}


CALLS = [
    ("ocr", "process", DOCUMENT),
    (TRANSCRIBE, "complete", SOUND),
    (TRANSCRIBE, "stream", SOUND),
    (SPEAK, "complete", SPEECH),
    ("classifiers", "moderate", {"model": "mistral-moderation-2603", "inputs": "hi there"}),
    ("responses", "create", {"model": "mistral-small-latest", "input": "hi there"}),
]


@pytest.mark.parametrize(("part", "method", "fields"), CALLS)
async def test_what_is_refused_before_it_is_sent_or_by_mistral_costs_nothing(kind, server, meter, part, method, fields):
    server.script(Fault(status=422))
    with pytest.raises(MistralError):
        await kind.do(part, method, **fields)
    meter.refusal = InsufficientCredit("alice", needed=Credits(2), available=Credits(1))
    with pytest.raises(InsufficientCredit):
        await kind.do(part, method, **fields)

    assert server.count == 1
    assert (meter.ticket.settled, meter.ticket.released) == ([], 1)


@pytest.mark.parametrize(("part", "method", "fields"), CALLS)
async def test_a_call_within_another_metered_one_is_not_metered_again(kind, meter, part, method, fields):
    with marked_as_metered():
        await kind.do(part, method, **fields)

    assert meter.tickets == []


def test_the_given_clients_parts_stay_as_they_are_and_others_are_made_when_asked_for(bare, meter):
    client = wrap_client(bare, meter, user=None)
    bare.ocr.process(**DOCUMENT)
    client.ocr.process(**DOCUMENT)

    assert meter.ticket.usage == {"pages": 3}
    assert type(client.ocr) is type(bare.ocr)
    assert "beta" not in vars(bare)
    assert client.beta.conversations is client.beta.conversations
    assert client.audio.voices is not None


def test_documents_sound_and_moderations_cost_what_mistral_charges(bare):
    with Callfare("memory://") as fare:
        fare.grant("alice", 2000, key="k")
        client = fare.wrap(bare)
        with fare.run("story", user="alice") as run:
            client.ocr.process(**DOCUMENT)
            client.ocr.process(**DOCUMENT, document_annotation_format=SCHEMA)
            client.audio.transcriptions.complete(**SOUND)
            client.audio.speech.complete(**SPEECH)
            client.classifiers.moderate(model="mistral-moderation-2603", inputs="hi there")

        # 3 pages at $4, then at $5 a thousand; a minute at $0.18 an hour; 19 characters at $16 a million; nothing.
        calls = fare.calls(run).items
        assert [call.status for call in calls] == ["priced"] * 5
        assert [call.cost for call in calls] == [Usd(usd) for usd in ("0.012", "0.015", "0.003", "0.000304", "0")]
