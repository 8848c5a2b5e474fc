"""Each route does what it says, over a real socket, on each database."""

from __future__ import annotations

import csv
import io
from urllib.parse import quote

import pytest

B = "/api/billing"
TWEET = {"model": "gpt-5-mini", "usage": {"input_tokens": 1200, "output_tokens": 350}}


def said(response, status=200):
    """Return the body of an answer that must have a status."""
    assert response.status_code == status, response.text
    return response.json()


def code(response):
    """Return the status and the code of a refusal."""
    error = response.json()["error"]
    assert error["request_id"] == response.headers["x-request-id"]
    return response.status_code, error["code"]


def test_the_packages_of_the_specification_are_for_everybody(server):
    with server.client(None) as nobody:
        answer = said(nobody.get(f"{B}/packages"))

    assert answer["packages"][1] == {
        "id": "credits_2000",
        "name": "Creator",
        "credits": "2000",
        "priceUsd": "18",
        "creditsPerUsd": 111,
    }
    assert [package["id"] for package in answer["packages"]] == [
        "credits_500",
        "credits_2000",
        "credits_5000",
        "credits_15000",
    ]


def test_a_grant_can_be_repeated_and_is_in_the_balance(client):
    asked = {"userId": "user_123", "credits": "2000.5", "source": "promo"}

    first = client.post(f"{B}/grants", json=asked, headers={"Idempotency-Key": "welcome"})
    again = client.post(f"{B}/grants", json=asked, headers={"Idempotency-Key": "welcome"})
    other = client.post(f"{B}/grants", json=asked | {"credits": 3}, headers={"Idempotency-Key": "welcome"})

    assert said(first) == {
        "userId": "user_123",
        "key": "welcome",
        "credits": "2000.5",
        "repaidCredits": "0",
        "availableCredits": "2000.5",
        "expiresAt": None,
        "isReplay": False,
    }
    assert said(again) == said(first) | {"isReplay": True}
    assert again.headers["idempotent-replayed"] == "true"
    assert code(other) == (409, "key_conflict")
    assert said(client.get(f"{B}/balance", params={"userId": "user_123"}))["availableCredits"] == "2000.5"


@pytest.mark.parametrize("amount", ["2", "9223372036", "9223372036.854775807"])
def test_a_grant_above_the_daily_cap_of_its_key_says_which_amount_is_too_much(client, amount):
    asked = {"label": "granting", "scopes": ["credits:grant"], "grantCapCredits": "6"}
    granting = {"Authorization": f"Bearer {said(client.post(f'{B}/keys', json=asked))['key']}"}
    body = {"userId": "alice", "credits": "5"}
    said(client.post(f"{B}/grants", json=body, headers=granting | {"Idempotency-Key": "within"}))

    above = client.post(f"{B}/grants", json=body | {"credits": amount}, headers=granting | {"Idempotency-Key": "above"})

    error = above.json()["error"]
    assert (code(above), error["param"]) == ((403, "grant_cap_reached"), "credits")
    assert (error["cap"], error["granted"], error["asked"]) == ("6", "5", amount)


def test_a_grant_that_no_balance_can_hold_says_which_amount_is_too_much(client):
    asked = {"label": "granting", "scopes": ["credits:grant"], "grantCapCredits": "9223372036"}
    granting = {"Authorization": f"Bearer {said(client.post(f'{B}/keys', json=asked))['key']}"}
    for key in ("first", "second"):
        body = {"userId": "alice", "credits": "4611686018"}
        said(client.post(f"{B}/grants", json=body, headers=granting | {"Idempotency-Key": key}))

    above = client.post(f"{B}/grants", json={"userId": "alice", "credits": "5"}, headers={"Idempotency-Key": "above"})

    assert code(above) == (400, "amount_out_of_range")
    assert above.json()["error"]["param"] == "credits"


def test_a_grant_without_a_key_is_refused(client):
    refused = client.post(f"{B}/grants", json={"userId": "alice", "credits": 5})

    assert code(refused) == (400, "key_required")


