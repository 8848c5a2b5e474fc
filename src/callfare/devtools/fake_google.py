"""A stand-in for Gemini's API on the loopback address: the real SDK, no key, no network.

    with FakeGoogle() as fake:
        client = genai.Client(api_key="none", http_options={"base_url": fake.base_url})

Speaks content, plain, streamed and in batches, embeddings, pictures and videos; live sessions over web sockets, which
the SDK opens over TLS alone. How it is told to fail: stand_in.py.
`python -m callfare.devtools.fake_google --port 8083`.
"""

from __future__ import annotations

import json
import re
import ssl
from collections import Counter

from typing_extensions import override

from callfare.devtools import google_interactions as interactions
from callfare.devtools import google_replies as replies
from callfare.devtools import google_sessions as sessions
from callfare.devtools.forms import Json
from callfare.devtools.stand_in import StandIn, StandInHandler, serve
from callfare.devtools.web_sockets import WebSocket

_CALL = re.compile(r"/v1(?:beta1?)?/(?:.*/)?models/([^/:]+):(\w+)")
_FILED = re.compile(r"/v1(?:beta1?)?/(?:(batches/[^/]+)|files/([^/:]+):download)")
_INTERACTION = re.compile(r"/v1(?:beta1?|alpha)?/(?:.*/)?interactions(?:/([^/]+)(/cancel)?)?")
_PROJECT = "projects/p/locations/l/publishers/google"
_STATUSES = {400: "INVALID_ARGUMENT", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED"}


class _Handler(StandInHandler):
    """One connection to the stand-in."""

    fake: FakeGoogle

    @override
    def error_body(self, status: int, message: str) -> Json:
        return {"error": {"code": status, "message": message, "status": _STATUSES.get(status, "INTERNAL")}}

    @override
    def route(self, path: str, fields: Json, upload: bytes) -> None:
        call = _CALL.fullmatch(path)
        filed = _FILED.fullmatch(path.removesuffix(":cancel"))
        interaction = _INTERACTION.fullmatch(path)
        if call is not None:
            self._call(call[1], call[2], fields)
        elif filed is not None and filed[1] in self.fake.batches:
            if path.endswith(":cancel"):
                self.fake.batches[filed[1]] = replies.cancelled(self.fake.batches[filed[1]])
            self.write_json(self.fake.batches[filed[1]])
        elif filed is not None and filed[2] in self.fake.files:
            self.write_bytes(self.fake.files[filed[2]], "application/jsonl")
        elif interaction is not None and self.command == "POST" and interaction[1] is None:
            self._interact(fields)
        elif interaction is not None and interaction[1] in self.fake.interactions:
            self._tell_interaction(interaction[1], interaction[2] is not None)
        else:
            self.write_error(404, f"Unknown request URL: {self.command} {path}")

    def _interact(self, fields: Json) -> None:
        reply = interactions.interaction(fields, self.fake.new_id("interaction", self.fault))
        self.fake.interactions[reply["id"]] = reply, self.fault.job
        if fields.get("background"):
            self.write_json(interactions.unfinished(reply, "in_progress"))
        elif fields.get("stream"):
            self.write_events(interactions.interaction_events(self.spoiled(reply)), named=False, done=True)
        else:
            self.write_json(self.spoiled(reply))

    def _tell_interaction(self, interaction_id: str, is_cancelled: bool) -> None:  # noqa: FBT001 - what the path says
        reply, outcome = self.fake.interactions[interaction_id]
        if is_cancelled:
            self.write_json(interactions.unfinished(reply, "cancelled"))
        elif not self.fake.has_ended(interaction_id):
            self.write_json(interactions.unfinished(reply, "in_progress"))
        else:
            self.write_json(interactions.unfinished(reply, "failed") if outcome == "failed" else reply)

    @override
    def converse(self, path: str, socket: WebSocket) -> None:
        if path.endswith((".BidiGenerateContent", "/BidiGenerateContent")):
            session = sessions.Live()
            for message in socket.messages():
                told = session.answer(json.loads(message))
                self.tell(socket, (self.spoiled(event, "usageMetadata") for event in told))
        socket.close()

    def _call(self, model: str, kind: str, fields: Json) -> None:
        match kind:
            case "generateContent" | "streamGenerateContent":
                reply = replies.content(fields, model, self.fake.new_id("content", self.fault))
                reply = self.spoiled(reply, "usageMetadata")
                if kind == "generateContent":
                    self.write_json(reply)
                else:
                    self.write_events(replies.content_chunks(reply), named=False)
            case "batchEmbedContents":
                self.write_json(self.spoiled(replies.embeddings(fields), "usageMetadata"))
            case "predict":
                self.write_json(replies.pictures(fields))
            case "predictLongRunning":
                name = f"{_PROJECT}/models/{model}/operations/{self.fake.new_id('video', self.fault)}"
                self.fake.videos[name] = self.fault.job
                self.write_json(replies.video(name, is_done=False, has_failed=False))
            case "fetchPredictOperation" if fields.get("operationName") in self.fake.videos:
                name = fields["operationName"]
                is_done, has_failed = self.fake.polled(name)
                self.write_json(replies.video(name, is_done=is_done, has_failed=has_failed))
            case "batchGenerateContent" | "asyncBatchEmbedContent":
                name = self.fake.new_id("batches/b", self.fault)
                told, file = replies.batch(fields, model, name)
                self.fake.batches[name] = told
                self.fake.files[f"{name.replace('/', '-')}-results"] = file
                self.write_json({"name": name, "metadata": {"state": "BATCH_STATE_PENDING"}})
            case "countTokens":
                self.write_json(replies.count_tokens(fields))
            case _:
                self.write_error(404, f"Unknown method: {kind}")


class FakeGoogle(StandIn):
    """The stand-in: starts when entered, and is gone, connections and all, when left."""

    handler = _Handler

    def __init__(self, *, port: int = 0, polls_needed: int = 2, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(port=port, tls=tls)
        self.polls_needed = polls_needed
        self.videos: dict[str, str] = {}
        self.batches: dict[str, Json] = {}
        self.interactions: dict[str, tuple[Json, str]] = {}
        self.files: dict[str, bytes] = {}
        self._polls: Counter[str] = Counter()

    def has_ended(self, name: str) -> bool:
        """Count a poll of an interaction; return whether it has ended."""
        with self.lock:
            self._polls[name] += 1
            return self._polls[name] >= self.polls_needed

    def polled(self, name: str) -> tuple[bool, bool]:
        """Count a poll of a video; return whether it is done, and whether it failed."""
        with self.lock:
            self._polls[name] += 1
            return self._polls[name] >= self.polls_needed, self.videos[name] == "failed"


def main(arguments: list[str] | None = None) -> None:
    """Serve until interrupted or told to end."""
    serve(FakeGoogle, "Google", 8083, arguments)


if __name__ == "__main__":
    main()
