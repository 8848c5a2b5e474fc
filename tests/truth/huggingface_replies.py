"""Replies of servers behind Hugging Face's router, from the types of its own SDK."""

from __future__ import annotations

from huggingface_hub import ChatCompletionOutput, ChatCompletionStreamOutput

from tests.truth.cases import Case

M = 1_000_000
MODEL = "openai/gpt-oss-120b"
USAGE = {
    "prompt_tokens": 1200,
    "completion_tokens": 350,
    "total_tokens": 1550,
    "prompt_tokens_details": {"cached_tokens": 800},
    "completion_tokens_details": {"reasoning_tokens": 128},
}
TOLD = {"id": "chatcmpl-1", "created": 1, "model": MODEL, "system_fingerprint": "fp", "usage": USAGE}
CHOICE = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Yes."}}


def case(provider, in_usd, out_usd):
    return Case(
        name="a chat, cached and thought at one rate",
        provider=provider,
        operation="chat",
        model=MODEL,
        replies=[
            ChatCompletionOutput.parse_obj_as_instance(TOLD | {"choices": [CHOICE]}),
            ChatCompletionStreamOutput.parse_obj_as_instance(TOLD | {"choices": []}),
        ],
        lines=[
            ("input_tokens", 400, in_usd, M),
            ("cached_input_tokens", 800, in_usd, M),
            ("output_tokens", 222, out_usd, M),
            ("reasoning_tokens", 128, out_usd, M),
        ],
        totals={"input_tokens": 1200, "output_tokens": 350},
    )


# The same model, wherever the router sends it: each server has its own price.
CASES = [case("huggingface_together", "0.15", "0.60"), case("huggingface_novita", "0.05", "0.25")]