def test_a_run_is_opened_extended_used_and_closed(alice):
    opened = said(
        alice.post(f"{B}/runs", json={"userId": "alice", "workflowType": "tweet", "runId": "r/1", "holdCredits": 20})
    )
    more = said(alice.post(f"{B}/runs/r%2F1/extend", json={"credits": "5"}, headers={"Idempotency-Key": "x1"}))
    touched = said(alice.post(f"{B}/runs/r%2F1/touch", json={}))
    charge = said(alice.post(f"{B}/events", json=TWEET | {"runId": "r/1"}))
    running = said(alice.get(f"{B}/runs/r%2F1"))
    closed = said(alice.post(f"{B}/runs/r%2F1/close", json={"outcome": "completed"}))
    again = said(alice.post(f"{B}/runs/r%2F1/close", json={"outcome": "completed"}))
    otherwise = alice.post(f"{B}/runs/r%2F1/close", json={"outcome": "failed"})

    assert (opened["heldCredits"], more["heldCredits"], touched["heldCredits"]) == ("20", "25", "25")
    assert (charge["credits"], charge["costUsd"], charge["leftCredits"]) == ("0.039", "0.00039", "24.961")
    assert (running["status"], running["calls"], running["workflowType"]) == ("open", 1, "tweet")
    assert (closed["chargedCredits"], closed["givenBackCredits"]) == ("0.039", "24.961")
    assert again == closed | {"isReplay": True}
    assert code(otherwise) == (409, "run_closed")


def test_a_run_without_an_id_gets_the_same_one_for_the_same_key(alice):
    asked = {"userId": "alice", "workflowType": "tweet", "holdCredits": 20}

    first = said(alice.post(f"{B}/runs", json=asked, headers={"Idempotency-Key": "k"}))
    again = said(alice.post(f"{B}/runs", json=asked, headers={"Idempotency-Key": "k"}))
    other = alice.post(f"{B}/runs", json=asked | {"holdCredits": 30}, headers={"Idempotency-Key": "k"})
    contradictory = alice.post(f"{B}/runs", json=asked | {"runId": "r"}, headers={"Idempotency-Key": "k"})

    assert again == first | {"isReplay": again["isReplay"]}
    assert code(other) == (409, "key_conflict")
    assert code(contradictory) == (400, "invalid_input")


def test_a_run_that_cannot_be_paid_for_is_refused_with_the_figures(alice):
    refused = alice.post(f"{B}/runs", json={"userId": "alice", "workflowType": "story", "holdCredits": "100.5"})

    assert code(refused) == (402, "insufficient_credit")
    assert refused.json()["error"]["needed"] == "100.5"
    assert refused.json()["error"]["shortfall"] == "0.5"


def test_usage_tells_balance_total_workflows_models_and_latest_runs(alice):
    said(alice.post(f"{B}/runs", json={"userId": "alice", "workflowType": "tweet", "runId": "r1", "holdCredits": 20}))
    said(alice.post(f"{B}/events", json=TWEET | {"runId": "r1"}))
    said(alice.post(f"{B}/runs/r1/close", json={}))

    usage = said(alice.get(f"{B}/usage", params={"userId": "alice", "period": "month"}))

    spent = {"calls": 1, "unpricedCalls": 0, "costUsd": "0.00039", "credits": "0.039"}
    assert usage["period"] == "month"
    assert usage["balance"]["availableCredits"] == "99.961"
    assert usage["total"] == spent
    units = {"input_tokens": "1200", "output_tokens": "350"}
    assert usage["byWorkflow"] == [spent | {"workflowType": "tweet", "units": units}]
    assert usage["byModel"] == [spent | {"model": "gpt-5-mini", "units": units}]
    assert usage["byDay"] == [spent | {"day": "2026-11-23", "units": units}]
    assert [run["runId"] for run in usage["recentWorkflows"]] == ["r1"]


def test_calls_and_their_explanations_can_be_walked_to(alice):
    said(alice.post(f"{B}/events", json=TWEET | {"userId": "alice", "key": "c:1", "metadata": {"a": 1}}))
    said(alice.post(f"{B}/runs", json={"userId": "alice", "workflowType": "tweet", "runId": "r1", "holdCredits": 20}))
    charge = said(alice.post(f"{B}/events", json=TWEET | {"runId": "r1", "step": "draw"}))

    calls = said(alice.get(f"{B}/runs/r1/calls"))
    explanation = said(alice.get(f"{B}/charges/{quote(charge['id'], safe='')}"))

    assert [call["step"] for call in calls["calls"]] == ["draw"]
    assert calls["nextCursor"] is None
    assert explanation["call"]["id"] == charge["id"]
    assert explanation["run"]["runId"] == "r1"
    assert len(explanation["arithmetic"]) >= 2


