"""Batches of OpenAI's: each line of a file of results is a call, charged once at the batch rate when it is read."""

from __future__ import annotations

import json

import openai
import pytest

from callfare import Callfare
from callfare.capture import raw
from callfare.capture.openai_dialect import OpenAIDialect
from callfare.devtools.fake_openai import FakeOpenAI

HELLO = [{"role": "user", "content": "hi there"}]
CHAT = ("/v1/chat/completions", {"model": "gpt-5-mini", "messages": HELLO})
RESPONSE = ("/v1/responses", {"model": "gpt-5-mini", "input": "hi there"})
EMBEDDING = ("/v1/embeddings", {"model": "text-embedding-3-small", "input": "one two three"})
PICTURE = ("/v1/images/generations", {"model": "gpt-image-1-mini", "prompt": "a lamp", "quality": "low"})
MODERATION = ("/v1/moderations", {"model": "omni-moderation-latest", "input": "hi"})
REFUSED = ("/v1/chat/completions", {"model": "gpt-5-mini", "messages": HELLO, "fail": True})


def requests(*lines):
    told = [
        {"custom_id": f"line-{number}", "method": "POST", "url": url, "body": body}
        for number, (url, body) in enumerate(lines)
    ]
    return b"".join(json.dumps(line).encode() + b"\n" for line in told)


async def batch_of(either, *lines):
    """Make a batch, and return it as it is when it has completed."""
    file = await either.do(
        lambda client: client.files.create(file=("requests.jsonl", requests(*lines)), purpose="batch")
    )
    made = await either.do(
        lambda client: client.batches.create(input_file_id=file.id, endpoint=lines[0][0], completion_window="24h")
    )
    await either.do(lambda client: client.batches.retrieve(made.id))
    batch = await either.do(lambda client: client.batches.retrieve(made.id))
    assert batch.status == "completed"
    return batch


async def test_each_line_is_a_call_of_its_own(either, meter):
    batch = await batch_of(either, CHAT, RESPONSE, EMBEDDING, PICTURE)

    await either.do(lambda client: client.files.content(batch.output_file_id))

    told = [ticket.settled[0][0] for ticket in meter.tickets]
    assert [ticket.intent.operation for ticket in meter.tickets] == ["chat", "responses", "embedding", "image"]
    assert [reading.response_id for reading in told] == [f"{batch.output_file_id}/line-{n}" for n in range(4)]
    assert [dict(reading.usage) for reading in told] == [
        {"input_tokens": 5, "cached_input_tokens": 1, "output_tokens": 121, "reasoning_tokens": 64},
        {"input_tokens": 5, "cached_input_tokens": 1, "output_tokens": 121, "reasoning_tokens": 64},
        {"input_tokens": 4},
        {"input_tokens": 2, "output_tokens": 272, "output_image_tokens": 272, "images": 1},
    ]
    assert {reading.attributes["processing"] for reading in told} == {"batch"}


async def test_what_was_refused_and_what_is_free_is_not_charged(either, meter):
    batch = await batch_of(either, REFUSED, MODERATION, CHAT)

    await either.do(lambda client: client.files.content(batch.output_file_id))

    assert meter.ticket.settled[0][0].response_id == f"{batch.output_file_id}/line-2"


async def test_a_batch_that_is_only_made_and_asked_for_is_not_charged(either, meter):
    await batch_of(either, CHAT)

    assert meter.tickets == []


@pytest.mark.parametrize("lines", [[CHAT], [CHAT, CHAT]], ids=["one line", "two lines"])
async def test_results_are_counted_however_they_are_read(either, meter, lines):
    batch = await batch_of(either, *lines)

    raw = await either.do(lambda client: client.files.with_raw_response.content(batch.output_file_id))
    assert len(meter.tickets) == len(lines)
    streaming = either.client.files.with_streaming_response.content(batch.output_file_id)
    if isinstance(either.client, openai.AsyncOpenAI):
        async with streaming as streamed:
            body = await streamed.read()
    else:
        with streaming as streamed:
            body = streamed.read()

    assert body == raw.content
    assert len(meter.tickets) == 2 * len(lines)


async def test_results_that_are_written_to_a_file_are_counted_line_by_line(either, fake, meter, tmp_path):
    batch = await batch_of(either, CHAT, CHAT)

    streaming = either.client.files.with_streaming_response.content(batch.output_file_id)
    if isinstance(either.client, openai.AsyncOpenAI):
        async with streaming as streamed:
            await streamed.stream_to_file(tmp_path / "results", chunk_size=100)
    else:
        with streaming as streamed:
            streamed.stream_to_file(tmp_path / "results", chunk_size=100)

    assert (tmp_path / "results").read_bytes() == fake.files[batch.output_file_id]
    assert len(meter.tickets) == 2
    assert meter.batches.delivered == [((batch.id, batch.output_file_id), True)]


def test_results_that_stream_are_counted_beyond_what_could_be_kept(client, fake, meter, monkeypatch):
    monkeypatch.setattr(raw, "_BODY_BYTES_MAX", 10)
    body = {"object": "list", "model": "m", "usage": {"prompt_tokens": 7}}
    lines = [{"custom_id": name, "response": {"status_code": 200, "body": body}} for name in "abc"]
    fake.files["file-x"] = "\n".join(map(json.dumps, lines)).encode()

    with client.files.with_streaming_response.content("file-x") as streamed:
        list(streamed.iter_bytes(50))

    assert [ticket.settled[0][0].response_id for ticket in meter.tickets] == ["file-x/a", "file-x/b", "file-x/c"]


