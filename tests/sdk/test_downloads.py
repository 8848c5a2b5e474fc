"""Files that an SDK hands out unread: lines count wherever they are cut, encoded or not, also of one that is left."""

from __future__ import annotations

import gzip
import json
import ssl
import zlib

import httpx
import httpx2
import pytest
from mistralai.client import Mistral
from msgspec.structs import replace

from callfare import Callfare
from callfare.capture import batches, downloads, leftovers
from callfare.capture.base import LOGGER
from callfare.capture.batch_calls import BATCH_FILES
from callfare.capture.batches import BatchReplies, Delivered, LinesTally
from callfare.capture.downloads import watch_body
from callfare.capture.mistral_batches import file_asked
from callfare.capture.mistral_dialect import MistralDialect
from callfare.capture.streams import Watch
from callfare.devtools.fake_siblings import FakeMistral
from tests.capture.fake_meter import FakeMeter

BODY = {"object": "list", "model": "mistral-embed", "usage": {"prompt_tokens": 7}}
LINES = [json.dumps({"custom_id": f"é{number}", "response": {"body": BODY}}) for number in range(3)]
FILE = "\n".join(LINES).encode()
UNTRUSTING = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """Who leaves a file waits until it is settled, however busy the machine is."""
    monkeypatch.setattr(leftovers, "WAIT_MS_MAX", 60_000)


def watched(meter, content, kind=httpx2.Response, file_id="f", **headers):
    """Return a response whose body is read piece by piece, watched."""
    response = kind(200, content=content, headers=headers)
    dialect = MistralDialect()
    bare = dialect.bare_request("batch", base_url="http://there", body=None, options={}, is_stream=False)
    request = replace(bare, dialect=BatchReplies(dialect, file_asked(file_id)))
    watch_body(response, Watch(request, Delivered(meter, None)))
    return response


def names(meter):
    return [ticket.settled[0][0].response_id for ticket in meter.tickets]


@pytest.mark.parametrize("kind", [httpx2.Response, httpx.Response], ids=["httpx2", "httpx"])
def test_lines_are_the_same_wherever_the_bytes_of_a_file_are_cut(kind):
    for size in (1, 2, 7, 64, len(FILE) - 1, len(FILE)):
        meter = FakeMeter()

        read = watched(meter, (FILE[at : at + size] for at in range(0, len(FILE), size)), kind).read()

        assert read == FILE
        assert names(meter) == ["f/é0", "f/é1", "f/é2"]
        assert meter.batches.delivered == [(("f",), True)]


@pytest.mark.parametrize("ways", [("br",), ("identity", "gzip"), ("GZIP",)])
def test_an_encoded_file_is_read_as_the_library_decodes_it(meter, ways):
    packed = FILE if ways == ("br",) else gzip.compress(FILE)
    try:
        content = watched(meter, iter([packed[:9], packed[9:]]), **{"content-encoding": ", ".join(ways)}).read()
    except httpx2.DecodingError:
        # What the library has no decoder for, or cannot decode, nobody can read.
        content = None

    assert content in (FILE, None)
    assert names(meter) == ([] if content is None else ["f/é0", "f/é1", "f/é2"])


def test_a_body_that_is_not_what_its_encoding_says_is_not_taken_for_whole(meter):
    BATCH_FILES.note("http://there", "known", "job")
    response = watched(meter, iter([b"\x1f\x8b broken"]), file_id="known", **{"content-encoding": "gzip"})

    assert b"".join(response.stream) == b"\x1f\x8b broken"

    assert (meter.tickets, meter.batches.delivered) == ([], [(("job", "known"), False)])


@pytest.mark.parametrize("end", ["close", "break", "drop", "raise"])
def test_a_file_that_is_left_is_charged_as_far_as_it_came_and_is_not_whole(meter, end):
    def broken():
        yield f"{LINES[0]}\n{LINES[1]}\n".encode()
        yield LINES[2][:9].encode()
        raise httpx2.ReadError("gone")

    response = watched(meter, broken())
    pieces = iter(response.stream)
    next(pieces)
    match end:
        case "close":
            response.close()
        case "break":
            pieces.close()
        case "drop":
            del pieces, response
        case _:
            with pytest.raises(httpx2.ReadError):
                list(pieces)

    assert (names(meter), meter.batches.delivered) == (["f/é0", "f/é1"], [(("f",), False)])


