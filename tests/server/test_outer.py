"""What every request passes: its id, host, origin, size, depth, headers and deadline; hostile ones get a 4xx."""

from __future__ import annotations

import json
import socket
import threading

import pytest

from callfare.errors import LedgerCorrupt
from callfare.server import limits
from tests.support.slow_store import until

B = "/api/billing"
EVENT = {"userId": "alice", "model": "gpt-5-mini", "usage": {"input_tokens": 1}}
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def server(shared):
    """The server of all of them: most are refused, and the others mind nobody."""
    return shared


def code(response):
    """Return the status and the code of a refusal, which must have the one shape."""
    error = response.json()["error"]
    assert {"code", "message", "param", "request_id"} <= error.keys()
    assert error["request_id"] == response.headers["x-request-id"]
    return response.status_code, error["code"]


def test_a_request_keeps_the_id_it_came_with_when_it_is_a_clean_one(client):
    kept = client.get("/healthz", headers={"X-Request-Id": "trace-1.a:b"})
    made = client.get("/healthz", headers={"X-Request-Id": "a b\tc"})
    long = client.get("/healthz", headers={"X-Request-Id": "a" * 65})

    assert kept.headers["x-request-id"] == "trace-1.a:b"
    assert made.headers["x-request-id"].startswith("req_")
    assert long.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil:80", "10.0.0.1", ""])
@pytest.mark.parametrize("path", ["/healthz", f"{B}/packages", f"{B}/balance?userId=alice", "/nothing"])
def test_a_foreign_host_is_refused_on_every_route(client, host, path):
    assert code(client.get(path, headers={"Host": host})) == (421, "host_refused")


@pytest.mark.parametrize("host", ["localhost", "localhost:80", "127.0.0.1:1", "[::1]:8787"])
def test_names_of_the_loopback_are_answered(client, host):
    assert client.get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:1", "http://127.0.0.1"])
def test_a_page_of_another_origin_is_refused(client, origin):
    assert code(client.get(f"{B}/packages", headers={"Origin": origin})) == (403, "origin_refused")


def test_a_page_of_the_servers_own_origin_is_answered_and_no_cors_is_sent(client, server):
    answer = client.get(f"{B}/packages", headers={"Origin": server.url})

    assert answer.status_code == 200
    assert not [name for name in answer.headers if name.startswith("access-control")]


