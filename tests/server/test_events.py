"""Intake: single events, batches with an answer for each, CloudEvents, and what happens when they are sent again."""

from __future__ import annotations

from callfare.errors import LedgerUnavailable

B = "/api/billing"
TWEET = {"model": "gpt-5-mini", "usage": {"input_tokens": 1200, "output_tokens": 350}}


def said(response, status=200):
    assert response.status_code == status, response.text
    return response.json()


def available(client, user="alice"):
    return said(client.get(f"{B}/balance", params={"userId": user}))["availableCredits"]


def test_an_event_of_a_user_is_charged_and_answered(alice):
    charge = said(alice.post(f"{B}/events", json=TWEET | {"userId": "alice"}))

    assert (charge["credits"], charge["status"], charge["isReplay"]) == ("0.039", "priced", False)
    assert available(alice) == "99.961"


def test_an_event_sent_again_under_its_key_charges_once(alice):
    headers = {"Idempotency-Key": "e1"}

    first = alice.post(f"{B}/events", json=TWEET | {"userId": "alice"}, headers=headers)
    again = alice.post(f"{B}/events", json=TWEET | {"userId": "alice"}, headers=headers)
    other = alice.post(f"{B}/events", json=TWEET | {"userId": "alice", "usage": {"input_tokens": 1}}, headers=headers)

    assert said(again) == said(first) | {"isReplay": True}
    assert said(other, 409)["error"]["code"] == "key_conflict"
    assert available(alice) == "99.961"


def test_a_batch_has_an_answer_for_each_event(alice):
    events = [
        TWEET | {"userId": "alice"},
        TWEET | {"userId": "alice", "usage": {"input_tokens": "many"}},
        TWEET | {"runId": "none"},
        TWEET | {"userId": "alice", "perod": "month"},
        TWEET,
        {"userId": "bob", "model": "gpt-5-mini", "usage": {"output_tokens": "1000000"}},
    ]

    batch = said(alice.post(f"{B}/events", json=events))

    told = [result.get("error", {}).get("code") or result["charge"]["credits"] for result in batch["results"]]
    assert told == ["0.039", "invalid_quantity", "run_not_found", "invalid_input", "invalid_input", "60"]
    assert (batch["recorded"], batch["refused"]) == (2, 4)
    assert available(alice) == "99.961"
    # What nothing covered of bob's call is debt.
    assert available(alice, "bob") == "0"


def test_a_batch_sent_again_under_its_key_charges_once(alice):
    events = [TWEET | {"userId": "alice"} for _ in range(5)]

    first = said(alice.post(f"{B}/events", json=events, headers={"Idempotency-Key": "b1"}))
    again = said(alice.post(f"{B}/events", json=events, headers={"Idempotency-Key": "b1"}))

    assert [result["charge"]["isReplay"] for result in first["results"]] == [False] * 5
    assert [result["charge"]["isReplay"] for result in again["results"]] == [True] * 5
    assert available(alice) == "99.805"


def test_a_thousand_events_are_taken_and_one_more_is_not(alice):
    full = said(alice.post(f"{B}/events", json=[TWEET | {"userId": "alice"}] * 1000))
    over = alice.post(f"{B}/events", json=[TWEET | {"userId": "alice"}] * 1001)
    none = alice.post(f"{B}/events", json=[])

    assert (full["recorded"], full["refused"]) == (1000, 0)
    assert available(alice) == "61"
    assert said(over, 400)["error"]["code"] == "invalid_input"
    assert said(none, 400)["error"]["code"] == "invalid_input"


def test_cloud_events_are_charged_once_by_source_and_id(alice):
    event = {
        "specversion": "1.0",
        "id": "42",
        "source": "/workers/7",
        "type": "callfare.usage",
        "subject": "alice",
        "time": "2026-11-23T11:59:00Z",
        "data": TWEET,
    }
    one = {"Content-Type": "application/cloudevents+json"}
    many = {"Content-Type": "application/cloudevents-batch+json"}

    first = said(
        alice.request("POST", f"{B}/events", headers=one, content=alice.build_request("POST", "/", json=event).content)
    )
    batch = said(
        alice.request(
            "POST",
            f"{B}/events",
            headers=many,
            content=alice.build_request(
                "POST", "/", json=[event, event | {"id": "43"}, event | {"type": "other"}]
            ).content,
        )
    )

    assert first["isReplay"] is False
    assert [result["status"] for result in batch["results"]] == ["recorded", "recorded", "refused"]
    assert [result["charge"]["isReplay"] for result in batch["results"][:2]] == [True, False]
    assert available(alice) == "99.922"


def test_a_step_that_is_retried_charges_once(alice):
    said(alice.post(f"{B}/runs", json={"userId": "alice", "workflowType": "tweet", "runId": "r1", "holdCredits": 20}))

    said(alice.post(f"{B}/events", json=TWEET | {"runId": "r1", "step": "write"}, headers={"Idempotency-Key": "a"}))
    again = said(
        alice.post(
            f"{B}/events",
            json=TWEET | {"runId": "r1", "step": "write", "usage": {"input_tokens": 7}},
            headers={"Idempotency-Key": "b"},
        )
    )

    assert again["credits"] == "0"
    assert again["flags"] == ["attempt"]


def test_an_event_whose_ledger_is_away_waits_in_the_spool(server, alice, monkeypatch):
    def refuse(batch):
        raise LedgerUnavailable("away")

    monkeypatch.setattr(server.engine.store, "apply", refuse)
    charge = said(alice.post(f"{B}/events", json=TWEET | {"userId": "alice"}))
    monkeypatch.undo()

    assert charge["isSpooled"] is True
