"""What the servers behind Hugging Face's SDK say: who they are, what requests fix, what replies and streams earn.

Those that write and embed speak as OpenAI does, or as Text Generation Inference; of the others hardly one counts, so a
picture is a picture, sound is its seconds, speech its characters, and anything else one call. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any
from urllib.parse import urlsplit

from msgspec.structs import replace

from callfare.capture import openai_replies, openai_requests
from callfare.capture.base import Intent
from callfare.capture.dialect import (
    Request,
    bare_intent,
    plausible_attributes,
    plausible_usage,
    text_bytes,
)
from callfare.capture.openai_dialect import OpenAIDialect
from callfare.capture.openai_tallies import ChatTally
from callfare.capture.providers import provider_at
from callfare.capture.settlements import Settlement
from callfare.capture.single import NO_ANSWER, released
from callfare.capture.tallies import Counting, ReplyTally, Tally
from callfare.usage.fields import field_of, list_of, members_of, sum_of

MAKER = "huggingface"
_ROUTER = "router.huggingface.co"
# By which rule the router is to choose a server, in the place of the server's name.
_POLICIES = {"fastest", "cheapest", "preferred"}
_OPERATIONS = {
    "conversational": "chat",
    "text-generation": "chat",
    "feature-extraction": "embedding",
    "text-to-image": "image",
    "image-to-image": "image",
    "automatic-speech-recognition": "transcription",
    "text-to-speech": "speech",
    "text-to-video": "video",
    "image-to-video": "video",
}
# What the SDK says in the place of a model where only an address is known.
_NO_MODEL = ("dummy", "tgi")
_DATA, _DONE = "data:", "data: [DONE]"
# What a line says that must be read: a count, a fault, or words beside the content.
_SAYS_MORE = re.compile(r'"(?:usage"(?!:null)|error|reasoning|tool_calls"(?!:null)|x_groq)').search


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a method was called with: the model as people name it, and what was given to that.

    seconds: how long given sound lasts, where that can be told.
    """

    model: str = ""
    given: object = None
    seconds: Fraction | None = None


