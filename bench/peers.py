"""What metering adds to a call of the real OpenAI SDK, and what the usual instrumentations add, on the same calls.

Runs in an environment of its own, which `bench/capture.py` makes: `python -m bench.peers ROUNDS BATCHES` prints JSON.
Each instrumentation is applied once; what it put into the SDK's classes is kept, and put back for its own batches only.
Batches of bare and of instrumented calls take turns, both on a transport that answers at once without a socket. Time is
the process's; from callfare's, the time inside the committer's `commit` is taken off, and nothing else: making the
command that is committed counts, and so does what the commit has pushed out of the processor's caches.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import httpx2
import langfuse
import openai
from openai import _base_client
from openai.resources.chat import completions
from openai.resources.responses import responses
from openinference.instrumentation.openai import OpenAIInstrumentor as OpenInference
from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor as OpenTelemetry
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

from callfare import Callfare

_PLAIN_BATCH = 20
_EVENTS = 2000
_PATCHED = (
    completions.Completions,
    completions.AsyncCompletions,
    responses.Responses,
    responses.AsyncResponses,
    _base_client.SyncAPIClient,
    _base_client.AsyncAPIClient,
    openai.OpenAI,
    openai.AsyncOpenAI,
)
_MESSAGES: Any = [{"role": "user", "content": "Is it so?"}]
_USED = {
    "prompt_tokens": 1200,
    "completion_tokens": 350,
    "total_tokens": 1550,
    "prompt_tokens_details": {"cached_tokens": 800},
}
_HEAD = {"object": "chat.completion", "created": 1_795_000_000, "model": "gpt-5-mini"}


class _Nowhere(SpanExporter):
    """Takes spans and keeps none."""

    def export(self, spans: Any) -> SpanExportResult:
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Have nothing to do."""


@dataclass
class Variant:
    """A way to make the calls: a client, and what stands in the SDK's classes meanwhile.

    beside_s: the time, so far, that is not counted.
    """

    name: str
    client: Any
    patches: list[tuple[type, str, Any, Any]] = field(default_factory=list)
    beside_s: Callable[[], float] = lambda: 0.0

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Have the SDK instrumented meanwhile."""
        for kind, name, patched, _ in self.patches:
            setattr(kind, name, patched)
        try:
            yield
        finally:
            for kind, name, _, original in self.patches:
                _restored(kind, name, original)


def _restored(kind: type, name: str, original: Any) -> None:
    if original is None:
        delattr(kind, name)
    else:
        setattr(kind, name, original)


def instrumented(name: str, client: Any, instrument: Callable[[], object]) -> Variant:
    """Return a variant with what an instrumentation puts into the SDK's classes, which are left as they were."""
    before = {kind: dict(vars(kind)) for kind in _PATCHED}
    instrument()
    patches = [
        (kind, attribute, value, before[kind].get(attribute))
        for kind in _PATCHED
        for attribute, value in list(vars(kind).items())
        if before[kind].get(attribute) is not value and not attribute.startswith("__")
    ]
    assert patches, f"{name} changed nothing"
    for kind, attribute, _, original in patches:
        _restored(kind, attribute, original)
    return Variant(name, client, patches)


