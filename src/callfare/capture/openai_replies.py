"""What follows from OpenAI's replies: which settlement a call has earned. Decides, and leaves the doing to the caller.

A reply with a count is charged by it; one without is charged by what can be seen of it, flagged as estimated. A job is
pending until its end is seen. Refuses to charge what the provider says it failed to do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec.structs import replace

from callfare.capture.dialect import Request, text_bytes, tokens_of_bytes
from callfare.capture.settlements import Settlement
from callfare.usage.extract import Reading, with_estimates
from callfare.usage.fields import field_of, members_of
from callfare.usage.quantities import Quantity

_TEXTS = frozenset({"content", "refusal", "reasoning_content"})
# What some providers call reasoning_content, and a few tell under both names.
_REASONING = "reasoning"


def settlement_of(request: Request, reply: object, *, written_bytes: int | None = None) -> Settlement:
    """Return what a whole reply, or all that came of one, has earned.

    written_bytes: the text received in a stream; None to count the text in the reply.
    """
    intent = request.intent
    reading = request.read(reply)
    if intent.operation == "video":
        return _settlement_of_video(request, reading, field_of(reply, "status"))
    is_job = intent.operation == "responses" and bool(field_of(reply, "background"))
    if not reading.incomplete:
        return Settlement("settle", reading, is_job=is_job)
    written = sum(text_bytes(text) for text in texts_in(reply)) if written_bytes is None else written_bytes
    status = field_of(reply, "status") if intent.operation == "responses" else None
    estimate = replace(reading, usage=_estimated_usage(request, reading, written))
    if is_job and status in ("queued", "in_progress") and reading.response_id:
        return Settlement("pend", estimate, is_job=True)
    if status in ("failed", "cancelled") and not written and not reading.usage:
        return Settlement("release", reading, is_job=is_job)
    return Settlement("settle", estimate, estimated=True, is_job=is_job)


def texts_in(reply: object) -> Iterator[object]:
    """Yield the texts of a chat reply, of a chunk of one, or of a response."""
    for choice in _list_of(field_of(reply, "choices")):
        yield from texts_of_choice(members_of(choice))
    for item in _list_of(field_of(reply, "output")):
        yield field_of(item, "arguments")
        for part in (*_list_of(field_of(item, "content")), *_list_of(field_of(item, "summary"))):
            yield field_of(part, "text")
            yield field_of(part, "refusal")


def texts_of_choice(choice: Mapping[str, object]) -> list[object]:
    """Return the texts of one choice of a chat reply, or of a chunk of one."""
    message = choice.get("delta") or choice.get("message")
    if message is None:
        return [choice.get("text")]
    texts: list[object] = []
    members = members_of(message)
    for name, part in members.items():
        if not part or name == "role":
            continue
        if name in _TEXTS or (name == _REASONING and not members.get("reasoning_content")):
            texts.append(part)
        elif name in ("function_call", "audio"):
            texts.append(field_of(part, "arguments") or field_of(part, "transcript"))
        elif name == "tool_calls":
            texts += [field_of(field_of(call, "function"), "arguments") for call in _list_of(part)]
    return texts


def _list_of(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _settlement_of_video(request: Request, reading: Reading, status: object) -> Settlement:
    if request.keeps_quantity:
        reading = replace(reading, usage=dict(request.intent.usage))
    if status == "failed":
        return Settlement("release", reading, is_job=True)
    if status == "completed":
        return Settlement("settle", reading, is_job=True)
    if reading.response_id:
        return Settlement("pend", reading, is_job=True)
    return Settlement("settle", reading, estimated=True)


def _estimated_usage(request: Request, reading: Reading, written_bytes: int) -> dict[str, Quantity]:
    """Return what the reply counted, and for the rest what the request fixed and the text that came."""
    fixed = dict(request.intent.usage)
    if request.intent.operation in ("chat", "responses"):
        fixed["output_tokens"] = tokens_of_bytes(written_bytes)
    return with_estimates(reading.usage, fixed)
