"""What comes on a connection before there is a request: bounded in size and in time, and refused in the one shape."""

from __future__ import annotations

import json
import socket

import pytest

from callfare.server import heads

HOST = b"Host: 127.0.0.1\r\n"


@pytest.fixture
def server(shared):
    """The server of all of them: none of what they send is a request that writes."""
    return shared


@pytest.fixture
def line(server):
    """A connection to the server."""
    with socket.create_connection((server.host, server.port), timeout=120) as line:
        yield line


def said_on(line):
    """Return all that a server says before it hangs up."""
    said = b""
    try:
        while part := line.recv(65_536):
            said += part
    except ConnectionResetError:
        pass
    return said


def sent(line, *parts):
    """Send parts until the server hangs up, and return what it said."""
    try:
        for part in parts:
            line.sendall(part)
    except OSError:
        pass
    return said_on(line)


@pytest.mark.parametrize(
    "head",
    [
        b"GET /healthz HTTP/1.1\r\n" + HOST + b"X-Long: " + b"a" * 70_000 + b"\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n" + HOST + b"X-Many: a\r\n" * 10_000 + b"\r\n",
        b"GET /healthz?" + b"a" * 70_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /healthz HTTP/1.1\r\n" + HOST + b"X-Endless: " + b"a" * 4_000_000,
        b"POST /mcp HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX-Trailer: " + b"a" * 4_000_000,
        b"NONSENSE\r\n\r\n",
        b"POST /mcp HTTP/1.1\r\n" + HOST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"POST /mcp HTTP/1.1\r\n" + HOST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
    ids=["long", "many", "address", "endless", "trailer", "nonsense", "two lengths", "two ends"],
)
def test_a_head_that_is_too_much_or_none_is_refused_in_the_one_shape(line, head):
    said = sent(line, head)

    # To a request without a credential whose trailer never ends the route may have answered first.
    top, _, body = said.rpartition(b"\r\n\r\n")
    error = json.loads(body)["error"]
    assert b"HTTP/1.1 400 " in top
    assert {"code", "message", "param", "request_id"} <= error.keys()
    assert error["code"] == "invalid_input"


def test_a_large_head_within_the_bound_and_a_body_in_small_parts_are_answered(line):
    large = b"X-Long: " + b"a" * 60_000 + b"\r\n"
    parts = b"1\r\na\r\n" * 30_000 + b"0\r\n\r\n"

    line.sendall(b"GET /healthz HTTP/1.1\r\n" + HOST + large + b"\r\n")
    first = line.recv(65_536)
    end = b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    second = sent(line, b"POST /mcp HTTP/1.1\r\n" + HOST + end, parts)

    assert first.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 401 " in second


@pytest.mark.parametrize("begun", [b"", b"GET /healthz HTTP/1.1\r\nHost: 127", b"\r\n", b"GET"])
def test_a_connection_that_asks_for_nothing_is_ended(server, monkeypatch, begun):
    monkeypatch.setattr(heads, "HEAD_S", 0.05)

    with socket.create_connection((server.host, server.port), timeout=120) as line:
        line.sendall(begun)
        said = said_on(line)

    assert said == b""


def test_a_connection_that_begins_another_request_and_leaves_it_is_ended(server, monkeypatch, line):
    line.sendall(b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n")
    first = b""
    while not first.endswith(b'{"status":"ok"}'):
        first += line.recv(65_536)
    monkeypatch.setattr(heads, "HEAD_S", 0.05)

    line.sendall(b"\r\n")

    assert first.startswith(b"HTTP/1.1 200 ")
    assert said_on(line) == b""
