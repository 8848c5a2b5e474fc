"""Requests that are cut, put off or answered by somebody else: tried again under one key, and never done twice."""

from __future__ import annotations

import threading
from contextlib import contextmanager

import pytest

from callfare import Callfare, Credits, LedgerUnavailable
from callfare.clock import elapsed_s
from callfare.errors import InvalidInput, Misconfigured, TooManyAttempts, Unauthorized
from tests.support.proxy import CUTS, cutting

IMAGE = {"model": "gpt-image-1", "usage": {"images": 1}, "attributes": {"size": "1024x1024"}}
REFUSED = {"error": {"code": "too_many_attempts", "message": "wait", "param": None, "retry_after_s": 60}}
UNAVAILABLE = {"error": {"code": "ledger_unavailable", "message": "the ledger does not answer", "param": None}}
BALANCE = {
    "userId": "alice", "postedCredits": "1", "heldCredits": "0", "spentCredits": "0", "availableCredits": "1",
    "availableUsd": "0.01", "debtCredits": "0",
}  # fmt: skip


@contextmanager
def cut_once(serving, where, marker=b"POST /api/billing/commands"):
    """Yield a façade whose next request with a marker is cut off once `arm` is set, and what was cut."""
    armed = threading.Event()

    def wish(request):
        if armed.is_set() and marker in request:
            armed.clear()
            return where
        return ""

    with (
        cutting(serving.port, wish) as cutter,
        Callfare(f"http://127.0.0.1:{cutter.port}", api_key=serving.credentials["service"]) as fare,
    ):
        yield fare, armed, cutter.cuts


@pytest.mark.parametrize("where", CUTS)
def test_a_grant_that_is_cut_off_is_made_once(serving, where):
    with cut_once(serving, where) as (fare, armed, cuts):
        armed.set()

        fare.grant("alice", 100, key="welcome")

        assert cuts == [where]
        assert fare.balance("alice").posted == Credits(100)


@pytest.mark.parametrize("where", CUTS)
def test_a_run_whose_opening_and_end_are_cut_off_is_one_run(serving, where):
    with cut_once(serving, where) as (fare, armed, cuts):
        fare.grant("alice", 100, key="welcome")

        armed.set()
        run = fare.open_run("story", user="alice", hold=20)
        armed.set()
        run.record(**IMAGE)
        armed.set()
        more = run.extend(5)
        armed.set()
        receipt = run.close()

        assert cuts == [where] * 4
        assert (more.held, receipt.charged, receipt.calls) == (Credits(25), Credits(4), 1)
        assert [found.status for found in fare.history("alice").items] == ["completed"]
        assert fare.balance("alice").available == Credits(96)


@pytest.mark.parametrize("where", CUTS)
def test_a_question_that_is_cut_off_is_asked_again(serving, where):
    with cut_once(serving, where, b"GET /api/billing/balance") as (fare, armed, cuts):
        armed.set()

        assert fare.balance("alice").posted == Credits(0)
        assert cuts == [where]


def test_a_key_that_is_made_where_the_answer_is_lost_is_told_of_without_its_secret(serving):
    with cut_once(serving, "before the answer", b"POST /api/billing/keys") as (fare, armed, _):
        armed.set()

        made = fare.make_key("backend", scopes=["usage:write"])

        assert (made.is_replay, made.key) == (True, None)
        assert [key.label for key in fare.keys(limit=200).items].count("backend") == 1


def test_a_server_that_asks_for_patience_gets_it(scripted, fare):
    scripted.answers = [(503, {"Retry-After": "1"}, UNAVAILABLE), (200, {}, BALANCE)]
    began_s = elapsed_s()

    balance = fare.balance("alice")

    assert balance.posted == Credits(1)
    assert elapsed_s() - began_s >= 1


def test_more_patience_than_there_is_time_is_refused_at_once(scripted, fare):
    scripted.answers = [(429, {"Retry-After": "60"}, REFUSED)]
    began_s = elapsed_s()

    with pytest.raises(TooManyAttempts) as caught:
        fare.balance("alice")

    assert caught.value.retry_after_s == 60
    assert elapsed_s() - began_s < 60
    assert len(scripted.asked) == 1


def test_every_try_of_a_request_has_the_same_key(scripted, fare):
    scripted.answers = [(503, {}, UNAVAILABLE)]

    with pytest.raises(LedgerUnavailable):
        fare.make_key("backend", scopes=["usage:write"])

    keys = [key for _, _, key in scripted.asked]
    assert len(keys) == 3
    assert len(set(keys)) == 1
    assert keys[0].startswith("req_")


def test_a_refusal_is_not_asked_for_twice(scripted, fare):
    scripted.answers = [(401, {}, {"error": {"code": "unauthorized", "message": "no", "param": None}})]

    with pytest.raises(Unauthorized):
        fare.balance("alice")

    assert len(scripted.asked) == 1


@pytest.mark.parametrize("body", [b"<html>bad gateway</html>", b"", b'{"error": 7}', b"[]"], ids=repr)
def test_a_gateway_that_answers_for_the_server_is_an_outage(scripted, fare, body):
    scripted.answers = [(502, {}, body)]

    with pytest.raises(LedgerUnavailable) as caught:
        fare.balance("alice")

    assert "answers 502" in caught.value.message
    assert len(scripted.asked) == 3


@pytest.mark.parametrize(("status", "headers"), [(302, {"Location": "https://evil.example/x"}), (404, {}), (200, {})])
def test_what_is_no_callfare_server_is_said_so_and_no_redirect_is_followed(scripted, fare, status, headers):
    scripted.answers = [(status, headers, b"<html>hello</html>")]

    with pytest.raises((Misconfigured, LedgerUnavailable)) as caught:
        fare.balance("alice")

    assert scripted.url in caught.value.message
    assert "cf_test_secret" not in str(caught.value)
    assert len(scripted.asked) == 1


@pytest.mark.parametrize(
    "body", [b"<html>", [], None, {}, {"results": []}, {"results": [{"status": "done", "receipt": {"type": "x"}}]}]
)
def test_a_finished_call_waits_when_the_answer_cannot_be_understood(scripted, fare, body):
    scripted.answers = [(200, {}, body)]

    charge = fare.record(**IMAGE, user="alice")

    assert (charge.is_spooled, charge.credits) == (True, Credits(4))
    assert fare.spool().waiting == 1


def test_a_key_that_is_no_longer_taken_loses_no_usage(serving):
    with Callfare(serving.url, api_key=serving.credentials["service"]) as fare:
        fare.grant("alice", 100, key="welcome")
        made = fare.make_key("app", scopes=["usage:write"])
        with Callfare(serving.url, api_key=made.key) as app:
            fare.revoke_key(made.id)
            charge = app.record(**IMAGE, user="alice")
            with pytest.raises(Unauthorized):
                app.open_run("story", user="alice", hold=1)
        waiting = fare.spool().waiting

        fare.drain_spool()

        assert (charge.is_spooled, waiting) == (True, 1)
        assert fare.balance("alice").available == Credits(96)


@pytest.mark.parametrize("deadline_s", [0, -1, 601, 1.5, True, None, "10"], ids=repr)
def test_a_deadline_that_is_none_is_refused(deadline_s):
    with pytest.raises(InvalidInput):
        Callfare("http://127.0.0.1:9", api_key="k", deadline_s=deadline_s)