@pytest.mark.parametrize("usage", [None, {"prompt_tokens": -3}])
def test_a_line_without_a_count_is_estimated(client, bare, fake, meter, usage):
    fake.files["file-x"] = json.dumps(
        {
            "custom_id": "a",
            "response": {
                "status_code": 200,
                "body": {
                    "object": "chat.completion",
                    "model": "gpt-5-mini",
                    "choices": [{"message": {"content": "eight by"}}],
                    "usage": usage,
                },
            },
        }
    ).encode()

    client.files.content("file-x")

    assert (meter.ticket.usage, meter.ticket.is_estimated) == ({"output_tokens": 2}, True)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00\xff\xfe",
        b"no json\n",
        b'{"custom_id": "a"}\n',
        b'{"custom_id": "a", "response": []}\n{"custom_id": 7, "response": {"status_code": 200, "body": {}}}\n',
        b'{"custom_id": "a", "response": {"status_code": 200, "body": {"object": ["chat.completion"]}}}\n',
        b'{"messages": [{"role": "user", "content": "training"}]}\n' * 3,
        b"[" * 100_000,
    ],
)
def test_another_file_is_handed_on_as_it_is(client, fake, meter, content):
    fake.files["file-x"] = content

    assert client.files.content("file-x").content == content
    assert (meter.tickets, meter.batches.delivered) == ([], [])


def test_one_bad_line_does_not_lose_the_others(client, fake, meter):
    good = {
        "custom_id": "b",
        "response": {"status_code": 200, "body": {"object": "list", "model": "m", "usage": {"prompt_tokens": 7}}},
    }
    bad = {"custom_id": "a", "response": {"status_code": {}, "body": {"object": "list"}}}
    fake.files["file-x"] = f'\n{json.dumps(bad)}\n{{"cut off": \n\n[]\n{json.dumps(good)}\n'.encode()

    client.files.content("file-x")

    assert meter.ticket.usage == {"input_tokens": 7}


# On a ledger


@pytest.fixture
def fare():
    with Callfare("memory://", seed_prices=False) as fare:
        fare.grant("alice", 2000, key="k")
        yield fare


def test_results_read_again_are_charged_once_at_the_batch_rate(bare, fare):
    client = fare.wrap(bare)
    file = client.files.create(file=("r.jsonl", requests(CHAT, CHAT)), purpose="batch")
    batch = bare.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    output = f"{batch.id}_output"

    with fare.run("story", user="alice") as run:
        client.files.content(output)
        client.files.content(output)
    with fare.user("alice"):
        fare.wrap(bare).files.content(output)

    calls = fare.calls(run).items
    # 4 at $0.125, 1 cached at $0.0125 and 121 written at $1 a million: half of what they cost by themselves.
    assert [str(call.cost) for call in calls] == ["0.0001215125", "0.0001215125"]
    assert fare.usage("alice").calls == 2
    assert fare.verify().is_clean


def test_the_same_line_of_another_batch_is_another_call(bare, fake, fare):
    fake.files |= {"one": requests(CHAT)}
    client = fare.wrap(bare)
    batches = [
        bare.batches.create(input_file_id="one", endpoint="/v1/chat/completions", completion_window="24h")
        for _ in range(2)
    ]

    with fare.user("alice"):
        for batch in batches:
            client.files.content(f"{batch.id}_output")

    assert fare.usage("alice").calls == 2


def test_a_client_of_a_user_reads_for_that_user():
    with FakeOpenAI() as fake, Callfare("memory://") as fare, openai.OpenAI(base_url=fake.base_url, api_key="k") as c:
        fare.grant("bob", 10, key="k")
        fake.files["f"] = b'{"custom_id": "a", "response": {"status_code": 200, "body": {"object": "list", "model": '
        fake.files["f"] += b'"text-embedding-3-small", "usage": {"prompt_tokens": 9}}}}\n'

        fare.wrap(c, user="bob").files.content("f")

        assert fare.usage("bob").calls == 1


def test_a_long_name_of_a_line_is_told_from_another_that_begins_alike(client, fake, meter):
    body = {"object": "list", "model": "m", "usage": {"prompt_tokens": 7}}
    lines = [{"custom_id": "x" * 600 + tail, "response": {"status_code": 200, "body": body}} for tail in "ab"]
    fake.files["file-x"] = b"".join(json.dumps(line).encode() + b"\n" for line in lines)

    client.files.content("file-x")

    first, second = (ticket.settled[0][0].response_id for ticket in meter.tickets)
    assert first != second
    assert max(len(first), len(second)) <= 512


@pytest.mark.parametrize(
    "told",
    [
        None,
        [],
        {},
        {"object": "batch"},
        {"object": "batch", "id": None},
        {"object": "batch", "id": ""},
        {"object": "batch", "id": ["b"]},
        {"object": "file", "id": "b"},
    ],
    ids=str,
)
def test_what_tells_no_batch_is_none(told):
    assert OpenAIDialect().batch_told(told) is None


def test_what_a_batch_tells_oddly_ends_nothing():
    for odd in ({"status": ["failed"]}, {"status": "failed", "output_file_id": "f"}, {"status": "paused"}):
        assert OpenAIDialect().batch_told({"object": "batch", "id": "b"} | odd).outcome is None
