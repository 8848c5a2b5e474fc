"""Reading usage from provider replies: objects and dictionaries, whole, partial and hostile."""

from __future__ import annotations

import json
from decimal import Inexact, localcontext
from fractions import Fraction
from types import SimpleNamespace

import pytest

from callfare.usage.extract import read
from callfare.usage.quantities import leaves

CHAT = {
    "id": "chatcmpl-1",
    "model": "gpt-5-mini-2025-08-07",
    "service_tier": "default",
    "choices": [{"message": {"content": "a secret reply"}}],
    "usage": {
        "prompt_tokens": 1200,
        "completion_tokens": 350,
        "total_tokens": 1550,
        "prompt_tokens_details": {"cached_tokens": 800, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 64, "rejected_prediction_tokens": 0},
    },
}


def as_object(value):
    """The same reply as attributes, the way an SDK gives it."""
    return json.loads(json.dumps(value), object_hook=lambda fields: SimpleNamespace(**fields))


@pytest.mark.parametrize("form", [dict, as_object], ids=["mapping", "object"])
def test_a_chat_reply_counts_cached_and_reasoning_tokens_inside_their_totals(form):
    reading = read("chat", form(CHAT), model="gpt-5-mini")

    assert reading.usage == {
        "input_tokens": 1200,
        "cached_input_tokens": 800,
        "output_tokens": 350,
        "reasoning_tokens": 64,
    }
    assert leaves(reading.usage) == {
        "input_tokens": 400,
        "cached_input_tokens": 800,
        "output_tokens": 286,
        "reasoning_tokens": 64,
    }
    assert not reading.incomplete


def test_the_model_and_the_tier_that_served_win_over_those_asked_for():
    reply = CHAT | {"service_tier": "flex"}

    reading = read("chat", reply, model="gpt-5-mini", attributes={"service_tier": "priority"})

    assert (reading.model, reading.attributes) == ("gpt-5-mini-2025-08-07", {"service_tier": "flex"})


def test_what_the_reply_leaves_out_stands_as_it_was_asked_for():
    reading = read("chat", {"usage": CHAT["usage"]}, model="gpt-5-mini", attributes={"service_tier": "priority"})

    assert (reading.model, reading.attributes) == ("gpt-5-mini", {"service_tier": "priority"})
    assert reading.response_id == ""


@pytest.mark.parametrize("form", [dict, as_object], ids=["mapping", "object"])
def test_raw_keeps_counts_and_ids_and_never_text(form):
    raw = read("chat", form(CHAT), model="gpt-5-mini").raw

    assert raw == {
        "id": "chatcmpl-1",
        "model": "gpt-5-mini-2025-08-07",
        "service_tier": "default",
        "usage": CHAT["usage"],
    }
    assert "secret" not in json.dumps(raw)


def test_raw_drops_prose_and_what_no_count_is():
    usage = {
        "prompt_tokens": 1,
        "completion_tokens": 2,
        "note": "tell me about my taxes",
        "cost": 0.00082,
        "drift": float("nan"),
        "big": 10**20,
        "kind": "tokens",
        "a key with spaces": 1,
    }

    raw = read("chat", {"usage": usage}, model="m").raw

    assert raw == {"usage": {"prompt_tokens": 1, "completion_tokens": 2, "cost": 0.00082, "kind": "tokens"}}


def test_raw_is_bounded_in_depth_and_width():
    deep: dict[str, object] = {"n": 1}
    for _ in range(50):
        deep = {"inner": deep}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "deep": deep, "wide": list(range(100_000))}

    raw = json.dumps(read("chat", {"usage": usage}, model="m").raw)

    assert len(raw) < 1000


