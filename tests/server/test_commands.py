"""Commands of a library elsewhere: each under the rule of its own route, in order, refused by itself."""

from __future__ import annotations

import pytest

from callfare.server.routes_commands import KINDS
from callfare.server.rules import API, RULES
from tests.server.test_callers import CALLERS, may
from tests.support.serving import engine_on, served

TWEET = {"model": "gpt-5-mini", "usage": {"input_tokens": 1200, "output_tokens": 350}}
JOB = {"model": "sora-2", "usage": {"video_seconds": 4}, "attributes": {"resolution": "720p"}}
# For each kind of command: how it is asked about a user's rows; `{user}` is put in.
ASKED = {
    "grant": {"userId": "{user}", "credits": 1, "key": "k"},
    "openRun": {"userId": "{user}", "workflowType": "tweet", "runId": "new", "holdCredits": 1},
    "extendRun": {"runId": "run-{user}", "credits": 1, "key": "k"},
    "touchRun": {"runId": "run-{user}"},
    "closeRun": {"runId": "run-{user}"},
    "recordUsage": TWEET | {"runId": "run-{user}"},
    "correctUsage": {"chargeId": "{charge}", "usage": {"input_tokens": 1}},
    "beginJob": JOB | {"runId": "run-{user}", "jobId": "video_1"},
    "claimBatch": {"batchKeys": ["batch:openai::b9"], "runId": "run-{user}"},
    "endJob": {"jobKey": "job:openai::video_9", "outcome": "failed"},
}
# A run that another caller has closed, a charge that was no estimate, a job that nobody began.
FINE = {None, "run_closed", "invalid_input", "not_found"}


@pytest.fixture
def house(tmp_path):
    """A server on which alice and bob have a run and a charge each."""
    with served(engine_on(f"sqlite:///{tmp_path}/x.db")) as serving, serving.client() as service:
        charges = {}
        for user in ("alice", "bob"):
            key = {"Idempotency-Key": f"welcome:{user}"}
            service.post(f"{API}/grants", json={"userId": user, "credits": 1000}, headers=key)
            service.post(f"{API}/runs", json={"userId": user, "workflowType": "tweet", "runId": f"run-{user}"})
            charges[user] = service.post(f"{API}/events", json=TWEET | {"runId": f"run-{user}"}).json()["id"]
        charges["eve"] = "chg_0000000000001_eve"
        yield serving, charges


def command(house, kind, user):
    """Return a command about a user's rows."""
    _, charges = house
    filled = {"{user}": user, "run-{user}": f"run-{user}", "{charge}": charges[user]}
    return {"type": kind} | {
        name: filled.get(value, value) if isinstance(value, str) else value for name, value in ASKED[kind].items()
    }


def send(house, caller, *commands):
    """Return what a caller is answered to commands."""
    with house[0].client(caller) as client:
        return client.post(f"{API}/commands", json=list(commands), headers={"X-Request-Id": "the-same"})


def codes(answer):
    """Return the code of each refusal, None for what was done."""
    return [result.get("error", {}).get("code") for result in answer.json()["results"]]


def test_every_kind_of_command_is_in_the_matrix():
    assert set(ASKED) == set(KINDS)


@pytest.mark.parametrize("kind", ASKED)
@pytest.mark.parametrize("caller", CALLERS)
def test_a_command_is_for_those_who_may_call_the_route_that_does_the_same(house, caller, kind):
    answer = send(house, caller, command(house, kind, "bob" if caller == "bob" else "alice"))

    if not may(caller, RULES["POST", f"{API}/commands"]):
        assert answer.status_code == 403
    elif may(caller, RULES[KINDS[kind]]) and not (kind == "endJob" and CALLERS[caller].user):
        assert codes(answer)[0] in FINE
    else:
        assert codes(answer) == ["forbidden"]


@pytest.mark.parametrize("kind", [kind for kind in ASKED if kind != "endJob"])
@pytest.mark.parametrize("caller", ["alice", "bound"])
def test_what_is_another_users_is_answered_like_what_is_nobodys(house, caller, kind):
    another = send(house, caller, command(house, kind, "bob"))
    nobodys = send(house, caller, command(house, kind, "eve"))

    told = another.content.replace(b"run-bob", b"run-eve").replace(house[1]["bob"].encode(), b"chg_0000000000001_eve")
    assert told == nobodys.content
    assert codes(another)[0] in {"not_found", "run_not_found", "charge_not_found", "forbidden"}


@pytest.mark.parametrize("kind", ["extendRun", "touchRun", "closeRun", "recordUsage", "beginJob", "claimBatch"])
def test_naming_another_users_account_opens_no_door(house, kind):
    account = house[1]["bob"].split("_")[1]

    answer = send(house, "bound", command(house, kind, "bob") | {"accountId": account})

    assert codes(answer) == ["run_not_found"]


def test_a_user_may_not_say_who_pays_for_a_failure(house):
    opening = command(house, "openRun", "alice")

    answer = send(house, "alice", opening | {"onFailure": "waive"}, opening | {"lowCredits": 0, "highCredits": 1})

    assert codes(answer) == ["forbidden", "forbidden"]


def test_commands_go_in_their_order_and_one_refusal_touches_no_neighbour(house):
    answer = send(
        house,
        "service",
        command(house, "recordUsage", "alice") | {"key": "a"},
        command(house, "recordUsage", "alice") | {"model": "gpt-5-mini", "usage": {"input_tokens": -1}},
        command(house, "closeRun", "alice"),
        command(house, "recordUsage", "alice") | {"key": "b"},
    )

    assert codes(answer) == [None, "invalid_quantity", None, None]
    first, _, end, late = [result.get("receipt") for result in answer.json()["results"]]
    assert (first["flags"], end["calls"], late["flags"]) == ([], 2, ["late"])
    assert first["lines"][0]["costUsd"] == "0.00018"


def test_a_repeat_of_all_commands_is_harmless(house):
    commands = [command(house, kind, "alice") for kind in ("grant", "openRun", "recordUsage", "closeRun")]
    commands[2]["key"] = "a"

    send(house, "service", *commands)
    again = send(house, "service", *commands)

    assert codes(again) == [None, None, None, None]
    assert [result["receipt"]["isReplay"] for result in again.json()["results"]] == [True, True, True, True]


def test_a_call_that_was_counted_cannot_be_corrected(house):
    answer = send(house, "service", command(house, "correctUsage", "alice"))

    assert codes(answer) == ["invalid_input"]


def test_a_call_that_only_its_reporter_has_named_is_recorded_once(house):
    call = command(house, "recordUsage", "alice") | {"callId": "call_01k9x3a5c8e7g2h4j6m0n1p2q3"}

    first, again = [send(house, "service", call).json()["results"][0]["receipt"] for _ in range(2)]

    assert first["id"].endswith("_call_01k9x3a5c8e7g2h4j6m0n1p2q3")
    assert (first["isReplay"], again["isReplay"], again["id"]) == (False, True, first["id"])


@pytest.mark.parametrize("body", [[], [{"type": "steal"}], [{"type": "touchRun"}], {}, [None]], ids=str)
def test_what_is_no_list_of_commands_is_refused_as_a_whole(house, body):
    with house[0].client() as client:
        answer = client.post(f"{API}/commands", json=body)

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_input")


def test_prices_are_told_once_until_they_change(house):
    with house[0].client("meter") as client:
        prices = client.get(f"{API}/prices")
        again = client.get(f"{API}/prices", headers={"If-None-Match": prices.headers["etag"]})

    assert prices.json()["layers"][0]["name"] == "seed-2024"
    assert (again.status_code, again.content) == (304, b"")
