"""A repeat of a write gets the first answer and says so: every route that writes is here, or why it does not."""

from __future__ import annotations

import pytest

from callfare.server.rules import API, RULES

CALL = {"model": "gpt-5-mini", "usage": {"input_tokens": 1200}}
WRITES = {
    f"{API}/grants": {"userId": "alice", "credits": 5},
    f"{API}/runs": {"userId": "alice", "workflowType": "tweet", "holdCredits": 1},
    f"{API}/runs/{{run_id}}/extend": {"credits": 1},
    f"{API}/runs/{{run_id}}/close": {},
    f"{API}/events": CALL | {"userId": "alice"},
    f"{API}/keys": {"label": "backend", "scopes": ["usage:write"]},
    f"{API}/keys/{{key_id}}/roll": {},
    f"{API}/keys/{{key_id}}/revoke": {},
}
WITHOUT_REPLAYS = {
    "/mcp": "its tools write nothing",
    f"{API}/price": "writes nothing",
    f"{API}/verify": "writes nothing",
    f"{API}/tokens": "writes nothing: a repeat makes another token",
    f"{API}/runs/{{run_id}}/touch": "renews again, as it says",
    f"{API}/reprice": "finds nothing left to rate",
    f"{API}/commands": "tells of each command by itself",
    f"{API}/checkout": "with payments configured, in test_selling.py",
    f"{API}/portal": "each request gets an address of its own",
    f"{API}/webhook": "its events name themselves",
}
SAID_ANEW = {"isReplay", "key", "availableCredits"}


def test_every_route_that_is_posted_to_is_here():
    posted = {path for method, path in RULES if method not in {"GET", "HEAD"}}

    assert posted == WRITES.keys() | WITHOUT_REPLAYS.keys()


@pytest.fixture
def ids(alice):
    """What a path names: a run that is open, and a key."""
    opened = alice.post(f"{API}/runs", json={"userId": "alice", "workflowType": "tweet", "runId": "r1"})
    made = alice.post(f"{API}/keys", json={"label": "old", "scopes": ["usage:write"]})
    assert (opened.status_code, made.status_code) == (200, 200)
    return {"run_id": "r1", "key_id": made.json()["id"]}


@pytest.mark.parametrize("path", WRITES)
def test_a_repeat_is_the_first_answer_and_says_so(alice, ids, path):
    first, again = (
        alice.post(path.format(**ids), json=WRITES[path], headers={"Idempotency-Key": "the-same"}) for _ in range(2)
    )

    assert (first.status_code, again.status_code) == (200, 200), again.text
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["idempotency-key"] == first.headers["idempotency-key"]
    assert _kept(again.json()) == _kept(first.json())


def _kept(body: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in body.items() if name not in SAID_ANEW}


def test_a_batch_says_so_when_all_of_it_was_there(alice):
    headers = {"Idempotency-Key": "batch"}
    calls = [CALL | {"userId": "alice"}, CALL | {"userId": "alice", "key": "own"}]

    first, again = (alice.post(f"{API}/events", json=calls, headers=headers) for _ in range(2))
    more = alice.post(f"{API}/events", json=[*calls, CALL | {"userId": "alice", "key": "new"}], headers=headers)

    assert ["idempotent-replayed" in answer.headers for answer in (first, again, more)] == [False, True, False]
    assert [result["charge"]["isReplay"] for result in more.json()["results"]] == [True, True, False]


def test_another_request_under_the_same_key_is_a_conflict_and_no_replay(alice, ids):
    headers = {"Idempotency-Key": "the-same"}
    alice.post(f"{API}/runs/r1/extend", json={"credits": 1}, headers=headers)

    other = alice.post(f"{API}/runs/r1/extend", json={"credits": 2}, headers=headers)

    assert (other.status_code, other.json()["error"]["code"]) == (409, "key_conflict")
    assert "idempotent-replayed" not in other.headers
