"""Programs of calls, drawn by chance: three providers, every form and ending, faults, and many at once.

A program is run twice, by bare clients and by metered ones, each against stand-ins of its own: what the caller sees
must be the same. The stand-ins keep what they served, which is what the ledger must have. No expectation here is made
by callfare.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import anthropic
import openai
from google import genai
from google.genai import types

from callfare.devtools.fake_anthropic import FakeAnthropic
from callfare.devtools.fake_google import FakeGoogle
from callfare.devtools.fake_openai import FakeOpenAI

BOOK = """
book = "programs"
[[model]]
provider = "openai"
name = "gpt-5-mini"
basis = ["input_tokens", "output_tokens"]
source = "made up for a test"
checked = 2026-11-22
rate = [
  { meter = "input_tokens", usd = "0.25", per = 1_000_000 },
  { meter = "cached_input_tokens", usd = "0.025", per = 1_000_000 },
  { meter = "output_tokens", usd = "2", per = 1_000_000 },
]
[[model]]
provider = "anthropic"
name = "claude-sonnet-5"
basis = ["input_tokens", "output_tokens"]
source = "made up for a test"
checked = 2026-11-22
rate = [
  { meter = "input_tokens", usd = "3", per = 1_000_000 },
  { meter = "cached_input_tokens", usd = "0.30", per = 1_000_000 },
  { meter = "cache_write_input_tokens", usd = "3.75", per = 1_000_000 },
  { meter = "output_tokens", usd = "15", per = 1_000_000 },
]
[[model]]
provider = "google"
name = "gemini-2.5-flash"
basis = ["input_tokens", "output_tokens"]
source = "made up for a test"
checked = 2026-11-22
rate = [
  { meter = "input_tokens", usd = "0.30", per = 1_000_000 },
  { meter = "output_tokens", usd = "2.50", per = 1_000_000 },
]
"""


@dataclass(frozen=True)
class Served:
    """A reply as the provider counts it: what went in fresh, from the cache and into it, and what came out."""

    fresh: int
    cached: int
    written: int
    out: int

    @property
    def usd(self) -> Mapping[str, Fraction]:
        """What it costs at each provider, by the rates above, in dollars."""
        million = 10**6
        return {
            "openai": (self.fresh * Fraction("0.25") + self.cached * Fraction("0.025") + self.out * 2) / million,
            "anthropic": (
                self.fresh * 3 + self.cached * Fraction("0.3") + self.written * Fraction("3.75") + self.out * 15
            )
            / million,
            "google": (self.fresh * Fraction("0.3") + self.out * Fraction("2.5")) / million,
        }


def counted(used: Mapping[str, Any]) -> Served:
    """Return a usage object of any of the providers as what it says."""
    if "promptTokenCount" in used:
        out = used["candidatesTokenCount"] + used.get("thoughtsTokenCount", 0)
        return Served(used["promptTokenCount"], 0, 0, out)
    if "cache_read_input_tokens" in used:
        cached, written = used["cache_read_input_tokens"], used["cache_creation_input_tokens"]
        return Served(used["input_tokens"], cached, written, used["output_tokens"])
    whole = used.get("prompt_tokens", used.get("input_tokens", 0))
    parts = used.get("prompt_tokens_details") or used.get("input_tokens_details") or {}
    out = used.get("completion_tokens", used.get("output_tokens", 0))
    return Served(whole - parts.get("cached_tokens", 0), parts.get("cached_tokens", 0), 0, out)


@dataclass
class Providers:
    """The three stand-ins, and what they served: reply id → provider and count."""

    served: dict[str, tuple[str, Served]] = field(default_factory=dict)
    made: list[Any] = field(default_factory=list)

    def tallying(self, kind: type, provider: str) -> Any:
        """Return a stand-in that keeps what it serves."""
        served = self.served

        class Handler(kind.handler):  # type: ignore[name-defined, misc]  # of any of the three
            def spoiled(self, reply: Any, name: str = "usage") -> Any:
                told = super().spoiled(reply, name)
                reply_id = reply.get("id") or reply.get("responseId")
                if reply_id:
                    served[reply_id] = (provider, counted(reply[name]))
                return told

        return type(kind.__name__, (kind,), {"handler": Handler})()


@contextmanager
def providers() -> Iterator[Providers]:
    """The stand-ins, while they are there."""
    held = Providers()
    with ExitStack() as stack:
        for kind, provider in ((FakeOpenAI, "openai"), (FakeAnthropic, "anthropic"), (FakeGoogle, "google")):
            held.made.append(stack.enter_context(held.tallying(kind, provider)))
        yield held


@dataclass(frozen=True)
class Step:
    """One call: of which provider, in which form, what goes wrong, and how the caller leaves it."""

    provider: str
    form: str
    ending: str
    after: int
    fault: str
    words: str

    @property
    def headers(self) -> dict[str, str]:
        """What tells the stand-in how to fail."""
        return {"x-fake-fault": self.fault} if self.fault else {}


FORMS = {
    "openai": ("chat", "chat stream", "chat raw", "chat streaming raw", "responses", "responses stream", "helper"),
    "anthropic": ("plain", "stream", "helper", "raw", "cached"),
    "google": ("plain", "stream", "chat"),
}
RAW = ("chat raw", "chat streaming raw", "raw")
ENDINGS = ("whole", "whole", "break", "close", "raise", "drop", "next", "resume")
FAULTS = (
    "",
    "",
    "",
    "",
    "drop_after=0",
    "drop_after=2",
    "drop_after=9",
    "error_after=3",
    "status=429,retry_after=0",
    "status=500,retry_after=0",
)


class Left(Exception):
    """What a caller raises in the middle of a stream."""


def steps_of(chance: random.Random, count: int) -> list[Step]:
    """Return a program."""
    made: list[Step] = []
    for number in range(count):
        provider = chance.choice(list(FORMS))
        words = " ".join(chance.choices(("lighthouse", "sea", "stórm", "keeper", "night"), k=chance.randint(1, 30)))
        form, ending = chance.choice(FORMS[provider]), chance.choice(ENDINGS)
        fault = chance.choice(FAULTS)
        made.append(Step(provider, form, ending, chance.randint(0, 6), fault, f"{number} {words}"))
    return made


class Clients:
    """Clients of one side, bare or metered, sync or async: made anew, copied and wrapped again as chance has it."""

    def __init__(self, held: Providers, wrap: Callable[[Any], Any], chance: random.Random, *, is_async: bool) -> None:
        ai, claude, gemini = (fake.base_url for fake in held.made)
        kinds = (openai.AsyncOpenAI, anthropic.AsyncAnthropic) if is_async else (openai.OpenAI, anthropic.Anthropic)
        bare = kinds[0](base_url=ai, api_key="none", max_retries=0)
        retrying = bare.with_options(max_retries=1)
        self.openai = [
            wrap(bare),
            wrap(wrap(bare)),
            wrap(bare).with_options(timeout=60),
            wrap(bare.copy()),
            wrap(retrying),
        ]
        self.anthropic = [wrap(kinds[1](base_url=claude, api_key="none", max_retries=0))]
        given = genai.Client(api_key="none", http_options={"base_url": gemini})
        self.google = [wrap(given).aio if is_async else wrap(given)]
        self.chance = chance

    def any_of(self, provider: str) -> Any:
        """Return one of the clients of a provider."""
        return self.chance.choice(getattr(self, provider))


def begin(client: Any, step: Step) -> Any:
    """Begin a call: return what the SDK returns, to be awaited where it must be."""
    said = [{"role": "user", "content": step.words}]
    if step.provider == "google":
        config = types.GenerateContentConfig(http_options=types.HttpOptions(headers=step.headers))
        if step.form == "chat":
            return client.chats.create(model="gemini-2.5-flash", config=config).send_message(step.words)
        ask = client.models.generate_content_stream if step.form == "stream" else client.models.generate_content
        return ask(model="gemini-2.5-flash", contents=step.words, config=config)
    if step.provider == "anthropic":
        told: dict[str, Any] = {"model": "claude-sonnet-5", "max_tokens": 300, "extra_headers": step.headers}
        if step.form == "cached":
            said = [{"role": "user", "content": [{"type": "text", "text": step.words, "cache_control": CACHED}]}]
        if step.form == "helper":
            return client.messages.stream(messages=said, **told)
        messages = client.messages.with_raw_response if step.form == "raw" else client.messages
        return messages.create(messages=said, stream=step.form == "stream", **told)
    told = {"model": "gpt-5-mini", "extra_headers": step.headers}
    if step.form.startswith("responses"):
        return client.responses.create(input=step.words, stream=step.form.endswith("stream"), **told)
    if step.form == "helper":
        return client.chat.completions.stream(messages=said, **told)
    if step.form == "chat raw":
        return client.chat.completions.with_raw_response.create(messages=said, **told)
    if step.form == "chat streaming raw":
        return client.chat.completions.with_streaming_response.create(messages=said, **told)
    return client.chat.completions.create(messages=said, stream=step.form == "chat stream", **told)


CACHED = {"type": "ephemeral"}


def shown(event: Any) -> str:
    """Return what a caller can see of a reply or an event, but for ids, which tell only who came first."""
    if hasattr(event, "model_dump"):
        told = event.model_dump(mode="json", exclude_none=True, warnings=False)
        return str(without_ids(told))
    return type(event).__name__


def without_ids(told: Any) -> Any:
    """Return plain data without ids, and without the headers of the connection."""
    if isinstance(told, dict):
        hidden = ("id", "response_id", "item_id", "sdk_http_response")
        return {name: without_ids(part) for name, part in told.items() if name not in hidden}
    return [without_ids(part) for part in told] if isinstance(told, list) else told


@dataclass
class Seen:
    """What one step showed its caller: events, and how it ended. `is_whole` when nothing was left out."""

    events: list[str] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    error: str = ""
    is_whole: bool = False

    def add(self, event: Any) -> None:
        self.events.append(shown(event))
        inner = next((part for name in ("message", "response", "chunk") if (part := getattr(event, name, None))), event)
        for name in ("id", "response_id"):
            told = getattr(inner, name, None)
            if isinstance(told, str) and told.startswith(("chatcmpl", "resp", "msg", "content")):
                self.ids.add(told)


def perform(client: Any, step: Step) -> Seen:
    """Do one step with a sync client."""
    seen = Seen()
    try:
        result = begin(client, step)
        if step.form in ("helper", "chat streaming raw"):
            with result as opened:
                _read(opened, step, seen)
        else:
            _read(result, step, seen)
    except Exception as error:  # noqa: BLE001 - what the SDK raises is compared
        seen.error = type(error).__name__
    return seen


def _read(result: Any, step: Step, seen: Seen) -> None:
    result = result.parse() if step.form in RAW else result
    if not hasattr(result, "__next__"):
        seen.add(result)
        seen.is_whole = True
        return
    if step.ending == "drop":
        return
    if step.ending == "next":
        seen.add(next(result))
        return
    for number, event in enumerate(result):
        seen.add(event)
        if number == step.after and step.ending in ("break", "resume"):
            break
        if number == step.after and step.ending == "close" and hasattr(result, "close"):
            result.close()
            return
        if number == step.after and step.ending == "raise":
            raise Left
    else:
        seen.is_whole = True
        return
    if step.ending == "resume":
        for event in result:
            seen.add(event)
        seen.is_whole = True


async def perform_async(client: Any, step: Step) -> Seen:
    """Do one step with an async client."""
    seen = Seen()
    try:
        result = begin(client, step)
        if step.form in ("helper", "chat streaming raw"):
            async with result as opened:
                await _read_async(opened, step, seen)
        else:
            await _read_async(await result, step, seen)
    except Exception as error:  # noqa: BLE001 - what the SDK raises is compared
        seen.error = type(error).__name__
    return seen


async def _read_async(result: Any, step: Step, seen: Seen) -> None:
    if step.form in RAW:
        result = result.parse()
        result = await result if asyncio.iscoroutine(result) else result
    if not hasattr(result, "__anext__"):
        seen.add(result)
        seen.is_whole = True
        return
    if step.ending == "drop":
        return
    if step.ending == "next":
        seen.add(await anext(result))
        return
    number = -1
    async for event in result:
        number += 1
        seen.add(event)
        if number == step.after and step.ending in ("break", "resume"):
            break
        if number == step.after and step.ending == "close" and hasattr(result, "close"):
            await result.close()
            return
        if number == step.after and step.ending == "raise":
            raise Left
    else:
        seen.is_whole = True
