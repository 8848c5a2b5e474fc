"""A stand-in for Hugging Face's hub, its router, and the servers behind that: its real SDK, no token, no network.

    with FakeHuggingFace() as fake:
        client = InferenceClient(fake.base_url)

That is a client of an endpoint of one's own, which speaks as Text Generation Inference does. For one of the router and
of other providers' addresses the SDK's HTTP clients are to be led here, whatever the host: a path begins with the
server's name behind the router, and without one at its own address. Chats, completions, embeddings and speech are what
the stand-in for OpenAI answers; a chat is counted in a stream only where that is asked for. `MODELS` are what the hub
knows. How it is told to fail: stand_in.py. `python -m callfare.devtools.fake_huggingface --port 8088`.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping

from typing_extensions import override

from callfare.devtools import openai_replies as replies
from callfare.devtools.fake_openai import FakeOpenAI, FakeOpenAIHandler
from callfare.devtools.forms import Json
from callfare.devtools.stand_in import AS_COUNTED, Fault, Seen, serve

LLAMA = "meta-llama/Llama-3.3-70B-Instruct"
MODELS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    LLAMA: ("conversational", {"together": f"{LLAMA}-Turbo", "featherless-ai": LLAMA}),
    "openai/gpt-oss-120b": ("conversational", {"together": "openai/gpt-oss-120b"}),
    "black-forest-labs/FLUX.1-schnell": (
        "text-to-image",
        {"together": "black-forest-labs/FLUX.1-schnell", "fal-ai": "fal-ai/flux/schnell"},
    ),
    "intfloat/e5-large": ("feature-extraction", {"together": "intfloat/e5-large-instruct"}),
    "hexgrad/Kokoro-82M": ("text-to-speech", {"together": "hexgrad/Kokoro-82M"}),
    "openai/whisper-large-v3": ("automatic-speech-recognition", {"fal-ai": "fal-ai/whisper"}),
    "Wan-AI/Wan2.2": ("text-to-video", {"fal-ai": "fal-ai/wan"}),
    "distilbert/sst-2": ("text-classification", {"hf-inference": "distilbert/sst-2"}),
}
"""Each model that the hub knows: its task, and what the servers that have it call it."""

_PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)


class _Handler(FakeOpenAIHandler):
    """One connection to the stand-in."""

    fake: FakeHuggingFace

    @override
    def plain_path(self, path: str) -> str:
        return re.sub(r"^/(?:[a-z-]+|hf-inference/models/[^/]+/[^/]+)(?=/v1/)", "", path)

    @override
    def error_body(self, status: int, message: str) -> Json:
        return {"error": message}

    @override
    def route(self, path: str, fields: Json, upload: bytes) -> None:
        """Answer a request."""
        model = path.removeprefix("/api/models/")
        if model != path and model in MODELS:
            self._describe(model)
        elif path.startswith("/fal-ai/"):
            self._answer_queued(path, fields)
        elif self.command == "GET" and path.startswith("/files/"):
            self.write_bytes(_PIXEL, "image/png")
        elif "inputs" in fields and path in ("", "/generate"):
            self._generate(fields)
        elif path.startswith("/hf-inference/models/"):
            self._pipe(path)
        else:
            super().route(path, fields, upload)

    def _describe(self, model: str) -> None:
        task, servers = MODELS[model]
        mapped = {name: {"status": "live", "providerId": own, "task": task} for name, own in servers.items()}
        tag = "text-generation" if task == "conversational" else task
        self.write_json({"id": model, "pipeline_tag": tag, "tags": [task], "inferenceProviderMapping": mapped})

    @override
    def _chat(self, fields: Json, _upload: bytes) -> None:
        reply = self.spoiled(replies.chat_completion(fields, self.fake.new_id("chatcmpl", self.fault)))
        if not fields.get("stream"):
            self.write_json(reply)
            return
        is_asked = bool((fields.get("stream_options") or {}).get("include_usage"))
        self._write_compact(replies.chat_chunks(reply, with_usage=is_asked), end="data: [DONE]\n\n")

    @override
    def _draw(self, fields: Json, _upload: bytes) -> None:
        drawn = {"index": 0, "b64_json": base64.b64encode(_PIXEL).decode()}
        self.write_json({"id": self.fake.new_id("draw", self.fault), "model": fields.get("model"), "data": [drawn]})

    def _write_compact(self, events: Iterator[Json], *, end: str = "") -> None:
        """Write events as these servers do, without a space that need not be."""
        self.write_stream(
            "text/event-stream", events, lambda event: f"data: {json.dumps(event, separators=(',', ':'))}\n\n", end=end
        )

    def _generate(self, fields: Json) -> None:
        """Answer as Text Generation Inference does."""
        asked = fields.get("parameters") or {}
        text = replies.reply_text(str(fields["inputs"]))
        counts: Json = {
            "generated_tokens": replies.tokens_of(text),
            "input_length": replies.tokens_of(fields["inputs"]),
        }
        details = {"finish_reason": "length", "seed": None} | self._counted(counts)
        if fields.get("stream"):
            self._write_compact(_tokens(text, details))
            return
        told: Json = {"generated_text": text}
        if asked.get("details"):
            told["details"] = {name: details[name] for name in details if name != "input_length"}
            if asked.get("decoder_input_details"):
                told["details"]["prefill"] = [{"id": 1, "text": "x"}] * counts["input_length"]
        self._write_list([told])

    def _counted(self, counts: Json) -> Json:
        told = self.fault.usage
        return counts if told is AS_COUNTED else dict(told) if isinstance(told, Mapping) else {}

    def _write_list(self, told: list[object]) -> None:
        self.write_bytes(json.dumps(told).encode(), "application/json")

    def _pipe(self, path: str) -> None:
        """Answer as a pipeline of Hugging Face's own."""
        if path.endswith("/pipeline/feature-extraction"):
            self._write_list([[0.25, -0.5]])
        elif "whisper" in path:
            self.write_json({"text": "boats"})
        elif "FLUX" in path:
            self.write_bytes(_PIXEL, "image/png")
        else:
            self._write_list([{"label": "POSITIVE", "score": 0.5}])

    def _answer_queued(self, path: str, fields: Json) -> None:
        """Answer as fal does: at once, or, behind its queue, when it is asked again."""
        address = f"https://router.huggingface.co{path}"
        if "audio_url" in fields:
            self.write_json({"text": "boats"})
        elif path.endswith("/status"):
            self.write_json({"status": "COMPLETED"})
        elif path.endswith("/wan") and self.command == "POST":
            self.write_json({"request_id": "r1", "status": "IN_QUEUE", "response_url": f"{address}/requests/r1"})
        elif path.endswith("/r1"):
            self.write_json({"video": {"url": "https://fal.media/files/film.mp4"}})
        else:
            self.write_json(
                {"images": [{"url": "https://fal.media/files/pixel.png"}] * int(fields.get("num_images", 1))}
            )


def _tokens(text: str, details: Json) -> Iterator[Json]:
    """Yield a text token by token; the last one has the counts."""
    words = [text[place : place + 4] for place in range(0, len(text), 4)]
    for number, word in enumerate(words):
        is_last = number == len(words) - 1
        token = {"id": number, "text": word, "logprob": -0.5, "special": False}
        yield {
            "index": number,
            "token": token,
            "generated_text": text if is_last else None,
            "details": details if is_last else None,
        }


class FakeHuggingFace(FakeOpenAI):
    """The stand-in for Hugging Face."""

    handler = _Handler
    path = ""

    @override
    def arrived(self, seen: Seen) -> Fault:
        """Count a request. None that the SDK asks the hub by itself, now and then, is spoiled in place of a call."""
        if seen.method != "GET" or not seen.path.startswith("/api/"):
            return super().arrived(seen)
        with self.lock:
            self.counts[f"{seen.method} {seen.path}"] += 1
            self.requests.append(seen)
        return Fault()


def main(arguments: list[str] | None = None) -> None:
    """Serve until interrupted or told to end."""
    serve(FakeHuggingFace, "Hugging Face", 8088, arguments)


if __name__ == "__main__":
    main()
