"""verify and doctor over a server: the same faults as where the ledger is, one at a time, and the server judged."""

from __future__ import annotations

import json
import threading
from contextlib import ExitStack
from datetime import timedelta

import apsw
import pytest

from callfare import Callfare, LedgerUnavailable
from callfare.clock import US_PER_S, SystemClock, moment_of
from callfare.engine.doctor import examine
from callfare.errors import Conflict, Forbidden, LedgerCorrupt
from callfare.server import routes_checking
from tests.support.cut_answers import scissors
from tests.support.serving import engine_on, served

VERIFY = "/api/billing/verify"


def client(serving, caller="service", port=None):
    return Callfare(f"http://127.0.0.1:{port or serving.port}", api_key=serving.credentials[caller])


@pytest.fixture
def written(serving):
    """A server in front of a ledger with a run in it."""
    with client(serving) as fare:
        fare.grant("alice", 100, key="welcome")
        with fare.run("story", user="alice", run_id="story-1", hold=10) as run:
            run.record("gpt-5-mini", {"input_tokens": 1200})
        fare.record("gpt-image-1", {"images": 30}, user="bob", key="alone", attributes={"size": "1024x1024"})
    return serving


@pytest.fixture
def altered(written, tmp_path):
    """The same, after somebody changed rows behind the ledger's back."""
    connection = apsw.Connection(str(tmp_path / "callfare.db"))
    connection.execute("UPDATE accounts SET posted_nanocredits = posted_nanocredits + 1")
    connection.close()
    return written


# verify


def test_a_sound_ledger_is_recomputed_where_it_is(written):
    steps = []

    with client(written) as fare:
        found = fare.verify(lambda table, rows: steps.append((table, rows)))

    assert found == written.engine.verify()
    assert (found.is_clean, found.counted["events"]) == (True, 2)
    assert ("events", 2) in steps


def test_every_row_that_is_wrong_comes_over_the_wire(altered):
    with client(altered) as fare:
        found = fare.verify()

    assert found == altered.engine.verify()
    assert (found.is_clean, found.fault_count) == (False, len(found.faults))
    assert found.faults[0].table == "accounts"


def test_who_had_the_ledger_recomputed_stands_in_the_audit(written):
    with client(written) as fare:
        fare.verify()
        (entry,) = fare.audit(limit=1).items

    assert (entry.operation, entry.object, entry.user) == ("POST /api/billing/verify", "ledger", None)
    assert entry.principal == f"key:{entry.key_id}"


@pytest.mark.parametrize("caller", ["reader", "bound", "alice"])
def test_it_takes_a_key_that_sees_everybody_and_makes_keys(written, caller):
    with client(written, caller) as fare, pytest.raises(Forbidden):
        fare.verify()


class Gated:
    """A verification that waits until a test lets it go on."""

    def __init__(self, engine, monkeypatch):
        self.begun, self.open, self.ended = threading.Event(), threading.Event(), threading.Event()
        self._verify = engine.verify
        monkeypatch.setattr(engine, "verify", self)

    def __call__(self, progress):
        self.begun.set()
        try:
            while not self.open.wait(0.005):
                progress("accounts", 1)
            return self._verify(progress)
        finally:
            self.ended.set()


def test_a_second_caller_is_told_to_come_back(written, monkeypatch):
    gated = Gated(written.engine, monkeypatch)
    found = []

    with client(written) as fare:
        first = threading.Thread(target=lambda: found.append(fare.verify()))
        first.start()
        assert gated.begun.wait(60)
        with pytest.raises(Conflict):
            fare.verify()
        gated.open.set()
        first.join(60)
        again = fare.verify()

    assert found[0].is_clean
    assert again.is_clean


def test_it_ends_when_whoever_asked_has_gone_and_the_next_may_ask(written, monkeypatch):
    gated = Gated(written.engine, monkeypatch)

    with written.client() as asking, asking.stream("POST", VERIFY, json={}) as answer:
        assert b"progress" in next(answer.iter_raw())
    ended = gated.ended.wait(60)
    gated.open.set()

    assert ended
    with client(written) as fare:
        assert fare.verify().is_clean


def test_one_that_is_cut_off_is_an_outage(written):
    with scissors(written.port, [600]) as proxy, client(written, port=proxy.port) as fare:
        with pytest.raises(LedgerUnavailable):
            fare.verify()
        assert fare.verify().is_clean


@pytest.mark.parametrize("steps", [0, 1])
def test_a_fault_on_the_way_is_that_error_however_far_it_has_come(written, monkeypatch, steps):
    def verify(progress):
        for _ in range(steps):
            progress("accounts", 1)
        raise LedgerCorrupt("a row at /srv/secret is broken")

    monkeypatch.setattr(written.engine, "verify", verify)

    with client(written) as fare, pytest.raises(LedgerCorrupt) as raised:
        fare.verify()

    assert "/srv/secret" not in str(raised.value)