@dataclass(frozen=True, slots=True)
class HuggingFaceDialect:
    """The servers behind the SDK.

    provider: who answers; None for whose address it is.
    named: the server that the client names, who is taken to answer at an address that is nobody's.
    """

    provider: str | None = None
    named: str = ""

    def asked_of(self, asked: Asked, parameters: Any, *, is_stream: bool, asks_usage: bool) -> Request:
        """Return a request with what it fixes, changed to ask for its usage where that must be asked for."""
        url, body = str(parameters.url), parameters.json
        operation = _OPERATIONS.get(parameters.task, parameters.task)
        provider, model = self.whose(url, asked.model, str(parameters.model or ""), members_of(body))
        fields = dict(members_of(body)) | _in_words(members_of(body))
        if operation in ("chat", "embedding"):
            spoken = openai_requests.request_of(
                "/chat/completions",
                dialect=_SPEAKING_AS_OPENAI,
                provider=provider,
                operation=operation,
                base_url=_base_of(url),
                body=fields,
                options={},
                is_stream=is_stream,
            )
            request = replace(
                spoken, intent=replace(spoken.intent, model=model), dialect=self, body=body, options={}, plain=None
            )
            # Only servers that speak as OpenAI does can be asked, where the caller has not asked already.
            if spoken.plain is None or parameters.task != "conversational" or not asks_usage:
                return request
            asking = field_of(spoken.body, "stream_options")
            return replace(request, body={**members_of(body), "stream_options": asking}, plain=request)
        intent = Intent(
            provider=provider,
            base_url=_base_of(url),
            operation=operation,
            model=model,
            usage=plausible_usage(_fixed_by(operation, asked, fields)),
            attributes=plausible_attributes(_attributes_of(operation, fields)),
        )
        return Request(intent=intent, dialect=self, body=body, is_stream=is_stream, is_evented=is_stream)

    def bare_asked(self, parameters: Any, *, is_stream: bool) -> Request:
        """Return a request of which nothing is known but its task."""
        task = str(getattr(parameters, "task", ""))
        intent = bare_intent(self.provider or MAKER, _OPERATIONS.get(task, task), "")
        body = getattr(parameters, "json", None)
        return Request(intent=intent, dialect=self, body=body, is_stream=is_stream, is_evented=is_stream)

    def whose(self, url: str, asked: str, mapped: str, body: Mapping[Any, Any]) -> tuple[str, str]:
        """Return who answers, and the name under which that has a price.

        Behind the router a server has prices of its own, under Hugging Face's names of models; one that the router
        chooses is not known, unless the model's name ends in the server's. Elsewhere a server's names are its own.
        asked, mapped: a model as the caller names it and as the server does; either may be an address instead.
        """
        place = urlsplit(url)
        if place.hostname != _ROUTER:
            names = [name for name in (mapped, str(body.get("model") or ""), asked) if _is_name(name)]
            # Where an address stands for the model, nobody is named.
            is_named = self.named not in ("", "auto") and _is_name(mapped)
            provider = provider_at(url, self.named if is_named else MAKER)
            return self.provider or provider, names[0] if names else place.hostname or ""
        first = place.path.strip("/").partition("/")[0]
        name, _, chosen = (asked or mapped).partition(":")
        if first != "v1":
            chosen = first
        is_known = chosen and chosen not in _POLICIES
        return self.provider or (f"{MAKER}_{chosen}" if is_known else MAKER), name

    def tally_of(self, request: Request) -> Tally:
        """Return an empty tally for the lines of a stream."""
        return LineTally(request) if request.is_stream else ReplyTally(lambda _: 0)

    def settlement_of(self, request: Request, reply: object, *, written_bytes: int | None = None) -> Settlement:
        """Return what a reply has earned: bytes as they came, or what a stream's lines add up to."""
        told = told_by(request, _content_of(reply) if isinstance(reply, bytes) else reply)
        if request.intent.operation == "video":
            # The SDK waits for its end by itself, so what it was told first is not a job of the caller's.
            reading = request.read(told)
            settlement = Settlement("settle", reading, estimated=reading.incomplete)
        else:
            settlement = openai_replies.settlement_of(request, told, written_bytes=written_bytes)
        if urlsplit(request.intent.base_url).hostname != _ROUTER:
            return settlement
        return replace(settlement, reading=replace(settlement.reading, model=request.intent.model))

    def after_failure(self, request: Request, reply: object, error: BaseException) -> Settlement:
        """Return what a call has earned that raised: nothing, unless it was answered."""
        return released(request) if reply is NO_ANSWER else self.settlement_of(request, reply)


_SPEAKING_AS_OPENAI = OpenAIDialect(maker=MAKER)


def _is_name(model: str) -> bool:
    return bool(model) and model not in _NO_MODEL and not model.startswith(("http://", "https://"))


def told_by(request: Request, content: object) -> dict[str, object] | None:
    """Return what a reply tells, in the words of OpenAI's API."""
    first = content[0] if isinstance(content, list) and content else content
    told = dict(members_of(first)) if isinstance(first, Mapping) else {}
    details = field_of(first, "details")
    if told.get("model") in _NO_MODEL:
        del told["model"]
    match request.intent.operation:
        case "chat" if "generated_text" in told:
            told["choices"] = [{"text": told["generated_text"]}]
            if details is not None:
                told["usage"] = tokens_of(details)
        case "image":
            made = next((told[name] for name in ("data", "images", "output") if isinstance(told.get(name), list)), None)
            told["data"] = [None] if made is None else made
        case "embedding" if not isinstance(content, Mapping):
            return None
    return told


def tokens_of(details: object) -> dict[str, object]:
    """Return the tokens that Text Generation Inference counts, in OpenAI's words; of several tries, of all."""
    tries = [field_of(one, "generated_tokens") for one in list_of(field_of(details, "best_of_sequences"))]
    written = field_of(details, "generated_tokens")
    read = field_of(details, "input_length")
    prefill = field_of(details, "prefill")
    if read is None and prefill:
        read = len(list_of(prefill))
    counted = {"prompt_tokens": read, "completion_tokens": sum_of([written, *tries]) if tries else written}
    return {name: count for name, count in counted.items() if count is not None}


