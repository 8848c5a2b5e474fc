"""Who may call what: every route × every kind of caller × their own, another's and nobody's rows, by a table made here.

The table is generated from the rules; what a rule means is written out below for each kind of caller.
"""

from __future__ import annotations

from contextlib import contextmanager

import pytest
from fastapi import APIRouter

from callfare.server import rules
from callfare.server.routing import MissingRule, Routes
from callfare.server.rules import API, RULES, Door
from tests.support.fake_stripe import running_fake_stripe
from tests.support.serving import CALLERS, engine_on, served
from tests.support.shop import config_of, till_of

TWEET = {"model": "gpt-5-mini", "usage": {"input_tokens": 1200, "output_tokens": 350}}
# For each route: how it is asked about a user. None where it is about nobody.
ASKED = {
    ("GET", "/healthz"): None,
    ("GET", "/readyz"): None,
    ("GET", "/metrics"): None,
    ("GET", "/openapi.json"): None,
    # Its tools have a matrix of their own: tests/mcp/test_callers.py.
    ("POST", "/mcp"): None,
    ("GET", "/.well-known/oauth-protected-resource"): None,
    ("GET", f"{API}/packages"): None,
    ("GET", f"{API}/balance"): {},
    ("GET", f"{API}/usage"): {},
    ("GET", f"{API}/transactions"): {},
    ("GET", f"{API}/estimate"): {"workflowType": "tweet"},
    ("POST", f"{API}/price"): None,
    ("GET", f"{API}/runs"): {},
    ("GET", f"{API}/runs/{{run_id}}"): {},
    ("GET", f"{API}/runs/{{run_id}}/calls"): {},
    ("GET", f"{API}/charges/{{charge_id}}"): {},
    ("GET", f"{API}/export/{{kind}}"): {},
    ("GET", f"{API}/about"): None,
    ("POST", f"{API}/verify"): None,
    ("POST", f"{API}/runs"): {"workflowType": "tweet", "holdCredits": 1},
    ("POST", f"{API}/runs/{{run_id}}/extend"): {"credits": 1},
    ("POST", f"{API}/runs/{{run_id}}/touch"): {},
    ("POST", f"{API}/runs/{{run_id}}/close"): {},
    ("POST", f"{API}/events"): TWEET,
    ("POST", f"{API}/grants"): {"credits": 1},
    ("POST", f"{API}/checkout"): {"packageId": "credits_500"},
    ("POST", f"{API}/portal"): {},
    ("POST", f"{API}/webhook"): None,
    # What each command may is in test_commands.py.
    ("POST", f"{API}/commands"): None,
    ("GET", f"{API}/prices"): None,
    ("GET", f"{API}/charges"): {"responseKey": "response:openai::resp_1"},
    ("POST", f"{API}/reprice"): None,
    ("GET", f"{API}/checkout/done"): None,
    ("GET", f"{API}/keys"): None,
    ("POST", f"{API}/keys"): None,
    ("POST", f"{API}/keys/{{key_id}}/roll"): None,
    ("POST", f"{API}/keys/{{key_id}}/revoke"): None,
    ("GET", f"{API}/audit"): {},
    ("POST", f"{API}/tokens"): {},
}
BODIES = {
    ("POST", f"{API}/keys"): {"label": "k", "scopes": ["usage:write"]},
    ("POST", f"{API}/price"): TWEET,
    ("POST", f"{API}/webhook"): {"id": "evt_1", "type": "checkout.session.completed"},
    ("POST", "/mcp"): {"jsonrpc": "2.0", "id": 1, "method": "tools/list"},
    ("POST", f"{API}/commands"): [{"type": "touchRun", "runId": "run-alice"}],
    ("POST", f"{API}/reprice"): {},
    ("POST", f"{API}/verify"): {},
}
# A run that another caller has closed is a conflict.
FINE = {200, 409}
PAYMENTS = {("POST", f"{API}/{name}") for name in ("checkout", "portal", "webhook")} | {("GET", f"{API}/checkout/done")}


@contextmanager
def selling(engine, does_sell):
    """Yield payments of an engine through the stand-in for Stripe, or none."""
    if not does_sell:
        yield None
        return
    with running_fake_stripe() as fake:
        yield till_of(engine, config_of(fake))
        assert fake.violations() == []


@pytest.fixture(scope="module", params=[False, True], ids=["sells nothing", "sells credits"])
def house(request, tmp_path_factory):
    """A server that can be reached from elsewhere, on which alice and bob have a run each; their runs and charges."""
    folder = tmp_path_factory.mktemp("matrix")
    engine = engine_on(f"sqlite:///{folder}/x.db")
    with (
        selling(engine, request.param) as till,
        served(engine, is_local=False, till=till) as serving,
        serving.client("service") as service,
    ):
        charges = {"sells": request.param}
        for user in ("alice", "bob"):
            key = {"Idempotency-Key": f"welcome:{user}"}
            service.post(f"{API}/grants", json={"userId": user, "credits": 1000}, headers=key)
            service.post(f"{API}/runs", json={"userId": user, "workflowType": "tweet", "runId": f"run-{user}"})
            charges[user] = service.post(f"{API}/events", json=TWEET | {"runId": f"run-{user}"}).json()["id"]
        made = service.post(f"{API}/keys", json={"label": "old", "scopes": ["usage:write"]})
        charges["key"] = made.json()["id"]
        clients = {name: serving.client(name) for name in (*CALLERS, None)}
        yield clients, charges
        for client in clients.values():
            client.close()


