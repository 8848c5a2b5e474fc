"""What sessions over web sockets tell, and interactions, from the types of the SDKs."""

from __future__ import annotations

from google.genai.interactions import Interaction, InteractionCompletedEvent
from google.genai.types import LiveServerMessage
from openai.types.responses import Response
from openai.types.responses.responses_server_event import ResponseWsCompleted

from callfare.usage.google import read_interaction, read_live
from tests.truth.cases import Case

M = 1_000_000


def turn(**usage):
    """A message that ends a turn, as it comes over the socket."""
    told = {"server_content": {"turn_complete": True}, "usage_metadata": usage}
    message = LiveServerMessage.model_validate(told).model_dump(mode="json", by_alias=True, exclude_none=True)
    return message | {"modelVersion": "gemini-live-2.5-flash"}


def by_kind(**counts):
    return [{"modality": kind.upper(), "token_count": count} for kind, count in counts.items()]


def interactions(**told):
    """An interaction, as the SDK has it, as JSON, and within the last event of its stream."""
    whole = {"id": "i1", "created": "2026-11-22T12:00:00Z", "updated": "2026-11-22T12:00:00Z", "steps": []} | told
    made = Interaction.model_validate(whole | {"status": "completed"})
    event = InteractionCompletedEvent.model_validate({"interaction": whole | {"status": "completed"}})
    return [made, made.model_dump(mode="json", exclude_none=True), event.interaction]


def by_modality(**counts):
    return [{"modality": kind, "tokens": count} for kind, count in counts.items()]


def response_over_a_socket(**used):
    """A response, and the event that ends it in its lane."""
    told = {"id": "resp_1", "object": "response", "created_at": 1, "model": "gpt-5-mini-2025-08-07", "output": []}
    told |= {"status": "completed", "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "usage": used}
    event = {"type": "response.completed", "sequence_number": 9, "stream_id": "lane", "response": told}
    return [Response.model_validate(told), ResponseWsCompleted.model_validate(event)]


CASES = [
    Case(
        name="a turn of a live session that heard, saw and spoke",
        provider="google",
        operation="chat",
        model="gemini-live-2.5-flash",
        reader=read_live,
        replies=[
            turn(
                prompt_token_count=1000,
                prompt_tokens_details=by_kind(text=300, audio=500, image=150, video=50),
                tool_use_prompt_token_count=20,
                response_token_count=500,
                response_tokens_details=by_kind(audio=400, text=100),
                thoughts_token_count=80,
                total_token_count=1600,
            )
        ],
        lines=[
            ("input_tokens", 320, "0.50", M),
            ("input_audio_tokens", 500, "3", M),
            ("input_image_tokens", 150, "3", M),
            ("input_video_tokens", 50, "3", M),
            ("output_tokens", 100, "2", M),
            ("output_audio_tokens", 400, "12", M),
            ("reasoning_tokens", 80, "2", M),
        ],
        totals={"input_tokens": 1020, "output_tokens": 580},
    ),
    Case(
        name="a turn of a live session that wrote nothing, of which a zero is not told",
        provider="google",
        operation="chat",
        model="gemini-live-2.5-flash",
        reader=read_live,
        replies=[turn(prompt_token_count=2000, prompt_tokens_details=by_kind(audio=2000), total_token_count=2000)],
        lines=[("input_audio_tokens", 2000, "3", M)],
        totals={"input_tokens": 2000},
    ),
    Case(
        name="an interaction that searched, with a cache, a picture and sound",
        provider="google",
        operation="responses",
        model="gemini-2.5-flash",
        reader=read_interaction,
        replies=interactions(
            model="gemini-2.5-flash",
            usage={
                "total_input_tokens": 1000,
                "input_tokens_by_modality": by_modality(text=600, image=258, audio=142),
                "total_cached_tokens": 200,
                "cached_tokens_by_modality": by_modality(text=200),
                "total_tool_use_tokens": 40,
                "total_output_tokens": 300,
                "output_tokens_by_modality": by_modality(text=300),
                "total_thought_tokens": 60,
                "total_tokens": 1400,
                "grounding_tool_count": [{"type": "google_search", "count": 2}, {"type": "retrieval", "count": 1}],
            },
        ),
        lines=[
            ("input_tokens", 440, "0.30", M),
            ("cached_input_tokens", 200, "0.03", M),
            ("input_image_tokens", 258, "0.30", M),
            ("input_audio_tokens", 142, "1", M),
            ("output_tokens", 300, "2.50", M),
            ("reasoning_tokens", 60, "2.50", M),
            ("web_searches", 2, "35", 1000),
        ],
        totals={"input_tokens": 1040, "output_tokens": 360},
    ),
    Case(
        name="a response over a web socket",
        provider="openai",
        operation="responses",
        model="gpt-5-mini",
        replies=response_over_a_socket(
            input_tokens=1200,
            input_tokens_details={"cached_tokens": 800, "cache_write_tokens": 0},
            output_tokens=350,
            output_tokens_details={"reasoning_tokens": 128},
            total_tokens=1550,
        ),
        lines=[
            ("input_tokens", 400, "0.25", M),
            ("cached_input_tokens", 800, "0.025", M),
            ("output_tokens", 222, "2", M),
            ("reasoning_tokens", 128, "2", M),
        ],
        totals={"input_tokens": 1200, "output_tokens": 350},
    ),
]