# Also sent where credits are sold: test_selling.py.
HOSTILE = {
    "no JSON": b"{",
    "a NUL": json.dumps(EVENT | {"userId": "a\0b"}).encode(),
    "half a character": b'{"userId": "\\ud800", "model": "m", "usage": {"input_tokens": 1}}',
    "half a character in a name": b'{"\\ud800": 1}',
    "bytes that are no text": b'{"userId": "\xff"}',
    "10,000 levels of lists": b"[" * 10_000 + b"]" * 10_000,
    "10,000 levels of objects": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "10,000 levels that never end": b"[" * 10_000,
    "brackets in a text that never ends": b'"' + b"[" * 10_000,
    "a deep metadata": json.dumps(EVENT | {"metadata": {"a": json.loads("[" * 36 + "]" * 36)}}).encode(),
    "1 MB of metadata": json.dumps(EVENT | {"metadata": {"a": "x" * 1_000_000}}).encode(),
    "NaN": b'{"userId": "alice", "model": "m", "usage": {"input_tokens": NaN}}',
    "a huge number": b'{"userId": "alice", "model": "m", "usage": {"input_tokens": 1' + b"0" * 5000 + b"}}",
    "a huge exponent": b'{"userId": "alice", "model": "m", "usage": {"input_tokens": 1e999999}}',
    "a float": json.dumps(EVENT | {"usage": {"input_tokens": 1.5}}).encode(),
    "true": json.dumps(EVENT | {"usage": {"input_tokens": True}}).encode(),
    "an unknown name": json.dumps(EVENT | {"amount": 5}).encode(),
    "a name in snake case": json.dumps({"user_id": "alice", "model": "m", "usage": {"calls": 1}}).encode(),
    "a time without a zone": json.dumps(EVENT | {"at": "2026-11-23T11:00:00"}).encode(),
    "a time as a number": json.dumps(EVENT | {"at": 1}).encode(),
    "a time far away": json.dumps(EVENT | {"at": "9999-12-31T23:59:59-23:59"}).encode(),
    "a list for a text": json.dumps(EVENT | {"model": ["m"]}).encode(),
    "null": b"null",
    "nothing": b"",
    "a long user": json.dumps(EVENT | {"userId": "a" * 256}).encode(),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("route", ["events", "grants", "runs", "price"])
def test_a_hostile_body_gets_a_refusal_that_says_so(client, name, route):
    answer = client.post(f"{B}/{route}", content=HOSTILE[name], headers=JSON | {"Idempotency-Key": "k"})

    status, said = code(answer)
    assert 400 <= status < 500, answer.text
    assert said.startswith(("invalid_", "unknown_", "key_conflict", "body_too_large", "unpriced_model")), said


def test_the_largest_body_is_taken_and_one_byte_more_is_not(client):
    room = limits.BODY_BYTES_MAX - len(json.dumps(EVENT))
    padded = json.dumps(EVENT).encode() + b" " * room

    taken = client.post(f"{B}/events", content=padded, headers=JSON)
    over = client.post(f"{B}/events", content=padded + b" ", headers=JSON)

    assert taken.status_code == 200
    assert code(over) == (413, "body_too_large")


def test_a_body_that_does_not_say_how_long_it_is_has_the_same_bound(client):
    parts = (b" " * 65_536 for _ in range(100))

    assert code(client.post(f"{B}/events", content=parts, headers=JSON)) == (413, "body_too_large")


@pytest.mark.parametrize(
    "query",
    [
        "userId=a%00b",
        "userId=" + "a" * 300,
        "userId=a&userId=b",
        "userid=alice",
        "userId=alice&limit=0",
        "userId=alice&limit=99999999999999999999",
        "userId=alice&limit=x",
        "userId=alice&cursor=%ff",
        "userId=alice&cursor=" + "A" * 3000,
        "userId=alice&limit=10&cursor=W10",
    ],
)
def test_a_hostile_query_gets_a_refusal(client, query):
    status, said = code(client.get(f"{B}/transactions?{query}"))

    assert (status, said) in {(400, "invalid_input"), (400, "invalid_user")}


@pytest.mark.parametrize("path", ["runs/%00", "runs/%ff", "runs/" + "a" * 300, "charges/%0a", "charges/" + "a" * 9000])
def test_a_hostile_address_gets_a_refusal(client, path):
    status, _ = code(client.get(f"{B}/{path}"))

    assert status in {400, 404}


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "", "application/json; charset=utf-16"]
)
def test_a_body_of_another_kind_is_not_taken(client, kind):
    refused = client.post(f"{B}/events", content=json.dumps(EVENT), headers={"Content-Type": kind})

    assert code(refused) == (415, "unsupported_media")


def test_a_compressed_body_is_not_taken(client):
    refused = client.post(f"{B}/events", content=b"x", headers=JSON | {"Content-Encoding": "gzip"})

    assert code(refused) == (415, "unsupported_media")


@pytest.mark.parametrize("key", ["", "a" * 256, "caf\u00e9", "a\tb"])
def test_a_key_that_is_no_clean_text_is_refused(client, key):
    refused = client.post(
        f"{B}/grants", json={"userId": "alice", "credits": 1}, headers={"Idempotency-Key": key.encode("latin-1")}
    )

    assert code(refused)[0] == 400