def test_a_response_counts_cache_writes_and_the_tools_it_ran():
    reply = {
        "id": "resp_1",
        "model": "gpt-5-mini-2025-08-07",
        "output": [{"type": "web_search_call"}, {"type": "function_call"}, {"type": "web_search_call"}],
        "usage": {
            "input_tokens": 1000,
            "input_tokens_details": {"cached_tokens": 300, "cache_write_tokens": 200},
            "output_tokens": 50,
            "output_tokens_details": {"reasoning_tokens": 0},
        },
    }

    reading = read("responses", reply, model="gpt-5-mini")

    assert reading.usage == {
        "input_tokens": 1000,
        "cached_input_tokens": 300,
        "cache_write_input_tokens": 200,
        "output_tokens": 50,
        "web_searches": 2,
    }
    assert reading.raw["tool_calls"] == {"web_search_call": 2}


def test_the_end_of_a_stream_of_responses_is_read_through_its_event():
    event = {"type": "response.completed", "response": {"id": "resp_2", "model": "m", "usage": CHAT["usage"]}}

    reading = read("responses", event, model="asked")

    assert (reading.response_id, reading.model, reading.usage["input_tokens"]) == ("resp_2", "m", 1200)


def test_audio_in_and_out_stand_under_their_own_meters():
    usage = {
        "prompt_tokens": 1000,
        "completion_tokens": 250,
        "prompt_tokens_details": {"audio_tokens": 900, "cached_tokens": 0},
        "completion_tokens_details": {"audio_tokens": 200, "reasoning_tokens": 0},
    }

    reading = read("chat", {"usage": usage}, model="gpt-4o-audio-preview")

    assert leaves(reading.usage) == {
        "input_tokens": 100,
        "input_audio_tokens": 900,
        "output_tokens": 50,
        "output_audio_tokens": 200,
    }


def test_cached_audio_is_taken_out_of_cached_text_where_the_provider_tells_them_apart():
    usage = {
        "input_tokens": 1000,
        "output_tokens": 1,
        "input_token_details": {
            "audio_tokens": 600,
            "cached_tokens": 500,
            "cached_tokens_details": {"text_tokens": 200, "audio_tokens": 300},
        },
    }

    reading = read("chat", {"usage": usage}, model="gpt-realtime")

    assert leaves(reading.usage) == {
        "input_tokens": 200,
        "cached_input_tokens": 200,
        "input_audio_tokens": 300,
        "cached_input_audio_tokens": 300,
        "output_tokens": 1,
    }


def test_cached_and_audio_tokens_that_exceed_the_input_together_are_cached_audio():
    usage = {
        "prompt_tokens": 1000,
        "completion_tokens": 1,
        "prompt_tokens_details": {"cached_tokens": 800, "audio_tokens": 500},
    }

    reading = read("chat", {"usage": usage}, model="gpt-4o-audio-preview")

    assert not reading.incomplete
    assert leaves(reading.usage) == {
        "cached_input_tokens": 500,
        "input_audio_tokens": 200,
        "cached_input_audio_tokens": 300,
        "output_tokens": 1,
    }


def test_parts_above_their_whole_are_left_out_and_the_whole_is_kept():
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "completion_tokens_details": {"reasoning_tokens": 64}}

    reading = read("chat", {"usage": usage}, model="m")

    assert reading.usage == {"input_tokens": 10, "output_tokens": 5}
    assert reading.incomplete


def test_parts_above_one_whole_leave_the_other_whole_its_parts():
    usage = {
        "prompt_tokens": 10,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens": 5,
        "completion_tokens_details": {"reasoning_tokens": 64},
    }

    reading = read("chat", {"usage": usage}, model="m")

    assert reading.usage == {"input_tokens": 10, "cached_input_tokens": 4, "output_tokens": 5}


def test_a_part_of_a_part_above_the_whole_is_left_out():
    details = {"cached_tokens_details": {"audio_tokens": 5000}}
    usage = {"input_tokens": 10, "input_token_details": details, "output_tokens": 5}

    reading = read("chat", {"usage": usage}, model="m")

    assert (reading.usage, reading.incomplete) == ({"input_tokens": 10, "output_tokens": 5}, True)


