"""A run's id is its user's own: what one user calls a run confuses nobody who says, or is known by, whose run it is."""

from __future__ import annotations

import pytest

from callfare.server.rules import API, RULES

CALL = {"model": "gpt-5-mini", "usage": {"input_tokens": 1200}}
# Each request that names a run by its id, as the key of a service sends it.
ASKED = {
    ("GET", f"{API}/runs/{{run_id}}"): {},
    ("GET", f"{API}/runs/{{run_id}}/calls"): {},
    ("POST", f"{API}/runs/{{run_id}}/extend"): {"credits": 1},
    ("POST", f"{API}/runs/{{run_id}}/touch"): {},
    ("POST", f"{API}/events"): CALL | {"runId": "job"},
    ("POST", f"{API}/runs/{{run_id}}/close"): {},
}


@pytest.fixture
def two(server, alice):
    """A server on which alice, by her own token, has chosen the id that a service gave to a run of bob's."""
    asked = {"workflowType": "tweet", "runId": "job", "holdCredits": 5}
    with server.client("alice") as token:
        opened = [alice.post(f"{API}/runs", json=asked | {"userId": "bob"}), token.post(f"{API}/runs", json=asked)]
    assert [one.status_code for one in opened] == [200, 200]
    return server


def ask(client, route, user=None):
    """Return the answer to a request about the run `job`, of a user where one is named."""
    method, template = route
    body = dict(ASKED[route]) | ({} if user is None else {"userId": user})
    path = template.format(run_id="job")
    return client.get(path, params=body) if method == "GET" else client.post(path, json=body)


def test_every_route_that_names_a_run_is_here():
    assert {route for route in RULES if "{run_id}" in route[1]} == ASKED.keys() - {("POST", f"{API}/events")}


@pytest.mark.parametrize("route", ASKED, ids=" ".join)
def test_a_service_is_told_to_name_the_user_and_then_reaches_the_one_run(two, client, route):
    unnamed, named = ask(client, route), ask(client, route, "bob")

    error = unnamed.json()["error"]
    assert (unnamed.status_code, error["code"], error["param"]) == (400, "run_ambiguous", "userId")
    assert (error["run_id"], error["users"]) == ("job", 2)
    assert error["message"].endswith("send userId beside it, in a body or as a parameter")
    assert named.status_code == 200, named.text


@pytest.mark.parametrize(
    "route", [route for route in ASKED if not route[1].endswith(("/close", "/events"))], ids=" ".join
)
def test_a_users_token_reaches_its_own_run_and_never_hears_of_another(two, route):
    with two.client("alice") as token:
        answer = ask(token, route)

    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("route", ASKED, ids=" ".join)
def test_a_key_that_is_bound_to_a_user_reaches_their_run(two, route):
    with two.client("bound") as bound:
        answer = ask(bound, route)

    assert answer.status_code == 200, answer.text


def test_in_a_batch_the_one_that_names_nobody_is_refused_by_itself(two, client):
    events = [CALL | {"runId": "job"}, CALL | {"runId": "job", "userId": "bob"}]

    first, second = client.post(f"{API}/events", json=events).json()["results"]

    assert (first["error"]["code"], second["status"]) == ("run_ambiguous", "recorded")


def test_what_alice_calls_her_run_moves_nothing_of_bobs(two, client):
    ask(client, ("POST", f"{API}/events"), "bob")
    ask(client, ("POST", f"{API}/runs/{{run_id}}/close"), "bob")

    runs = {user: client.get(f"{API}/runs/job", params={"userId": user}).json() for user in ("alice", "bob")}
    assert [(runs[user]["status"], runs[user]["calls"]) for user in runs] == [("open", 0), ("completed", 1)]
