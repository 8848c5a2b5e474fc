"""How long a server is waited for: growing pauses, Retry-After, deadlines; and what is refused meanwhile."""

from __future__ import annotations

import socket
import threading
from contextlib import closing, suppress

import pytest

from callfare import AsyncCallfare, Callfare, Credits, LedgerUnavailable
from callfare.clock import elapsed_s
from callfare.ids import jitter
from callfare.remote import client
from tests.support.ports import held_port
from tests.support.scripted import Scripted
from tests.support.serving import engine_on, served

IMAGE = {"model": "gpt-image-1", "usage": {"images": 1}, "attributes": {"size": "1024x1024"}}
UNAVAILABLE = {"error": {"code": "ledger_unavailable", "message": "the ledger does not answer", "param": None}}
NOON = "Sun, 22 Nov 2026 12:00:00 GMT"
PACKAGES = {"packages": []}


def asked_twice(scripted: Scripted, **headers: str) -> None:
    scripted.answers = [(503, {name.replace("_", "-"): text for name, text in headers.items()}, UNAVAILABLE)]
    scripted.answers.append((200, {}, {"keys": [], "nextCursor": None}))


def test_pauses_between_tries_grow_and_chance_decides_them(scripted, fare, monkeypatch):
    scripted.answers = [(503, {}, UNAVAILABLE)]
    most = []
    monkeypatch.setattr(client, "jitter", lambda bound: most.append(bound) or 0)

    with pytest.raises(LedgerUnavailable):
        fare.keys()

    assert most == [100, 400]
    assert len(scripted.asked) == 3
    drawn = {jitter(400) for _ in range(200)}
    assert min(drawn) >= 0
    assert max(drawn) <= 400
    assert len(drawn) > 20


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"Retry_After": "1"}, 1),
        ({"Retry_After": "Sun, 22 Nov 2026 12:00:01 GMT", "Date": NOON}, 1),
        ({"Retry_After": "Sun, 22 Nov 2026 11:59:00 GMT", "Date": NOON}, 0),
        ({"Retry_After": "soon"}, 0),
        ({"Retry_After": "-5"}, 0),
        ({"Retry_After": "1e9"}, 0),
        ({"Retry_After": "\u00b2".encode("latin-1").decode("latin-1")}, 0),
        ({"Retry_After": "9999999999999"}, 0),
    ],
    ids=str,
)
def test_what_retry_after_asks_for_is_done_and_what_is_none_is_left(scripted, fare, headers, wait_s):
    asked_twice(scripted, **headers)
    began_s = elapsed_s()

    assert fare.keys().items == ()

    assert len(scripted.asked) == 2
    assert elapsed_s() - began_s >= wait_s


def test_a_date_too_far_off_is_not_waited_for(scripted, fare):
    scripted.answers = [(503, {"Retry-After": "Mon, 23 Nov 2026 12:00:00 GMT", "Date": NOON}, UNAVAILABLE)]

    with pytest.raises(LedgerUnavailable):
        fare.keys()

    assert len(scripted.asked) == 1


@pytest.fixture
def mute():
    """A server that takes connections and says nothing, or a byte now and then, of a body or of its headers."""
    beginnings = (None, b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"HTTP/1.1 200 OK\r\nX-Long:")
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        open_ones, over = [], threading.Event()

        def drip(connection, beginning):
            with suppress(OSError):
                connection.sendall(beginning)
                while not over.wait(0.1):
                    connection.sendall(b" ")

        def accept():
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    open_ones.append(connection)
                    beginning = beginnings[(len(open_ones) - 1) % 3]
                    if beginning is not None:
                        threading.Thread(target=drip, args=(connection, beginning)).start()

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        over.set()
        listener.shutdown(socket.SHUT_RDWR)
        for connection in open_ones:
            connection.close()


def test_a_server_that_says_nothing_or_next_to_nothing_is_given_up_in_time(mute):
    with Callfare(mute, api_key="cf_test_x", deadline_s=1) as fare:
        for _ in range(3):
            began_s = elapsed_s()
            with pytest.raises(LedgerUnavailable):
                fare.keys()
            assert 0.9 < elapsed_s() - began_s < 120


@pytest.fixture
def port():
    with held_port() as port:
        yield port


async def test_while_a_server_is_away_nothing_new_begins_and_nothing_made_is_lost(tmp_path, port):
    ledger = f"sqlite:///{tmp_path}/callfare.db"
    with served(engine_on(ledger), port=port) as serving:
        fare = AsyncCallfare(serving.url, api_key=serving.credentials["service"])
        await fare.grant("alice", 100, key="welcome")
        run = await fare.open_run("story", user="alice", run_id="r1", hold=4)
    made = await run.record(**IMAGE)

    with pytest.raises(LedgerUnavailable):
        await fare.open_run("story", user="alice", hold=1)
    with pytest.raises(LedgerUnavailable):
        await run.extend(10)
    with pytest.raises(LedgerUnavailable):
        await fare.balance("alice")

    assert (made.is_spooled, (await fare.spool()).waiting) == (True, 1)
    with served(engine_on(ledger), port=port, shown=lambda *_: {}):
        await fare.drain_spool()
        receipt = await run.close()
        assert (receipt.charged, receipt.calls) == (Credits(4), 1)
        assert (await fare.balance("alice")).available == Credits(96)
        await fare.close()
