"""Replies of OpenAI's API, from the types of its SDK."""

from __future__ import annotations

from fractions import Fraction

from openai.types import CreateEmbeddingResponse, ImagesResponse, Video
from openai.types.audio import (
    Transcription,
    TranscriptionTextDoneEvent,
)
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.image_edit_completed_event import ImageEditCompletedEvent
from openai.types.image_gen_completed_event import ImageGenCompletedEvent
from openai.types.realtime import ConversationItemInputAudioTranscriptionCompletedEvent, ResponseDoneEvent
from openai.types.responses import Response, ResponseCompletedEvent

from tests.truth.cases import Case

M = 1_000_000
CHAT_USAGE = {
    "prompt_tokens": 1200,
    "completion_tokens": 350,
    "total_tokens": 1550,
    "prompt_tokens_details": {"cached_tokens": 800, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 128, "audio_tokens": 0},
}


def chat(model, usage, tier=None):
    about = {"id": "chatcmpl-1", "created": 1, "model": model, "service_tier": tier, "usage": usage}
    message = {"role": "assistant", "content": "Yes."}
    plain = {"object": "chat.completion", "choices": [{"index": 0, "finish_reason": "stop", "message": message}]}
    return [
        ChatCompletion.model_validate(about | plain),
        ChatCompletionChunk.model_validate(about | {"object": "chat.completion.chunk", "choices": []}),
    ]


def response(model, usage, *, tier="default", output=()):
    told = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "model": model,
        "status": "completed",
        "output": list(output),
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "service_tier": tier,
        "usage": usage,
    }
    event = {"type": "response.completed", "sequence_number": 9, "response": told}
    return [Response.model_validate(told), ResponseCompletedEvent.model_validate(event)]


def search(number):
    action = {"type": "search", "query": "boats"}
    return {"id": f"ws_{number}", "type": "web_search_call", "status": "completed", "action": action}


RESPONSE_USAGE = {
    "input_tokens": 2000,
    "input_tokens_details": {"cached_tokens": 500, "cache_write_tokens": 300},
    "output_tokens": 700,
    "output_tokens_details": {"reasoning_tokens": 400},
    "total_tokens": 2700,
}
IMAGE_USAGE = {
    "input_tokens": 50,
    "input_tokens_details": {"text_tokens": 50, "image_tokens": 0},
    "output_tokens": 6240,
    "total_tokens": 6290,
}
EDIT_USAGE = {
    "input_tokens": 373,
    "input_tokens_details": {"text_tokens": 50, "image_tokens": 323},
    "output_tokens": 272,
    "output_tokens_details": {"text_tokens": 0, "image_tokens": 272},
    "total_tokens": 645,
}
REALTIME_USAGE = {
    "total_tokens": 1300,
    "input_tokens": 1000,
    "output_tokens": 300,
    "input_token_details": {
        "text_tokens": 350,
        "audio_tokens": 600,
        "image_tokens": 50,
        "cached_tokens": 500,
        "cached_tokens_details": {"text_tokens": 200, "audio_tokens": 300, "image_tokens": 0},
    },
    "output_token_details": {"text_tokens": 100, "audio_tokens": 200},
}
SPEECH_USAGE = {"input_tokens": 250, "output_tokens": 1250, "total_tokens": 1500}
TRANSCRIPT_USAGE = {
    "type": "tokens",
    "input_tokens": 1014,
    "input_token_details": {"text_tokens": 14, "audio_tokens": 1000},
    "output_tokens": 45,
    "total_tokens": 1059,
}


def picture_event(usage):
    told = {"type": "image_edit.completed", "b64_json": "", "background": "opaque", "created_at": 1}
    made = {"output_format": "png", "quality": "low", "size": "1024x1024", "usage": usage}
    return ImageEditCompletedEvent.model_validate(told | made)


def spoken(usage):
    response = {"object": "realtime.response", "id": "resp_1", "status": "completed", "output": [], "usage": usage}
    event = ResponseDoneEvent.model_validate({"type": "response.done", "event_id": "event_1", "response": response})
    return [event.response, event]