def _content_of(reply: bytes) -> object:
    """Return the JSON of a reply, or nothing for one of a picture or of sound."""
    if reply[:1] not in (b"{", b"["):
        return {}
    try:
        return json.loads(reply)
    except (ValueError, RecursionError):
        return None


def _in_words(body: Mapping[Any, Any]) -> dict[str, object]:
    """Return what a body for Text Generation Inference or for a pipeline says in OpenAI's words."""
    if "inputs" not in body:
        return {}
    inputs, asked = body["inputs"], members_of(body.get("parameters"))
    told: dict[str, object] = {"input": inputs}
    if asked.get("max_new_tokens") is not None:
        told["max_tokens"] = asked["max_new_tokens"]
    if asked.get("best_of") is not None:
        told["n"] = asked["best_of"]
    return told | {name: asked[name] for name in ("width", "height", "target_size") if name in asked}


def _fixed_by(operation: str, asked: Asked, fields: Mapping[str, object]) -> dict[str, object]:
    """Return the quantities that a request fixes, unchecked."""
    match operation:
        case "speech":
            return {"characters": len(asked.given)} if isinstance(asked.given, str) else {}
        case "image":
            return {"images": 1}
        case "transcription":
            return {} if asked.seconds is None else {"audio_seconds": asked.seconds}
        case "video":
            seconds = fields.get("seconds", fields.get("duration"))
            return {} if seconds is None else {"video_seconds": seconds}
        case _:
            return {"calls": 1}


def _attributes_of(operation: str, fields: Mapping[str, object]) -> dict[str, object]:
    size = members_of(fields.get("image_size") or fields.get("target_size") or fields)
    width, height = size.get("width"), size.get("height")
    if operation not in ("image", "video") or type(width) is not int or type(height) is not int:
        return {}
    return {"size": f"{width}x{height}"}


def _base_of(url: str) -> str:
    place = urlsplit(url)
    return f"{place.scheme}://{place.netloc}"


class LineTally(Counting):
    """Lines of a stream: server-sent events, each a chunk of a chat or a token of Text Generation Inference.

    The SDK passes over lines without an event and reads no further than the last one, so those are not shown to it
    and this one is the end.
    """

    __slots__ = ("_chunks",)

    def __init__(self, request: Request) -> None:
        super().__init__()
        self._chunks = ChatTally(request)

    def takes_lightly(self, event: str) -> bool:
        """Take in a line with a word of one choice and nothing else."""
        before, found, rest = event.partition('"content":"')
        if not found or self.reply is None or not event.isascii():
            return False
        text, _, after = rest.partition('"')
        if '"finish_reason":null' not in after or "\\" in text or _SAYS_MORE(before) or _SAYS_MORE(after):
            return False
        self._chunks.written_bytes = self.written_bytes = self.written_bytes + len(text)
        return True

    def take(self, event: object) -> bool:
        """Take in a line."""
        # Lines of older majors of the SDK are bytes.
        line = event.decode("utf-8", "replace") if isinstance(event, bytes) else event
        if not isinstance(line, str):
            return False
        if line.strip() == _DONE:
            self.is_final, self.awaits_count = self.is_counted, False
            return False
        told = _event_in(line)
        if told is None:
            return not line.startswith(_DATA)
        if "token" in told:
            self._take_token(told)
            return False
        is_hidden = self._chunks.take(told)
        chunks = self._chunks
        self.reply, self.written_bytes = chunks.reply, chunks.written_bytes
        self.is_counted, self.is_final, self.awaits_count = chunks.is_counted, chunks.is_final, chunks.awaits_count
        return is_hidden

    def _take_token(self, told: Mapping[str, object]) -> None:
        token = members_of(told["token"])
        if not token.get("special"):
            self.written_bytes += text_bytes(token.get("text"))
        if told.get("details") is not None:
            self.end({"usage": tokens_of(told["details"])})


def _event_in(line: str) -> Mapping[str, object] | None:
    if not line.startswith(_DATA):
        return None
    try:
        told = json.loads(line[len(_DATA) :])
    except (ValueError, RecursionError):
        return None
    return told if isinstance(told, dict) else None