@pytest.mark.parametrize("way", ["user", "run"])
def test_a_file_that_is_left_is_whoever_s_asked_for_it(way):
    with FakeMistral() as server, Callfare("memory://") as fare, httpx2.Client(verify=UNTRUSTING) as connections:
        fare.grant("alice", 2000, key="k")
        server.files["f"] = FILE
        client = fare.wrap(Mistral(server_url=server.base_url, api_key="none", client=connections))

        with fare.user("alice") if way == "user" else fare.run("story", user="alice", hold=5):
            left = client.files.download(file_id="f")
            pieces = iter(left.stream)
            next(pieces)
            pieces.close()
            left.close()
            client.files.download(file_id="f").read()

        assert (fare.usage("alice").calls, fare.usage("unattributed").calls) == (3, 0)


@pytest.mark.parametrize("end", ["close", "break", "raise"])
def test_an_encoded_file_that_is_left_is_charged_as_far_as_it_came(meter, end):
    packer = zlib.compressobj(wbits=31)
    begun = packer.compress(f"{LINES[0]}\n{LINES[1]}\n{LINES[2][:9]}".encode()) + packer.flush(zlib.Z_SYNC_FLUSH)

    def broken():
        yield begun
        raise httpx2.ReadError("gone")

    response = watched(meter, broken(), **{"content-encoding": "gzip"})
    pieces = iter(response.stream)
    next(pieces)
    match end:
        case "close":
            response.close()
        case "break":
            pieces.close()
        case _:
            with pytest.raises(httpx2.ReadError):
                list(pieces)

    assert (names(meter), meter.batches.delivered) == (["f/é0", "f/é1"], [(("f",), False)])


async def test_an_async_encoded_file_that_is_closed_is_charged_as_far_as_it_came(meter):
    async def packed():
        yield gzip.compress(FILE)
        yield b""

    response = watched(meter, packed(), **{"content-encoding": "gzip"})
    pieces = aiter(response.stream)
    await anext(pieces)
    await response.aclose()

    assert (names(meter), meter.batches.delivered) == (["f/é0", "f/é1"], [(("f",), False)])


def test_an_encoded_file_that_is_too_long_is_charged_as_far_as_it_was_kept(meter, monkeypatch, caplog):
    monkeypatch.setattr(downloads, "_ENCODED_BYTES_MAX", 0)
    packer = zlib.compressobj(wbits=31)
    begun = packer.compress(f"{LINES[0]}\n".encode()) + packer.flush(zlib.Z_SYNC_FLUSH)
    rest = packer.compress(f"{LINES[1]}\n".encode()) + packer.flush()

    watched(meter, iter([begun, rest]), **{"content-encoding": "gzip"}).read()

    assert (names(meter), meter.batches.delivered) == (["f/é0"], [(("f",), False)])
    assert [record.name for record in caplog.records] == [LOGGER.name]


async def test_an_async_body_is_charged_as_far_as_it_came_when_it_breaks(meter):
    async def broken():
        yield f"{LINES[0]}\n".encode()
        raise httpx2.ReadError("gone")

    with pytest.raises(httpx2.ReadError):
        [piece async for piece in watched(meter, broken()).stream]

    assert (names(meter), meter.batches.delivered) == (["f/é0"], [(("f",), False)])


def test_a_line_too_long_to_be_read_leaves_the_file_unfinished(meter, monkeypatch, caplog):
    monkeypatch.setattr(batches, "_LINE_BYTES_MAX", 200)
    long = json.dumps({"custom_id": "long", "response": {"body": BODY | {"data": "x" * 300}}})
    content = f"{LINES[0]}\n{long}\n{LINES[1]}\n".encode()

    watched(meter, (content[at : at + 50] for at in range(0, len(content), 50))).read()

    assert (names(meter), meter.batches.delivered) == (["f/é0", "f/é1"], [(("f",), False)])
    assert [record.name for record in caplog.records] == [LOGGER.name]


def test_a_line_too_long_to_be_read_is_not_gathered(monkeypatch):
    monkeypatch.setattr(batches, "_LINE_BYTES_MAX", 200)
    tally = LinesTally(iter, "response")

    for _ in range(99):
        tally.take(b"{" * 50)

    assert len(tally._line) < 300


@pytest.mark.parametrize("begins", [b"\0" * 99, b"  [", b"%PDF"])
def test_a_file_of_something_else_is_not_gathered(begins):
    tally = LinesTally(iter, "response")

    for _ in range(99):
        tally.take(begins)

    assert len(tally._line) < 200


def test_a_file_that_the_sdk_has_whole_is_whole():
    for whole in (FILE.decode(), type("File", (), {"content": FILE})(), json.loads(LINES[0])):
        tally = LinesTally(iter, "response")

        tally.take(whole)

        assert (tally.reply[0], tally.is_counted) == (json.loads(LINES[0]), True)


def test_what_is_no_response_stays_as_it_is(meter):
    for odd in (None, b"bytes", object(), httpx2.Response(200, content=b"read already")):
        watch_body(odd, None)

    assert meter.tickets == []