def heard(usage):
    told = {"type": "conversation.item.input_audio_transcription.completed", "event_id": "event_1", "item_id": "item_1"}
    event = told | {"content_index": 0, "transcript": "Boats.", "usage": usage}
    return [ConversationItemInputAudioTranscriptionCompletedEvent.model_validate(event)]


def text(name, model, replies, lines, totals, operation="chat"):
    return Case(
        name=name, provider="openai", operation=operation, model=model, replies=replies, lines=lines, totals=totals
    )


CASES = [
    text(
        "chat",
        "gpt-5-mini",
        chat("gpt-5-mini-2025-08-07", CHAT_USAGE, "default"),
        [
            ("input_tokens", 400, "0.25", M),
            ("cached_input_tokens", 800, "0.025", M),
            ("output_tokens", 222, "2", M),
            ("reasoning_tokens", 128, "2", M),
        ],
        {"input_tokens": 1200, "output_tokens": 350},
    ),
    text(
        "chat served as flex",
        "gpt-5-mini",
        chat("gpt-5-mini-2025-08-07", CHAT_USAGE, "flex"),
        [
            ("input_tokens", 400, "0.125", M),
            ("cached_input_tokens", 800, "0.0125", M),
            ("output_tokens", 222, "1", M),
            ("reasoning_tokens", 128, "1", M),
        ],
        {"input_tokens": 1200, "output_tokens": 350},
    ),
    text(
        "chat with sound",
        "gpt-audio",
        chat(
            "gpt-audio-2025-08-28",
            {
                "prompt_tokens": 1000,
                "completion_tokens": 250,
                "total_tokens": 1250,
                "prompt_tokens_details": {"audio_tokens": 900, "cached_tokens": 0},
                "completion_tokens_details": {"audio_tokens": 200, "reasoning_tokens": 0},
            },
        ),
        [
            ("input_tokens", 100, "2.50", M),
            ("input_audio_tokens", 900, "32", M),
            ("output_tokens", 50, "10", M),
            ("output_audio_tokens", 200, "64", M),
        ],
        {"input_tokens": 1000, "output_tokens": 250},
    ),
    text(
        "a response with searches, a cache that is read and one that is written",
        "gpt-5.6-luna",
        response("gpt-5.6-luna", RESPONSE_USAGE, output=[search(1), search(2)]),
        [
            ("input_tokens", 1200, "0.20", M),
            ("cached_input_tokens", 500, "0.02", M),
            ("cache_write_input_tokens", 300, "0.25", M),
            ("output_tokens", 300, "1.20", M),
            ("reasoning_tokens", 400, "1.20", M),
            ("web_searches", 2, "10", 1000),
        ],
        {"input_tokens": 2000, "output_tokens": 700},
        "responses",
    ),
    text(
        "a response that searched once, opened a page and looked for words in it, with a cache by lifetime",
        "gpt-6-sol",
        response(
            "gpt-6-sol",
            {
                "input_tokens": 2000,
                "input_tokens_details": {
                    "cached_tokens": 500,
                    "cache_write_tokens": 300,
                    "cache_write_tokens_details": {"ttl_30m_tokens": 100, "ttl_12h_tokens": 200},
                },
                "output_tokens": 700,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": 2700,
            },
            output=[
                search(1),
                {
                    "id": "ws_2",
                    "type": "web_search_call",
                    "status": "completed",
                    "action": {"type": "open_page", "url": "https://example.org"},
                },
                {
                    "id": "ws_3",
                    "type": "web_search_call",
                    "status": "completed",
                    "action": {"type": "find_in_page", "url": "https://example.org", "pattern": "boat"},
                },
            ],
        ),
        [
            ("input_tokens", 1200, "2", M),
            ("cached_input_tokens", 500, "0.20", M),
            ("cache_write_30m_input_tokens", 100, "2.50", M),
            ("cache_write_12h_input_tokens", 200, "2.50", M),
            ("output_tokens", 700, "10", M),
            ("web_searches", 1, "10", 1000),
        ],
        {"input_tokens": 2000, "output_tokens": 700},
        "responses",
    ),
    text(
        "a response that read more than 272,000",
        "gpt-5.4",
        response(
            "gpt-5.4-2026-03-05",
            {
                "input_tokens": 272_001,
                "input_tokens_details": {"cached_tokens": 1, "cache_write_tokens": 0},
                "output_tokens": 1000,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": 273_001,
            },
        ),
        [
            ("input_tokens", 272_000, "5", M),
            ("cached_input_tokens", 1, "0.5", M),
            ("output_tokens", 1000, "22.5", M),
        ],
        {"input_tokens": 272_001, "output_tokens": 1000},
        "responses",
    ),
    text(
        "embeddings",
        "text-embedding-3-small",
        [
            CreateEmbeddingResponse.model_validate(
                {
                    "object": "list",
                    "model": "text-embedding-3-small",
                    "data": [{"object": "embedding", "index": 0, "embedding": []}],
                    "usage": {"prompt_tokens": 777, "total_tokens": 777},
                }
            )
        ],
        [("input_tokens", 777, "0.02", M)],
        {"input_tokens": 777},
        "embedding",
    ),
    Case(
        name="images counted in tokens",
        provider="openai",
        operation="image",
        model="gpt-image-1-mini",
        replies=[
            ImagesResponse.model_validate(
                {"created": 1, "data": [{}], "size": "1024x1536", "quality": "high", "usage": IMAGE_USAGE}
            ),
            ImageGenCompletedEvent.model_validate(
                {
                    "type": "image_generation.completed",
                    "b64_json": "",
                    "background": "opaque",
                    "created_at": 1,
                    "output_format": "png",
                    "quality": "high",
                    "size": "1024x1536",
                    "usage": IMAGE_USAGE,
                }
            ),
        ],
        fixed={"images": 1},
        lines=[("input_tokens", 50, "2", M), ("output_image_tokens", 6240, "8", M)],
        totals={"input_tokens": 50, "output_tokens": 6240},
    ),
    Case(
        name="images without a count",
        provider="openai",
        operation="image",
        model="gpt-image-1-mini",
        replies=[ImagesResponse.model_validate({"created": 1, "data": [{}, {}]})],
        asked={"size": "1024x1536", "quality": "high"},
        lines=[("images", 2, "0.052", 1)],
        totals={},
    ),
    Case(
        name="speech with a count",
        provider="openai",
        operation="speech",
        model="gpt-4o-mini-tts",
        replies=[{"type": "speech.audio.done", "usage": SPEECH_USAGE}],
        fixed={"characters": 1000},
        lines=[("input_tokens", 250, "0.60", M), ("output_audio_tokens", 1250, "12", M)],
        totals={"input_tokens": 250, "output_tokens": 1250},
    ),
    Case(
        name="speech by its characters",
        provider="openai",
        operation="speech",
        model="tts-1",
        replies=[b"..."],
        fixed={"characters": 1000},
        lines=[("characters", 1000, "15", M)],
        totals={},
    ),
    Case(
        name="a transcript counted in tokens",
        provider="openai",
        operation="transcription",
        model="gpt-4o-transcribe",
        replies=[
            Transcription.model_validate({"text": "Boats.", "usage": TRANSCRIPT_USAGE}),
            TranscriptionTextDoneEvent.model_validate(
                {"type": "transcript.text.done", "text": "Boats.", "usage": TRANSCRIPT_USAGE}
            ),
        ],
        lines=[
            ("input_tokens", 14, "2.50", M),
            ("input_audio_tokens", 1000, "6", M),
            ("output_tokens", 45, "10", M),
        ],
        totals={"input_tokens": 1014, "output_tokens": 45},
    ),
    Case(
        name="a transcript counted in seconds",
        provider="openai",
        operation="transcription",
        model="whisper-1",
        replies=[Transcription.model_validate({"text": "Boats.", "usage": {"type": "duration", "seconds": 8.47}})],
        lines=[("audio_seconds", Fraction("8.47"), "0.36", 3600)],
        totals={},
    ),
    Case(
        name="a video, while it could be made",
        provider="openai",
        operation="video",
        model="sora-2",
        replies=[
            Video.model_validate(
                {
                    "id": "video_1",
                    "object": "video",
                    "created_at": 1,
                    "model": "sora-2",
                    "progress": 100,
                    "seconds": "8",
                    "size": "720x1280",
                    "status": "completed",
                }
            )
        ],
        lines=[("video_seconds", 8, "0.10", 1)],
        totals={},
        at="2026-09-24T12:00:00+00:00",
    ),
    Case(
        name="what OpenRouter says it charged",
        provider="openrouter",
        operation="chat",
        model="openai/gpt-5-mini",
        replies=[chat("openai/gpt-5-mini", CHAT_USAGE | {"cost": 0.000777})[0]],
        lines=[("billed_usd", Fraction("0.000777"), "1", 1)],
        totals={"input_tokens": 1200, "output_tokens": 350},
    ),
    Case(
        name="a call that OpenRouter says was free",
        provider="openrouter",
        operation="chat",
        model="openai/gpt-5-mini",
        replies=[chat("openai/gpt-5-mini", CHAT_USAGE | {"cost": 0})[0]],
        lines=[("billed_usd", 0, "1", 1)],
        totals={"input_tokens": 1200, "output_tokens": 350},
    ),
    Case(
        name="a call through OpenRouter with a key of one's own at the model's maker",
        provider="openrouter",
        operation="chat",
        model="openai/gpt-5-mini",
        replies=[
            chat(
                "openai/gpt-5-mini",
                CHAT_USAGE
                | {"cost": 0.00003885, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.000777}},
            )[0]
        ],
        lines=[("billed_usd", Fraction("0.00081585"), "1", 1)],
        totals={"input_tokens": 1200, "output_tokens": 350},
    ),
    Case(
        name="a call through OpenRouter whose maker's charge is told twice",
        provider="openrouter",
        operation="chat",
        model="openai/gpt-5-mini",
        replies=[
            chat(
                "openai/gpt-5-mini",
                CHAT_USAGE
                | {"cost": 0.000777, "is_byok": False, "cost_details": {"upstream_inference_cost": 0.000777}},
            )[0]
        ],
        lines=[("billed_usd", Fraction("0.000777"), "1", 1)],
        totals={"input_tokens": 1200, "output_tokens": 350},
    ),
    Case(
        name="an edited image, with the one that went in",
        provider="openai",
        operation="image",
        model="gpt-image-1-mini",
        replies=[
            ImagesResponse.model_validate(
                {"created": 1, "data": [{}], "size": "1024x1024", "quality": "low", "usage": EDIT_USAGE}
            ),
            picture_event(EDIT_USAGE),
        ],
        fixed={"images": 1},
        lines=[
            ("input_tokens", 50, "2", M),
            ("input_image_tokens", 323, "2.50", M),
            ("output_image_tokens", 272, "8", M),
        ],
        totals={"input_tokens": 373, "output_tokens": 272},
    ),
    Case(
        name="what was said in a session, some of it cached",
        provider="openai",
        operation="chat",
        model="gpt-realtime",
        replies=spoken(REALTIME_USAGE),
        lines=[
            ("input_tokens", 150, "4", M),
            ("cached_input_tokens", 200, "0.40", M),
            ("input_audio_tokens", 300, "32", M),
            ("cached_input_audio_tokens", 300, "0.40", M),
            ("input_image_tokens", 50, "5", M),
            ("output_tokens", 100, "16", M),
            ("output_audio_tokens", 200, "64", M),
        ],
        totals={"input_tokens": 1000, "output_tokens": 300},
    ),
    Case(
        name="what was heard in a session",
        provider="openai",
        operation="transcription",
        model="gpt-4o-transcribe",
        replies=heard(TRANSCRIPT_USAGE),
        lines=[("input_tokens", 14, "2.50", M), ("input_audio_tokens", 1000, "6", M), ("output_tokens", 45, "10", M)],
        totals={"input_tokens": 1014, "output_tokens": 45},
    ),
    Case(
        name="a line of a batch, half the price",
        provider="openai",
        operation="chat",
        model="gpt-5-mini",
        replies=chat("gpt-5-mini-2025-08-07", CHAT_USAGE, "default")[:1],
        asked={"processing": "batch"},
        lines=[
            ("input_tokens", 400, "0.125", M),
            ("cached_input_tokens", 800, "0.0125", M),
            ("output_tokens", 222, "1", M),
            ("reasoning_tokens", 128, "1", M),
        ],
        totals={"input_tokens": 1200, "output_tokens": 350},
    ),
]
