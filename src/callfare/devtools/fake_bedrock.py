"""A stand-in for Amazon Bedrock's runtime on the loopback address: real boto3, no account, no network.

    with FakeBedrock() as fake:
        client = boto3.client("bedrock-runtime", endpoint_url=fake.base_url, region_name="us-east-1", …)

Speaks Converse and InvokeModel, plain and in AWS's binary event streams. Signatures are not looked at. How it is told
to fail: stand_in.py. `python -m callfare.devtools.fake_bedrock --port 8086`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import unquote

from typing_extensions import override

from callfare.devtools import bedrock_replies as replies
from callfare.devtools.forms import Json
from callfare.devtools.stand_in import AS_COUNTED, StandIn, StandInHandler, serve

_KINDS = {429: "ThrottlingException", 403: "AccessDeniedException", 404: "ResourceNotFoundException"}
_CALL = re.compile(r"/model/([^/]+)/(converse|converse-stream|invoke|invoke-with-response-stream)")
_HEADERS = {
    "inputTokenCount": "X-Amzn-Bedrock-Input-Token-Count",
    "outputTokenCount": "X-Amzn-Bedrock-Output-Token-Count",
}


class _Handler(StandInHandler):
    """One connection to the stand-in."""

    fake: FakeBedrock
    _beside: Mapping[str, str] = {}

    @override
    def error_body(self, status: int, message: str) -> Json:
        kind = _KINDS.get(status, "ValidationException" if status < 500 else "InternalServerException")  # noqa: PLR2004 - HTTP's
        self._beside = {"x-amzn-ErrorType": kind, "x-amzn-RequestId": self.fake.new_id("req", self.fault)}
        return {"message": message}

    @override
    def headers_beside(self) -> Mapping[str, str]:
        return self._beside

    @override
    def route(self, path: str, fields: Json, upload: bytes) -> None:
        """Answer a request."""
        found = _CALL.fullmatch(path)
        if found is None or self.command != "POST":
            self.write_error(404, f"Unknown request URL: {self.command} {path}")
            return
        model, way = unquote(found[1]), found[2]
        self._beside = {"x-amzn-RequestId": self.fake.new_id("req", self.fault)}
        if way.startswith("converse"):
            self._converse(fields, is_stream=way != "converse")
        else:
            self._invoke(model, fields, is_stream=way != "invoke")

    def _converse(self, fields: Json, *, is_stream: bool) -> None:
        reply = self.spoiled(replies.converse(fields))
        if is_stream:
            self._write_frames(replies.converse_events(reply))
        else:
            self.write_json(reply)

    def _invoke(self, model: str, fields: Json, *, is_stream: bool) -> None:
        reply, counts = replies.invoke(model, fields, self.fake.new_id("reply", self.fault))
        reply, counts = self.spoiled(reply), counts if self.fault.usage is AS_COUNTED else {}
        told = self.headers.get("X-Amzn-Bedrock-Service-Tier")
        tier = {"X-Amzn-Bedrock-Service-Tier": told} if told else {}
        if is_stream:
            self._beside = {**self._beside, **tier, "X-Amzn-Bedrock-Content-Type": "application/json"}
            events = replies.invoke_events(model, reply, counts)
            self._write_frames(("chunk", replies.chunk(event)) for event in events)
        else:
            headers = {_HEADERS[name]: str(count) for name, count in counts.items()}
            self._beside = {**self._beside, **tier, **headers}
            if self.fault.drop_after:
                self._write_part()
            else:
                self.write_json(reply)

    def _write_part(self) -> None:
        """Write the headers of a reply and the beginning of its body, and break the connection."""
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "4096")
        for name, value in self._beside.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(b"{")
        self.wfile.flush()
        self._drop()

    def _write_frames(self, events: Iterable[tuple[str, Json]]) -> None:
        """Write events in AWS's binary form, each at once, as chunks: a stream that is cut is seen to be cut."""
        self.send_response(200)
        self.send_header("Content-Type", "application/vnd.amazon.eventstream")
        self.send_header("Transfer-Encoding", "chunked")
        for name, value in self._beside.items():
            self.send_header(name, value)
        self.end_headers()
        for number, message in enumerate((*self._frames(events), b"")):
            if self.fault.pause is not None and number and number == self.fault.pause.after:
                self.fault.pause.wait()
            if number == self.fault.drop_after:
                self._drop()
                return
            if message:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(message), message))
                self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def _frames(self, events: Iterable[tuple[str, Json]]) -> Iterator[bytes]:
        for number, (kind, payload) in enumerate(events):
            if number == self.fault.error_after:
                told = {"message": self.fault.message}
                yield replies.frame("modelStreamErrorException", told, message_type="exception")
                return
            yield replies.frame(kind, payload)


class FakeBedrock(StandIn):
    """The stand-in: starts when entered, and is gone, connections and all, when left."""

    handler = _Handler


def main(arguments: list[str] | None = None) -> None:
    """Serve until interrupted or told to end."""
    serve(FakeBedrock, "Amazon Bedrock", 8086, arguments)


if __name__ == "__main__":
    main()