def transport() -> httpx2.MockTransport:
    """Return a transport that answers at once: JSON, or a stream where one is asked for."""
    numbers = iter(range(10**9))
    choice = {"index": 0, "message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}

    def chunk(delta: object, reason: str | None = None) -> dict[str, Any]:
        return {
            **_HEAD,
            "object": "chat.completion.chunk",
            "choices": [{"index": 0, "delta": delta, "finish_reason": reason}],
        }

    chunks = [chunk({"role": "assistant", "content": ""}), *[chunk({"content": " word"})] * _EVENTS, chunk({}, "stop")]
    chunks.append({**_HEAD, "object": "chat.completion.chunk", "choices": [], "usage": _USED})

    def answer(request: httpx2.Request) -> httpx2.Response:
        # An id of its own for each answer: the same response charges once.
        told = {"id": f"chatcmpl-{next(numbers)}"}
        if b'"stream":true' not in request.content.replace(b" ", b""):
            return httpx2.Response(
                200, content=json.dumps({**_HEAD, **told, "choices": [choice], "usage": _USED}).encode()
            )
        body = (
            b"".join(b"data: " + json.dumps({**one, **told}).encode() + b"\n\n" for one in chunks) + b"data: [DONE]\n\n"
        )
        return httpx2.Response(200, content=body, headers={"content-type": "text/event-stream"})

    return httpx2.MockTransport(answer)


def plain(client: Any) -> None:
    """Make a batch of plain calls."""
    for _ in range(_PLAIN_BATCH):
        client.chat.completions.create(model="gpt-5-mini", messages=_MESSAGES, max_tokens=400)


def streamed(client: Any) -> None:
    """Read one long stream to its end."""
    asked: Any = {"include_usage": True}
    for _ in client.chat.completions.create(
        model="gpt-5-mini", messages=_MESSAGES, max_tokens=400, stream=True, stream_options=asked
    ):
        pass


def added_us(variants: list[Variant], work: Callable[[Any], None], per: int, batches: int) -> dict[str, float]:
    """Return what each variant adds to one of the things that a batch has so many of, the median of paired batches."""
    differences: dict[str, list[float]] = {variant.name: [] for variant in variants}
    bare_times: list[float] = []
    bare = variants[0]
    gc.collect()
    gc.freeze()
    for number in range(batches):
        for variant in variants[1:]:
            pair = [bare, variant] if number % 2 else [variant, bare]
            times = {one.name: _timed(one, work) for one in pair}
            differences[variant.name].append((times[variant.name] - times[bare.name]) / per * 1e6)
            bare_times.append(times[bare.name] / per * 1e6)
    return {bare.name: median(bare_times)} | {
        name: median(found) for name, found in differences.items() if name != bare.name
    }


def _timed(variant: Variant, work: Callable[[Any], None]) -> float:
    # Without collections: they would meet whoever's turn it is, and cost by what the ledger in memory keeps.
    gc.collect()
    gc.disable()
    with variant.applied():
        beside_s, begin = variant.beside_s(), time.process_time()
        work(variant.client)
        spent_s = time.process_time() - begin - (variant.beside_s() - beside_s)
    gc.enable()
    return spent_s


class Commits:
    """Stands before a committer, and adds up the time inside."""

    def __init__(self, committer: Any) -> None:
        self.total_s = 0.0
        commit = committer.commit

        def timed(command: Any) -> Any:
            begin = time.process_time()
            try:
                return commit(command)
            finally:
                self.total_s += time.process_time() - begin

        committer.commit = timed


def variants_of(client: openai.OpenAI, fare: Callfare) -> list[Variant]:
    """Return the bare client, callfare's, and each instrumentation."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(_Nowhere()))
    commits = Commits(fare._engine._committer)

    def with_langfuse() -> None:
        langfuse.Langfuse(public_key="none", secret_key="none", base_url="http://127.0.0.1:9", span_exporter=_Nowhere())
        importlib.import_module("langfuse.openai")  # importing it is what instruments

    return [
        Variant("bare", client),
        Variant("callfare", fare.wrap(client), beside_s=lambda: commits.total_s),
        instrumented(
            "opentelemetry-instrumentation-genai-openai",
            client,
            lambda: OpenTelemetry().instrument(tracer_provider=provider),
        ),
        instrumented("openinference", client, lambda: OpenInference().instrument(tracer_provider=provider)),
        instrumented("langfuse", client, with_langfuse),
    ]


def main() -> None:
    """Print what each adds, round by round, as JSON."""
    rounds, batches = (int(text) for text in sys.argv[1:3])
    os.environ["OTEL_SDK_DISABLED"] = "false"
    warnings.simplefilter("ignore")
    found: dict[str, list[dict[str, float]]] = {"plain": [], "streamed": []}
    with (
        Callfare("memory://") as fare,
        openai.OpenAI(api_key="none", max_retries=0, http_client=httpx2.Client(transport=transport())) as client,
    ):
        fare.grant("user", 10**7, key="k")
        variants = variants_of(client, fare)
        with fare.run("bench", user="user", hold=10**6):
            added_us(variants, plain, _PLAIN_BATCH, 2)
            added_us(variants, streamed, _EVENTS, 1)
            for number in range(rounds):
                print(f"capture: round {number + 1} of {rounds}", file=sys.stderr, flush=True)
                found["plain"].append(added_us(variants, plain, _PLAIN_BATCH, batches))
                found["streamed"].append(added_us(variants, streamed, _EVENTS, max(4, batches // 2)))
        assert fare.verify().is_clean
    print(json.dumps(found))
    # Some of them leave threads that would be waited for.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