def test_parts_without_a_whole_that_no_whole_could_hold_are_left_out():
    usage = {"prompt_tokens_details": {"cached_tokens": 10**12, "cache_write_tokens": 1}, "completion_tokens": 10**12}

    reading = read("chat", {"usage": usage}, model="m")

    assert (reading.usage, reading.incomplete) == ({"output_tokens": 10**12}, True)


def test_the_largest_input_and_output_are_both_believed():
    reading = read("chat", {"usage": {"prompt_tokens": 10**12, "completion_tokens": 10**12}}, model="m")

    assert (reading.usage, reading.incomplete) == ({"input_tokens": 10**12, "output_tokens": 10**12}, False)


def test_what_the_request_fixed_is_never_less_than_the_parts_that_were_counted():
    usage = {"prompt_tokens": -1, "prompt_tokens_details": {"cached_tokens": 5000, "audio_tokens": 70}}

    reading = read("embedding", {"usage": usage}, model="m", usage={"input_tokens": 3})

    assert (reading.usage["input_tokens"], reading.incomplete) == (5070, True)
    assert leaves(reading.usage) == {"cached_input_tokens": 5000, "input_audio_tokens": 70}


@pytest.mark.parametrize("written", [-1, 10**18, "many", 1.5])
def test_the_most_that_may_be_written_is_not_taken_for_what_was_written(written):
    usage = {"prompt_tokens": 12, "completion_tokens": written}

    reading = read("chat", {"usage": usage}, model="m", usage={"input_tokens": 3, "output_tokens": 100_000})

    assert (reading.usage, reading.incomplete) == ({"input_tokens": 12}, True)


@pytest.mark.parametrize(
    "usage",
    [None, {}, [], "many", 7, {"prompt_tokens": None}, {"prompt_tokens": -1}, {"prompt_tokens": True}, {"total": 3}],
)
@pytest.mark.parametrize("operation", ["chat", "responses", "embedding", "transcription", "rumour"])
def test_a_usage_that_says_nothing_makes_an_incomplete_reading(operation, usage):
    reading = read(operation, {"id": "x", "usage": usage}, model="m")

    assert (reading.usage, reading.incomplete, reading.model) == ({}, True, "m")


def test_one_impossible_count_does_not_take_the_others_with_it():
    usage = {"prompt_tokens": 12, "completion_tokens": 10**30}

    reading = read("chat", {"usage": usage}, model="m")

    assert (reading.usage, reading.incomplete) == ({"input_tokens": 12}, True)


def test_a_reply_that_breaks_when_read_is_an_incomplete_reading():
    class Broken:
        @property
        def usage(self):
            raise RuntimeError("no")

    reading = read("chat", Broken(), model="m", attributes={"service_tier": "flex"})

    assert (reading.usage, reading.incomplete, reading.attributes) == ({}, True, {"service_tier": "flex"})


def test_speech_counts_the_characters_of_the_request():
    reading = read("speech", None, model="gpt-4o-mini-tts", usage={"characters": 1000})

    assert (reading.usage, reading.incomplete) == ({"characters": 1000}, False)


def test_streamed_speech_keeps_its_tokens_beside_the_characters():
    event = {"type": "speech.audio.done", "usage": {"input_tokens": 250, "output_tokens": 1250, "total_tokens": 1500}}

    reading = read("speech", event, model="gpt-4o-mini-tts", usage={"characters": 1000})

    assert reading.usage == {
        "input_tokens": 250,
        "output_tokens": 1250,
        "output_audio_tokens": 1250,
        "characters": 1000,
    }


def test_float_seconds_are_the_decimal_the_provider_wrote():
    reply = {"text": "…", "usage": {"type": "duration", "seconds": 8.47}}

    reading = read("transcription", reply, model="whisper-1")

    assert reading.usage == {"audio_seconds": Fraction(847, 100)}
    assert reading.raw == {"usage": {"type": "duration", "seconds": 8.47}}
    assert not reading.incomplete


