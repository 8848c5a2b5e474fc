"""A stand-in for xAI's API on the loopback address: the real SDK over gRPC, no key, no network.

    with FakeXAI() as fake:
        client = xai_sdk.Client(api_key="none", api_host=fake.host, use_insecure_channel=True)

Speaks chats, plain, streamed and deferred, their compaction, pictures, videos and batches of them, in the messages of
the SDK itself, so that must be installed. Every count follows from the request: four characters are a token, rounded
up, a quarter of the input is cached, and a reply thinks 64 tokens first. A call costs a hundred-millionth of a dollar
for each of its tokens or two cents for each picture or second. What is deferred is done when it is asked for a second
time; so is a batch. It is told to fail as the other stand-ins are, with `fake.script(Fault(...))`: a status is the
nearest one of gRPC's.
`python -m callfare.devtools.fake_xai --port 8090`.
"""

from __future__ import annotations

import argparse
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, TypeAlias

import grpc
from xai_sdk.proto import (
    chat_pb2,
    deferred_pb2,
    image_pb2,
    sample_pb2,
    usage_pb2,
    video_pb2,
)

from callfare.devtools.openai_replies import pieces_of, reply_text, tokens_of
from callfare.devtools.stand_in import AS_COUNTED, Fault
from callfare.devtools.xai_batches import FakeBatches

# One of the SDK's, or of gRPC's, whose types are not seen here.
_Message: TypeAlias = Any
_Context: TypeAlias = Any

_THOUGHT_TOKENS = 64
_TICKS_PER_TOKEN = 100
_TICKS_PER_PIECE = 200_000_000
_THREADS = 16
_STATUSES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
}
_SEARCHES = (usage_pb2.SERVER_SIDE_TOOL_WEB_SEARCH, usage_pb2.SERVER_SIDE_TOOL_WEB_SEARCH)