def test_two_credentials_are_none(server):
    with socket.create_connection((server.host, server.port), timeout=60) as line:
        line.sendall(
            b"GET /api/billing/balance?userId=alice HTTP/1.1\r\nHost: localhost\r\n"
            b"Authorization: Bearer alice\r\nAuthorization: Bearer service\r\nConnection: close\r\n\r\n"
        )
        said = b"".join(iter(lambda: line.recv(65_536), b""))

    assert said.startswith(b"HTTP/1.1 400 ")


def test_whoever_goes_before_all_was_sent_is_no_fault_of_ours(server, caplog):
    with caplog.at_level("INFO", logger="callfare.http"):
        with socket.create_connection((server.host, server.port), timeout=60) as line:
            head = (
                f"Host: localhost\r\nAuthorization: Bearer {server.credentials['service']}\r\nX-Request-Id: gone-1\r\n"
            )
            line.sendall(f"POST {B}/price HTTP/1.1\r\n{head}".encode())
            line.sendall(b"Content-Type: application/json\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n{")
            assert line.recv(100).startswith(b"HTTP/1.1 100 ")
        until(lambda: any(getattr(one, "request_id", "") == "gone-1" for one in caplog.records))

    assert [one.levelname for one in caplog.records if getattr(one, "request_id", "") == "gone-1"] == ["INFO"]


def test_what_does_not_answer_in_time_is_told_to_come_back(server, client, monkeypatch):
    waiting = threading.Event()
    monkeypatch.setattr("callfare.server.outer.DEADLINE_S", 0.05)
    monkeypatch.setattr(server.engine.store, "look", lambda asked: waiting.wait(60))

    late = client.get(f"{B}/balance", params={"userId": "alice"})
    waiting.set()

    assert code(late) == (503, "deadline_exceeded")
    assert late.headers["retry-after"] == "2"


def test_a_fault_of_ours_says_nothing_of_what_it_was(server, client, monkeypatch, caplog):
    def fail(user):
        raise RuntimeError("a canary in /srv/secret")

    monkeypatch.setattr(server.engine.store, "look", fail)
    failed = client.get(f"{B}/balance", params={"userId": "alice"}, headers={"X-Request-Id": "lost-1"})

    assert code(failed) == (500, "internal_error")
    assert "canary" not in failed.text
    assert any("lost-1" in str(record.__dict__.get("request_id")) for record in caplog.records)


def test_what_is_wrong_with_the_servers_files_is_for_its_owner(server, client, monkeypatch):
    def fail(user):
        raise LedgerCorrupt("row 7 of /srv/secret/callfare.db is torn")

    monkeypatch.setattr(server.engine.store, "look", fail)
    failed = client.get(f"{B}/balance", params={"userId": "alice"})

    assert code(failed) == (500, "ledger_corrupt")
    assert "secret" not in failed.text


def test_a_run_that_cannot_be_paid_for_does_not_tell_where_the_ledger_is(client):
    refused = client.post(f"{B}/runs", json={"userId": "alice", "workflowType": "story"})

    assert code(refused) == (402, "insufficient_credit")
    assert "--db" not in refused.text


@pytest.mark.parametrize("amount", [18.5, None, True, [1], float("nan")])
def test_an_amount_that_is_none_is_told_how_to_say_it(client, amount):
    sent = json.dumps({"userId": "alice", "credits": amount})

    refused = client.post(f"{B}/grants", content=sent, headers=JSON | {"Idempotency-Key": "k"})

    assert code(refused) == (400, "invalid_input")
    assert refused.json()["error"]["param"] == "credits"
    assert 'decimal text, such as 18 or "18.5"' in refused.json()["error"]["message"]


def test_what_is_wrong_with_a_key_is_named_as_it_was_sent(client):
    roll = client.post(f"{B}/keys/none/roll", json={"overlapSeconds": 3})
    cap = client.post(f"{B}/keys", json={"label": "x", "scopes": ["all:read"], "grantCapCredits": "-1"})

    assert [one.json()["error"]["param"] for one in (roll, cap)] == ["keyId", "grantCapCredits"]