def test_a_transcript_with_a_duration_and_no_usage_is_read_by_its_duration():
    reading = read("transcription", {"text": "…", "duration": "95.1"}, model="whisper-1")

    assert reading.usage == {"audio_seconds": Fraction(951, 10)}


def test_a_transcript_billed_by_tokens_counts_audio_inside_the_input():
    usage = {
        "type": "tokens",
        "input_tokens": 1014,
        "input_token_details": {"audio_tokens": 1000, "text_tokens": 14},
        "output_tokens": 45,
    }

    reading = read("transcription", {"text": "…", "usage": usage}, model="gpt-4o-transcribe")

    assert leaves(reading.usage) == {"input_tokens": 14, "input_audio_tokens": 1000, "output_tokens": 45}
    assert not reading.incomplete


def test_a_transcript_as_plain_text_is_as_long_as_the_upload_that_was_measured():
    reading = read("transcription", "some words\n", model="whisper-1", usage={"audio_seconds": Fraction(3, 2)})

    assert (reading.usage, reading.incomplete) == ({"audio_seconds": Fraction(3, 2)}, False)


def test_a_transcript_as_plain_text_of_an_unmeasured_upload_is_incomplete():
    reading = read("transcription", "some words\n", model="whisper-1")

    assert (reading.usage, reading.incomplete) == ({}, True)


def test_images_are_counted_with_the_size_and_quality_that_were_made():
    reply = {
        "data": [{"b64_json": "AAAA"}, {"b64_json": "AAAA"}],
        "size": "1024x1536",
        "quality": "medium",
        "usage": {
            "input_tokens": 60,
            "input_tokens_details": {"text_tokens": 50, "image_tokens": 10},
            "output_tokens": 3168,
        },
    }

    reading = read("image", reply, model="gpt-image-1", usage={"images": 5}, attributes={"quality": "low"})

    assert reading.usage == {
        "input_tokens": 60,
        "input_image_tokens": 10,
        "output_tokens": 3168,
        "output_image_tokens": 3168,
        "images": 2,
    }
    assert reading.attributes == {"size": "1024x1536", "quality": "medium"}
    assert reading.model == "gpt-image-1"


def test_images_without_usage_are_still_counted():
    reading = read("image", {"data": [{"url": "…"}]}, model="dall-e-3", attributes={"size": "1024x1024"})

    assert (reading.usage, reading.incomplete) == ({"images": 1}, False)


def test_a_video_job_tells_its_seconds_as_text():
    job = {"id": "video_1", "model": "sora-2", "seconds": "8", "size": "1280x720", "status": "queued", "prompt": "…"}

    reading = read("video", job, model="sora-2")

    assert (reading.usage, reading.attributes) == ({"video_seconds": 8}, {"size": "1280x720"})
    assert reading.response_id == "video_1"
    assert reading.raw == {"id": "video_1", "model": "sora-2", "seconds": "8", "size": "1280x720", "status": "queued"}


def test_a_video_job_with_odd_seconds_falls_back_on_those_asked_for():
    reading = read("video", {"id": "video_1", "seconds": "soon"}, model="sora-2", usage={"video_seconds": 4})

    assert (reading.usage, reading.incomplete) == ({"video_seconds": 4}, True)


def test_speech_whose_characters_are_not_known_is_incomplete():
    reading = read("speech", {"usage": {"input_tokens": 2, "output_tokens": 10}}, model="gpt-4o-mini-tts")

    assert reading.usage == {"input_tokens": 2, "output_tokens": 10, "output_audio_tokens": 10}
    assert reading.incomplete


def test_what_a_reply_says_was_charged_is_the_same_whatever_arithmetic_its_thread_has_chosen():
    told = {"cost": 0.00003885, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.000777}}
    reply = CHAT | {"usage": CHAT["usage"] | told}

    with localcontext() as context:
        context.prec, context.traps[Inexact] = 3, True
        reading = read("chat", reply, model="gpt-5-mini")

    assert reading.usage["billed_usd"] == Fraction("0.00081585")