class FakeXAI:
    """The stand-in: starts when entered, and is gone, connections and all, when left."""

    def __init__(self, *, port: int = 0) -> None:
        self.counts: Counter[str] = Counter()
        self._faults: deque[Fault] = deque()
        self._mutex = threading.Lock()
        self._made = 0
        self._begun: dict[str, Any] = {}
        self._asked: Counter[str] = Counter()
        self._batches = FakeBatches(self._answer)
        self._server = grpc.server(ThreadPoolExecutor(_THREADS), options=[("grpc.so_reuseport", 0)])
        for service, procedures in self._services().items():
            handlers = {name: self._handler(name, *told) for name, told in procedures.items()}
            self._server.add_generic_rpc_handlers(
                (grpc.method_handlers_generic_handler(f"xai_api.{service}", handlers),)
            )
        self._port = self._server.add_insecure_port(f"127.0.0.1:{port}")

    @property
    def host(self) -> str:
        """Where a client of the SDK must point to."""
        return f"127.0.0.1:{self._port}"

    @property
    def count(self) -> int:
        """How many requests arrived; `counts` has them by procedure."""
        return sum(self.counts.values())

    def script(self, *faults: Fault) -> None:
        """Queue faults: each spoils the next request, once."""
        with self._mutex:
            self._faults.extend(faults)

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End every connection and free the port. May be called again."""
        self._server.stop(None).wait()

    def _services(self) -> dict[str, dict[str, tuple[Any, Callable[..., Any]]]]:
        return {
            "Chat": {
                "GetCompletion": (chat_pb2.GetCompletionsRequest, self._complete),
                "GetCompletionChunk": (chat_pb2.GetCompletionsRequest, self._stream),
                "StartDeferredCompletion": (chat_pb2.GetCompletionsRequest, self._begin),
                "GetDeferredCompletion": (deferred_pb2.GetDeferredRequest, self._tell_chat),
                "GetStoredCompletion": (chat_pb2.GetStoredCompletionRequest, self._tell_stored),
                "CompactContext": (chat_pb2.CompactContextRequest, self._compact),
            },
            "BatchMgmt": self._batches.procedures(),
            "Image": {"GenerateImage": (image_pb2.GenerateImageRequest, self._draw)},
            "Video": {
                "GenerateVideo": (video_pb2.GenerateVideoRequest, self._begin),
                "ExtendVideo": (video_pb2.ExtendVideoRequest, self._begin),
                "GetDeferredVideo": (video_pb2.GetDeferredVideoRequest, self._tell_video),
            },
        }

    def _handler(self, name: str, kind: _Message, answer: Callable[..., Any]) -> _Message:
        def arrived(request: _Message, context: _Context) -> _Message:
            with self._mutex:
                self.counts[name] += 1
                fault = self._faults.popleft() if self._faults else Fault()
            if fault.pause is not None and not fault.pause.after:
                fault.pause.wait()
            if fault.status:
                context.abort(_STATUSES.get(fault.status, grpc.StatusCode.INTERNAL), fault.message)
            return answer(request, context, fault)

        make = grpc.unary_stream_rpc_method_handler if answer == self._stream else grpc.unary_unary_rpc_method_handler
        return make(arrived, kind.FromString, _serialized)

    def _new_id(self, fault: Fault) -> str:
        with self._mutex:
            self._made += 1
            return fault.response_id or f"xai_{self._made:06d}"

    # What it answers

    def _complete(self, request: _Message, _context: _Context, fault: Fault) -> _Message:
        text = reply_text(_said_in(request.messages))
        if request.max_tokens:
            text = text[: request.max_tokens * 4]
        outputs = [
            chat_pb2.CompletionOutput(
                index=number,
                finish_reason=sample_pb2.REASON_STOP,
                message=chat_pb2.CompletionMessage(content=text, role=chat_pb2.ROLE_ASSISTANT),
            )
            for number in range(request.n or 1)
        ]
        usage = _used(_said_in(request.messages), text, outputs=len(outputs), tools=bool(request.tools))
        reply = chat_pb2.GetChatCompletionResponse(
            id=self._new_id(fault), model=request.model, outputs=outputs, usage=_spoiled(usage, fault)
        )
        reply.service_tier = request.service_tier or usage_pb2.SERVICE_TIER_DEFAULT
        with self._mutex:
            self._begun[reply.id] = reply
        return reply

    def _stream(self, request: _Message, context: _Context, fault: Fault) -> Iterator[_Message]:
        whole = self._complete(request, context, fault)
        about = {"id": whole.id, "model": whole.model, "service_tier": whole.service_tier}
        pieces = pieces_of(whole.outputs[0].message.content)
        for number, piece in enumerate(pieces):
            if fault.pause is not None and number and number == fault.pause.after:
                fault.pause.wait()
            if number == fault.drop_after:
                context.abort(grpc.StatusCode.UNAVAILABLE, "The connection was reset.")
            outputs = [
                chat_pb2.CompletionOutputChunk(
                    index=output.index, delta=chat_pb2.Delta(content=piece, role=chat_pb2.ROLE_ASSISTANT)
                )
                for output in whole.outputs
            ]
            chunk = chat_pb2.GetChatCompletionChunk(outputs=outputs, **about)
            if not number and whole.HasField("usage"):
                # What was read is known at once.
                chunk.usage.prompt_tokens = whole.usage.prompt_tokens
                chunk.usage.cached_prompt_text_tokens = whole.usage.cached_prompt_text_tokens
            yield chunk
        ends = [
            chat_pb2.CompletionOutputChunk(
                index=output.index,
                finish_reason=sample_pb2.REASON_STOP,
                delta=chat_pb2.Delta(role=chat_pb2.ROLE_ASSISTANT),
            )
            for output in whole.outputs
        ]
        yield chat_pb2.GetChatCompletionChunk(outputs=ends, **about)
        if whole.HasField("usage"):
            yield chat_pb2.GetChatCompletionChunk(usage=whole.usage, **about)

    def _begin(self, request: _Message, context: _Context, fault: Fault) -> _Message:
        request_id = self._new_id(fault)
        is_chat = isinstance(request, chat_pb2.GetCompletionsRequest)
        made = self._complete(request, context, fault) if is_chat else _video_of(request, fault)
        with self._mutex:
            self._begun[request_id] = (fault.job, made)
        return deferred_pb2.StartDeferredResponse(request_id=request_id)

    def _tell_chat(self, request: _Message, context: _Context, _fault: Fault) -> _Message:
        status, made = self._told(request.request_id, context)
        return chat_pb2.GetDeferredCompletionResponse(status=status, response=made)

    def _tell_video(self, request: _Message, context: _Context, _fault: Fault) -> _Message:
        status, made = self._told(request.request_id, context)
        return video_pb2.GetDeferredVideoResponse(status=status, response=made)

    def _tell_stored(self, request: _Message, context: _Context, _fault: Fault) -> _Message:
        with self._mutex:
            found = self._begun.get(request.response_id)
        return found or context.abort(grpc.StatusCode.NOT_FOUND, "There is no such completion.")

    def _told(self, request_id: str, context: _Context) -> tuple[Any, Any]:
        with self._mutex:
            job, made = self._begun.get(request_id, (None, None))
            self._asked[request_id] += 1
            is_over = self._asked[request_id] > 1
        if made is None:
            context.abort(grpc.StatusCode.NOT_FOUND, "There is no such request.")
        if not is_over:
            return deferred_pb2.PENDING, None
        return (deferred_pb2.DONE, made) if job == "completed" else (deferred_pb2.EXPIRED, None)

    def _compact(self, request: _Message, _context: _Context, fault: Fault) -> _Message:
        usage = _used(_said_in(request.input), "compacted.", outputs=1, tools=False)
        return chat_pb2.CompactContextResponse(
            id=self._new_id(fault),
            encrypted_content="c2VhbGVk",
            dropped_message_count=len(request.input),
            usage=_spoiled(usage, fault),
        )

    def _answer(self, name: str, request: _Message, context: _Context, fault: Fault) -> _Message:
        """Return what is answered in a batch."""
        if name == "completion_request":
            return self._complete(request, context, fault)
        return self._draw(request, context, fault) if name == "image_request" else _video_of(request, fault)

    def _draw(self, request: _Message, _context: _Context, fault: Fault) -> _Message:
        count = request.n or 1
        usage = usage_pb2.SamplingUsage(cost_in_usd_ticks=count * _TICKS_PER_PIECE)
        images = [image_pb2.GeneratedImage(base64="aQ==", respect_moderation=True) for _ in range(count)]
        return image_pb2.ImageResponse(images=images, model=request.model, usage=_spoiled(usage, fault))


def _video_of(request: _Message, fault: Fault) -> _Message:
    seconds = request.duration or 8
    usage = usage_pb2.SamplingUsage(cost_in_usd_ticks=seconds * _TICKS_PER_PIECE)
    video = video_pb2.GeneratedVideo(url="http://127.0.0.1/video.mp4", duration=seconds, respect_moderation=True)
    return video_pb2.VideoResponse(video=video, model=request.model, usage=_spoiled(usage, fault), progress=100)


def _used(prompt: str, text: str, *, outputs: int, tools: bool) -> _Message:
    read, written = tokens_of(prompt), tokens_of(text) * outputs
    usage = usage_pb2.SamplingUsage(
        prompt_tokens=read,
        prompt_text_tokens=read,
        cached_prompt_text_tokens=read // 4,
        completion_tokens=written,
        reasoning_tokens=_THOUGHT_TOKENS,
        total_tokens=read + written + _THOUGHT_TOKENS,
        server_side_tools_used=_SEARCHES if tools else (),
    )
    usage.cost_in_usd_ticks = usage.total_tokens * _TICKS_PER_TOKEN
    return usage


def _spoiled(usage: _Message, fault: Fault) -> _Message:
    """Return what a fault says was used: a table in the place of some counts, None for nothing at all."""
    if fault.usage is AS_COUNTED:
        return usage
    if not isinstance(fault.usage, dict):
        return None
    for name, count in fault.usage.items():
        if count is None:
            usage.ClearField(name)
        else:
            setattr(usage, name, count)
    return usage


def _said_in(messages: _Message) -> str:
    return "".join(part.text for message in messages for part in message.content)


def _serialized(reply: _Message) -> bytes:
    return bytes(reply.SerializeToString())


def main(arguments: list[str] | None = None) -> None:
    """Serve until interrupted or told to end."""
    parser = argparse.ArgumentParser(description="A stand-in for the API of xAI on 127.0.0.1.")
    parser.add_argument("--port", type=int, default=8090, help="8090 if not given; 0 takes a free one")
    with FakeXAI(port=parser.parse_args(arguments).port) as fake:
        with suppress(KeyboardInterrupt):
            for number in (signal.SIGINT, signal.SIGTERM):
                # A shell starts its background jobs with the first of them ignored, and so it would stay.
                signal.signal(number, signal.default_int_handler)
            print(f"The stand-in for xAI listens at {fake.host}; stop it with Ctrl-C.", flush=True)
            threading.Event().wait()
        print(f"It answered {fake.count} requests.")


if __name__ == "__main__":
    main()