def test_lines_tell_how_far_it_is_then_what_is_wrong_then_the_outcome(altered):
    with altered.client() as asking:
        answer = asking.post(VERIFY, json={})

    said = [json.loads(line) for line in answer.text.splitlines()]
    kinds = [next(iter(one)) for one in said]
    assert answer.headers["content-type"] == "application/jsonl"
    assert kinds == sorted(kinds, key=["progress", "fault", "verified"].index)
    assert kinds.count("verified") == 1
    assert said[-1]["verified"]["totalsCredits"]["customer"] != "0"


# doctor


def examined(serving, caller="service"):
    with client(serving, caller) as fare:
        return {finding.check: finding for finding in examine(fare._engine)}


def test_a_server_that_is_well_is_told_of_with_figures(serving):
    found = examined(serving)

    assert {check: one.status for check, one in found.items()} == dict.fromkeys(
        ("server", "version", "clock", "key", "spool"), "ok"
    )
    assert found["server"].figures["url"] == serving.url
    assert "for every user, may all:read, credits:grant" in found["key"].message


@pytest.mark.parametrize(
    ("caller", "said"),
    [
        ("reader", "for every user, may all:read; it may not record calls (usage:write), open runs (holds:write)"),
        ("bound", "for alice alone"),
        ("alice", "a user's token, for alice alone, may me:checkout, me:hold, me:portal, me:read"),
    ],
)
def test_what_a_credential_may_is_said_and_what_it_may_not(serving, caller, said):
    assert said in examined(serving, caller)["key"].message


class Shifted(SystemClock):
    """The system's clock, but so many seconds off."""

    def __init__(self, seconds):
        self._shift_us = seconds * US_PER_S

    def now_us(self):
        return super().now_us() + self._shift_us


@pytest.mark.parametrize(("seconds", "which"), [(300, "ahead of"), (-300, "behind")])
def test_a_clock_that_is_off_is_said_with_how_much(tmp_path, seconds, which):
    with served(engine_on(f"sqlite:///{tmp_path}/callfare.db", Shifted(seconds))) as serving:
        found = examined(serving)["clock"]

    assert found.status == "warn"
    assert which in found.message
    assert abs(float(found.figures["ahead_s"]) - seconds) < 60


def test_another_version_is_said(serving, monkeypatch):
    monkeypatch.setattr(routes_checking, "version", lambda _: "0.0.9")

    found = examined(serving)["version"]

    assert (found.status, found.figures["server"]) == ("warn", "0.0.9")


def test_a_key_that_ends_soon_is_said_with_how_to_put_another_in_its_place(serving):
    ends_at = moment_of(SystemClock().now_us()) + timedelta(days=2)
    with client(serving) as fare:
        made = fare.make_key("brief", scopes=["all:read"], expires_at=ends_at)
    serving.credentials["brief"] = made.key

    found = examined(serving, "brief")["key"]

    assert found.status == "warn"
    assert found.next_step.startswith(f"`callfare keys roll {made.id}`")


ASKING = {"kind": "key", "id": "k", "userId": None, "scopes": ["all:read"], "expiresAt": None}
ABOUT = {"version": "0.1.0", "now": "2026-11-23T00:00:00Z", "asking": ASKING}


@pytest.mark.parametrize(
    "told",
    [
        {},
        [],
        ABOUT | {"now": "2026-11-23T00:00:00"},
        ABOUT | {"now": 7},
        ABOUT | {"asking": None},
        ABOUT | {"asking": ASKING | {"scopes": 7}},
        ABOUT | {"asking": ASKING | {"expiresAt": "2026-11-23"}},
    ],
    ids=str,
)
def test_a_server_that_tells_nonsense_of_itself_has_failed(scripted, fare, told):
    scripted.answers = [(200, {}, told)]

    (server, _) = examine(fare._engine)

    assert (server.check, server.status) == ("server", "fail")


def test_a_server_that_does_not_answer_or_know_the_key_has_failed(serving):
    serving.credentials["wrong"] = "cf_test_wrong"

    with ExitStack() as open_ones:
        nowhere = open_ones.enter_context(Callfare("http://127.0.0.1:9", api_key="cf_test_x", deadline_s=60))
        found = [examine(nowhere._engine)[0], examined(serving, "wrong")["server"]]

    assert [one.status for one in found] == ["fail", "fail"]
    assert "Connection refused" in found[0].message
    assert "on the server's machine" in found[1].next_step
