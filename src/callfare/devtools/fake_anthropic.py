"""A stand-in for Anthropic's API on the loopback address: the real SDK, no key, no network.

    with FakeAnthropic() as fake:
        client = Anthropic(base_url=fake.base_url, api_key="none")

Speaks messages, plain, streamed and in batches, and counts tokens. How it is told to fail: stand_in.py.
`python -m callfare.devtools.fake_anthropic --port 8082`.
"""

from __future__ import annotations

import json
import re

from typing_extensions import override

from callfare.devtools import anthropic_replies as replies
from callfare.devtools.forms import Json
from callfare.devtools.stand_in import StandIn, StandInHandler, serve

_KINDS = {429: "rate_limit_error", 529: "overloaded_error", 401: "authentication_error", 404: "not_found_error"}


class _Handler(StandInHandler):
    """One connection to the stand-in."""

    fake: FakeAnthropic

    @override
    def error_body(self, status: int, message: str) -> Json:
        kind = _KINDS.get(status, "invalid_request_error" if status < 500 else "api_error")  # noqa: PLR2004 - HTTP's
        return {"type": "error", "error": {"type": kind, "message": message}}

    @override
    def error_event(self) -> Json:
        return self.error_body(529, self.fault.message)

    @override
    def route(self, path: str, fields: Json, upload: bytes) -> None:
        """Answer a request."""
        if (self.command, path) == ("POST", "/v1/messages"):
            self._message(fields)
        elif (self.command, path) == ("POST", "/v1/messages/count_tokens"):
            self.write_json(replies.count_tokens(fields))
        elif path.startswith("/v1/messages/batches"):
            self._batch(path, fields)
        else:
            self.write_error(404, f"Unknown request URL: {self.command} {path}")

    def _message(self, fields: Json) -> None:
        reply = self.spoiled(replies.message(fields, self.fake.new_id("msg", self.fault)))
        if fields.get("stream"):
            self.write_events(replies.message_events(reply))
        else:
            self.write_json(reply)

    def _batch(self, path: str, fields: Json) -> None:
        batches = self.fake.batches
        found = re.fullmatch(r"/v1/messages/batches(?:/([^/]+)(/results|/cancel)?)?", path)
        if found is None or (found[1] is not None and found[1] not in batches):
            self.write_error(404, f"Unknown request URL: {self.command} {path}")
        elif found[1] is None:
            batch_id = self.fake.new_id("msgbatch", self.fault)
            batches[batch_id] = replies.batch_results(fields, batch_id)
            self.write_json(replies.batch(batch_id, batches[batch_id], address=None))
        elif found[2] == "/cancel":
            batches[found[1]] = replies.cancelled(batches[found[1]])
            self.write_json(replies.batch(found[1], batches[found[1]], address=None))
        elif found[2]:
            lines = (json.dumps(result).encode() + b"\n" for result in batches[found[1]])
            self.write_bytes(b"".join(lines), "application/x-jsonl")
        else:
            address = f"{self.fake.base_url}/v1/messages/batches/{found[1]}/results"
            self.write_json(replies.batch(found[1], batches[found[1]], address=address))


class FakeAnthropic(StandIn):
    """The stand-in: starts when entered, and is gone, connections and all, when left."""

    handler = _Handler

    def __init__(self, *, port: int = 0) -> None:
        super().__init__(port=port)
        self.batches: dict[str, list[Json]] = {}


def main(arguments: list[str] | None = None) -> None:
    """Serve until interrupted or told to end."""
    serve(FakeAnthropic, "Anthropic", 8082, arguments)


if __name__ == "__main__":
    main()
