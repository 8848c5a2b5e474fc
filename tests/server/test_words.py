"""What a refusal says over HTTP is of use there: no command, no argument of Python, no setting of the server's."""

from __future__ import annotations

import re

import pytest

from callfare.errors import NotFound, RunNotFound
from callfare.server.refusals import STEPS, message_of
from callfare.server.rules import API

# Commands, options, methods and arguments, none of which a caller over HTTP has.
ELSEWHERE = re.compile(r"`callfare|--[a-z]|\bfare\.|\b[a-z_]+=(?=\s|$|[A-Z(])|CALLFARE_|STRIPE_")
# For each step that is another one over HTTP: a request that is refused with it.
REFUSED = {
    ("insufficient_credit", None): ("runs", {"userId": "alice", "workflowType": "story", "holdCredits": "900"}),
    ("unknown_workflow", "workflow"): ("runs", {"userId": "alice", "workflowType": "opera"}),
    ("run_ambiguous", "user"): ("runs/same/touch", {}),
    ("run_not_found", "run_id"): ("runs/none/touch", {}),
    ("charge_not_found", "charge"): ("charges/none", None),
    ("not_found", "key_id"): ("keys/none/roll", {}),
    ("not_found", "package_id"): None,
    ("payments_not_configured", None): ("checkout", {"userId": "alice", "packageId": "credits_500"}),
}
# Requests with an argument that is refused, which goes by another name over HTTP.
MISNAMED = {
    "ttlSeconds": ("runs", {"userId": "alice", "workflowType": "story", "ttlSeconds": 0}),
    "overlapSeconds": ("keys/none/roll", {"overlapSeconds": 10**9}),
    "runId": ("runs", {"userId": "alice", "workflowType": "story", "runId": "a\u0001"}),
    "expiresAt": ("grants", {"userId": "alice", "credits": "5", "expiresAt": "2020-01-01T00:00:00Z"}),
}


@pytest.fixture(scope="module")
def client(shared):
    """A service's client on a ledger where alice and bob have a run of one id each."""
    with shared.client() as client:
        for user in ("alice", "bob"):
            grant = {"userId": user, "credits": "5"}
            client.post(f"{API}/grants", json=grant, headers={"Idempotency-Key": f"welcome:{user}"})
            asked = {"userId": user, "workflowType": "tweet", "runId": "same", "holdCredits": 1}
            assert client.post(f"{API}/runs", json=asked).status_code == 200
        yield client


def refused(client, path, body):
    """Return what a refusal says, to a request that writes unless it has no body."""
    headers = {"Idempotency-Key": "refused"} if path == "grants" else {}
    method, content = ("GET", {}) if body is None else ("POST", {"json": body})
    answer = client.request(method, f"{API}/{path}", headers=headers, **content)
    assert answer.status_code >= 400, answer.text
    return answer.json()["error"]


def test_every_step_that_is_another_one_over_http_is_here():
    assert REFUSED.keys() == STEPS.keys()


@pytest.mark.parametrize("said", [said for said in REFUSED if REFUSED[said]], ids=str)
def test_a_refusal_names_the_step_that_is_taken_over_http(client, said):
    error = refused(client, *REFUSED[said])

    assert error["code"] == said[0]
    assert error["message"].endswith(f"; {STEPS[said]}")
    assert not ELSEWHERE.search(error["message"]), error


@pytest.mark.parametrize("name", MISNAMED)
def test_a_refused_argument_is_called_what_it_is_called_over_http(client, name):
    error = refused(client, *MISNAMED[name])

    assert error["param"] == name
    assert not re.match(r"[a-z]+_", error["message"]), error


def test_what_is_said_here_of_an_error_is_seen_to_be_of_no_use_there():
    assert ELSEWHERE.search(RunNotFound("r1").message)
    assert not ELSEWHERE.search(message_of(RunNotFound("r1")))
    assert message_of(NotFound("that is not for sale", step="`callfare packages`", param="package_id")).endswith(
        "GET /api/billing/packages lists what is"
    )


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", ""])
def test_a_body_of_another_kind_is_told_which_header_it_lacks(client, kind):
    answer = client.post(f"{API}/events", content=b"{}", headers={"Content-Type": kind})

    assert answer.status_code == 415
    assert (kind or "nothing") in answer.json()["error"]["message"]
    assert "Content-Type: application/json" in answer.json()["error"]["message"]