def ask(house, caller, route, about, *, names_user=True):
    """Return the answer to a caller who asks about a user's rows, naming the user or not."""
    clients, charges = house
    method, template = route
    charge = charges.get(about, f"chg_0000000000001_{about}")
    path = template.format(
        run_id=f"run-{about}", charge_id=charge.replace(":", "%3A"), kind="events", key_id=charges["key"]
    )
    given = ASKED[route]
    body = dict(given or {}) | ({"userId": about} if given is not None and names_user else {})
    headers = {"X-Request-Id": "the-same", "Idempotency-Key": f"{caller} {about} {method} {template}"}
    if method == "GET":
        return clients[caller].get(path, params=body, headers=headers)
    return clients[caller].post(path, json=BODIES.get(route, body), headers=headers)


def fine(house, route):
    """Return the statuses of an answer to whoever may ask for a route."""
    if route in PAYMENTS and not house[1]["sells"]:
        return {503}
    # Nobody here signs as Stripe does.
    return {400} if route == ("POST", f"{API}/webhook") else FINE


def may(caller, rule):
    """Tell whether a caller may call a route at all, by what stands in its rule."""
    if rule.door is Door.OPEN:
        return True
    principal = CALLERS[caller]
    if principal.kind == "user":
        return rule.own in principal.scopes
    reads = {scope for scope in rules_reads() if "all:read" in principal.scopes}
    return bool((principal.scopes | reads) & set(rule.scopes)) and not (principal.user and rule.is_whole)


def rules_reads():
    return {"credits:read", "all:read"}


def test_every_route_is_in_the_matrix():
    assert set(ASKED) == set(RULES)


@pytest.mark.parametrize("route", [route for route in RULES if RULES[route].door is not Door.OPEN], ids=" ".join)
def test_without_a_credential_nothing_but_the_open_routes_is_answered(house, route):
    answer = ask(house, None, route, "alice")

    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "unauthorized"
    assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("route", RULES, ids=" ".join)
@pytest.mark.parametrize("caller", CALLERS)
def test_a_caller_may_what_the_rule_says_about_themselves(house, caller, route):
    answer = ask(house, caller, route, "bob" if caller == "bob" else "alice")

    if may(caller, RULES[route]):
        assert answer.status_code in fine(house, route), answer.text
    else:
        assert answer.status_code == 403
        assert answer.json()["error"]["code"] == "forbidden"


# Where nobody is named and nothing of somebody's stands in the address, it is about the caller.
FOREIGN = [(route, True) for route in RULES if ASKED[route] is not None]
FOREIGN += [(route, False) for route, _ in FOREIGN if "_id}" in route[1]]


@pytest.mark.parametrize(("route", "names_user"), FOREIGN, ids=str)
@pytest.mark.parametrize("caller", ["alice", "bound"])
def test_another_users_rows_are_answered_byte_for_byte_like_nobodys(house, caller, route, names_user):
    another = ask(house, caller, route, "bob", names_user=names_user)
    nobodys = ask(house, caller, route, "eve", names_user=names_user)

    assert (another.status_code, nobodys.status_code) in {(404, 404), (403, 403)}
    # The id that was asked for may be told, and nothing else may differ.
    asked, of_nobody = house[1]["bob"].encode(), b"chg_0000000000001_eve"
    assert another.content.replace(asked, of_nobody).replace(b"run-bob", b"run-eve") == nobodys.content


def test_a_service_may_ask_about_anybody(house):
    answer = ask(house, "service", ("GET", f"{API}/balance"), "bob")

    assert answer.json()["userId"] == "bob"


def test_a_users_token_need_not_name_its_user(house):
    balance = ask(house, "alice", ("GET", f"{API}/balance"), "alice", names_user=False)

    assert balance.json()["userId"] == "alice"


def test_an_event_in_a_batch_for_another_user_is_refused_by_itself(house):
    clients, _ = house
    events = [TWEET | {"userId": "alice"}, TWEET | {"userId": "bob"}, TWEET | {"runId": "run-bob"}, TWEET]

    batch = clients["bound"].post(f"{API}/events", json=events).json()

    told = [result.get("error", {}).get("code", "recorded") for result in batch["results"]]
    assert told == ["recorded", "not_found", "run_not_found", "recorded"]


def test_on_the_loopback_alone_what_describes_the_server_needs_no_credential(tmp_path):
    with served(engine_on(f"sqlite:///{tmp_path}/x.db")) as serving, serving.client(None) as nobody:
        answers = {path: nobody.get(path).status_code for path in ("/readyz", "/metrics", "/openapi.json")}
        closed = nobody.get(f"{API}/balance", params={"userId": "alice"})

    assert answers == {"/readyz": 200, "/metrics": 200, "/openapi.json": 200}
    assert closed.status_code == 401


def test_a_route_without_a_rule_does_not_start():
    async def handler(caller):
        """Answer nothing."""

    routes = Routes(None, APIRouter())

    with pytest.raises(MissingRule, match="GET /api/billing/new has no rule"):
        routes.add("GET", f"{API}/new", handler, answers={})


def test_a_rule_without_a_route_does_not_start(tmp_path, monkeypatch):
    monkeypatch.setitem(rules.RULES, ("GET", f"{API}/gone"), rules.Rule())
    engine = engine_on(f"sqlite:///{tmp_path}/x.db")

    with pytest.raises(MissingRule, match="gone"), served(engine):
        pass
    engine.close()


def test_the_matrix_sees_a_rule_that_lets_everybody_in(house, monkeypatch):
    monkeypatch.setattr("callfare.server.caller.check_scope", lambda principal, rule: None)
    monkeypatch.setattr("callfare.server.caller.allow", lambda principal, rule, user: user)

    another = ask(house, "alice", ("GET", f"{API}/balance"), "bob")

    # What the tests above would not have taken.
    assert another.status_code == 200