def test_lists_come_in_pages(alice):
    for number in range(3):
        said(alice.post(f"{B}/events", json=TWEET | {"userId": "alice", "key": str(number)}))

    first = said(alice.get(f"{B}/transactions", params={"userId": "alice", "limit": 3}))
    rest = said(alice.get(f"{B}/transactions", params={"userId": "alice", "cursor": first["nextCursor"]}))

    numbers = [transfer["number"] for transfer in first["transactions"] + rest["transactions"]]
    assert numbers == [4, 3, 2, 1]
    assert rest["nextCursor"] is None
    assert code(alice.get(f"{B}/transactions", params={"userId": "alice", "limit": 201})) == (400, "invalid_input")


def test_prices_and_estimates_have_no_effect(alice):
    price = said(alice.post(f"{B}/price", json=TWEET))
    estimate = said(alice.get(f"{B}/estimate", params={"workflowType": "story", "userId": "alice"}))
    unknown = alice.get(f"{B}/estimate", params={"workflowType": "opera"})
    unpriced = alice.post(f"{B}/price", json={"model": "unheard-of", "usage": {"input_tokens": 1}})

    misspelt = alice.post(f"{B}/price", json={"model": "sora2", "usage": {"video_seconds": 1}})

    assert code(misspelt) == (422, "unpriced_model")
    assert misspelt.json()["error"]["near"] == ["sora-2"]
    assert "; did you mean sora-2? If not, add a rate" in misspelt.json()["error"]["message"]
    assert (price["costUsd"], price["credits"], len(price["lines"])) == ("0.00039", "0.039", 2)
    assert (estimate["lowUsd"], estimate["highUsd"]) == ("1", "5")
    assert code(unknown) == (400, "unknown_workflow")
    assert code(unpriced) == (422, "unpriced_model")
    assert said(alice.get(f"{B}/balance", params={"userId": "alice"}))["availableCredits"] == "100"


def test_an_export_tells_every_row_as_csv_and_as_lines_of_json(alice):
    for number in range(3):
        said(alice.post(f"{B}/events", json=TWEET | {"userId": "alice", "key": str(number)}))

    table = alice.get(f"{B}/export/events", params={"userId": "alice"})
    lines = alice.get(f"{B}/export/events", params={"userId": "alice", "format": "jsonl"})

    rows = list(csv.DictReader(io.StringIO(table.text)))
    assert [row["charged_credits"] for row in rows] == ["0.039", "0.039", "0.039"]
    assert len(lines.text.splitlines()) == 3
    assert code(alice.get(f"{B}/export/secrets")) == (400, "invalid_input")


def test_what_is_not_there_is_said_so(alice):
    assert code(alice.get(f"{B}/runs/none")) == (404, "run_not_found")
    assert code(alice.get(f"{B}/runs/none/calls")) == (404, "run_not_found")
    assert code(alice.get(f"{B}/charges/chg_none")) == (404, "charge_not_found")
    assert code(alice.post(f"{B}/runs/none/close", json={})) == (404, "run_not_found")
    assert code(alice.get(f"{B}/nothing")) == (404, "route_not_found")
    assert code(alice.delete(f"{B}/balance")) == (405, "method_not_allowed")


def test_payments_are_not_configured_yet(alice):
    bought = alice.post(f"{B}/checkout", json={"userId": "alice", "email": "a@example.com", "packageId": "credits_500"})
    shown = alice.post(f"{B}/portal", json={"userId": "alice", "email": "a@example.com"})
    told = alice.post(f"{B}/webhook", content=b"{}")

    assert {code(bought), code(shown), code(told)} == {(503, "payments_not_configured")}


def test_health_readiness_and_counts_are_told(alice):
    assert said(alice.get("/healthz")) == {"status": "ok"}
    assert said(alice.get("/readyz")) == {"status": "ok"}
    assert 'callfare_http_requests_total{method="GET",route="/healthz",status="200"} 1.0' in alice.get("/metrics").text
