"""What requests fix before they are sent, and which requests are metered at all."""

from __future__ import annotations

import pytest

from callfare.capture.openai_dialect import OpenAIDialect

OPENAI = OpenAIDialect()


def intent_of(path, body, **options):
    operation = OPENAI.operation_of(path)
    return OPENAI.request_of(path, operation=operation, base_url="http://x/v1/", body=body, options=options).intent


@pytest.mark.parametrize(
    ("path", "operation"),
    [
        ("/chat/completions", "chat"),
        ("chat/completions/", "chat"),
        ("/completions", "chat"),
        ("/responses", "responses"),
        ("/responses?beta=true", "responses"),
        ("/responses/compact", "responses"),
        ("/embeddings", "embedding"),
        ("/audio/speech", "speech"),
        ("/audio/transcriptions", "transcription"),
        ("/audio/translations", "transcription"),
        ("/images/generations", "image"),
        ("/images/edits", "image"),
        ("/images/variations", "image"),
        ("/videos", "video"),
        ("/videos/video_1/remix", "video"),
        ("/responses/input_tokens", None),
        ("/responses/resp_1/cancel", None),
        ("/videos/characters", None),
        ("/files", None),
        ("/moderations", None),
        ("/chat/completions/chatcmpl-1", None),
    ],
)
def test_requests_are_told_apart_by_their_path(path, operation):
    assert OPENAI.operation_of(path) == operation


@pytest.mark.parametrize(
    ("path", "job"),
    [
        ("/videos/video_1", ("video", "video_1")),
        ("/responses/resp_1", ("responses", "resp_1")),
        ("/responses/resp_1?stream=true", ("responses", "resp_1")),
        ("/responses/resp_1/cancel", ("responses", "resp_1")),
        ("/videos/ops%2Fvideo%201", ("video", "ops/video 1")),
        ("/videos/100%2525%3F", ("video", "100%25?")),
        ("/responses/%C3%BC+1/cancel?beta=true", ("responses", "ü+1")),
        ("/responses/resp_1/input_items", None),
        ("/responses/input_tokens", None),
        ("/videos/video_1/content", None),
        ("/videos", None),
        ("/videos/characters/char_1", None),
    ],
)
def test_requests_that_ask_again_are_told_apart_by_their_path(path, job):
    asked = OPENAI.job_of(path)

    assert (None if asked is None else (asked.operation, asked.job_id)) == job


def test_the_text_of_all_messages_and_tools_bounds_the_input():
    body = {
        "model": "m",
        "messages": [
            {"role": "system", "content": "12345678"},
            {"role": "user", "content": [{"type": "text", "text": "1234"}, {"type": "text", "text": "12"}]},
        ],
        "tools": [{"type": "function", "function": {"name": "1234", "description": "12"}}],
    }

    # 8 + 4 + 2 + 4 + 2 bytes.
    assert intent_of("/chat/completions", body).usage == {"input_tokens": 5}


def test_text_is_measured_in_bytes():
    assert intent_of("/responses", {"model": "m", "input": "ééé"}).usage == {"input_tokens": 2}


@pytest.mark.parametrize(
    ("given", "input_tokens"),
    [
        ([1, 2, 3], 3),
        ([[1, 2, 3], [4, 5]], 5),
        (([1, 2], (3,)), 3),
        (["12345", "123"], 2),
        ([0, -1, 10**30], 3),
        ([True, 1.5, None], 0),
        ([[[1, 2]]], 0),
        ([{"type": "text", "size": 7}], 0),
        (7, 0),
        ([], 0),
    ],
)
@pytest.mark.parametrize(("path", "name"), [("/embeddings", "input"), ("/completions", "prompt")])
def test_input_given_as_token_ids_is_as_many_tokens(path, name, given, input_tokens):
    assert intent_of(path, {"model": "m", name: given}).usage == {"input_tokens": input_tokens}


@pytest.mark.parametrize(
    ("fields", "output_tokens"),
    [
        ({"max_tokens": 10}, 10),
        ({"max_completion_tokens": 20, "max_tokens": 10}, 20),
        ({"max_output_tokens": 30}, 30),
        ({"max_tokens": 10, "n": 4}, 40),
        ({"max_tokens": None}, None),
        ({"max_tokens": True}, None),
        ({"max_tokens": -1}, None),
        ({"max_tokens": 10**13}, None),
    ],
)
def test_the_most_that_may_be_written_bounds_the_output(fields, output_tokens):
    usage = intent_of("/chat/completions", {"model": "m", "messages": [], **fields}).usage

    assert usage.get("output_tokens") == output_tokens


@pytest.mark.parametrize("size", [None, "", "auto", 7, "x" * 200])
def test_a_size_that_decides_nothing_is_left_out(size):
    assert intent_of("/images/generations", {"model": "m", "prompt": "p", "size": size}).attributes == {}


@pytest.mark.parametrize("count", [0, -1, True, "many", 10**13])
def test_an_odd_number_of_images_fixes_nothing_that_can_be_held(count):
    usage = intent_of("/images/generations", {"model": "m", "prompt": "p", "n": count}).usage

    assert usage in ({}, {"images": 0})


def test_speech_of_other_things_than_text_fixes_nothing():
    assert intent_of("/audio/speech", {"model": "m", "input": ["a"]}).usage == {}


def test_a_body_that_is_no_mapping_fixes_nothing():
    intent = intent_of("/responses", [1, 2, 3])

    assert (intent.model, intent.usage) == ("", {"input_tokens": 0})


def test_a_message_that_contains_itself_is_read_to_a_depth():
    message: dict[str, object] = {"role": "user", "content": "1234"}
    message["again"] = message

    usage = intent_of("/chat/completions", {"model": "m", "messages": [message]}).usage

    assert 1 <= usage["input_tokens"] <= 20
