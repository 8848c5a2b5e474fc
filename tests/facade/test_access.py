"""Keys, tokens and who asked, behind each façade on each store."""

from __future__ import annotations

from datetime import timedelta

import pytest

from callfare.errors import Conflict, InvalidAmount, InvalidInput, InvalidTime, InvalidUser, KeyConflict, NotFound
from callfare.money import Credits
from tests.facade.doors import START

SCOPES = ["usage:write", "credits:grant"]


@pytest.fixture(autouse=True)
def own_state(tmp_path, monkeypatch):
    """Secrets of a server's ledger lie in a folder of this test."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


async def test_a_key_is_told_once_with_what_it_may(fare):
    made = await fare.make_key("backend", scopes=SCOPES, user="alice", networks=["10.0.0.0/8"], key="deploy")
    again = await fare.make_key("backend", scopes=SCOPES, user="alice", networks=["10.0.0.0/8"], key="deploy")

    assert made.key.startswith(f"cf_test_{made.id}_")
    assert (made.scopes, made.user, made.networks) == (("credits:grant", "usage:write"), "alice", ("10.0.0.0/8",))
    assert (made.grant_cap, made.expires_at, made.is_replay) == (Credits(100_000), None, False)
    assert (again.id, again.key, again.is_replay) == (made.id, None, True)
    assert made.key not in repr(made)


async def test_the_same_name_for_another_key_is_a_conflict(fare):
    await fare.make_key("backend", scopes=SCOPES, key="deploy")

    with pytest.raises(KeyConflict):
        await fare.make_key("backend", scopes=["all:read"], key="deploy")


async def test_keys_are_rolled_revoked_and_listed_in_pages(fare, clock):
    one = await fare.make_key("one", scopes=SCOPES, mode="live", expires_at=START + timedelta(days=9))
    two = await fare.roll_key(one.id, overlap_s=60)
    ended = await fare.revoke_key(two.id)
    again = await fare.revoke_key(two.id)
    first = await fare.keys(limit=1)
    rest = await fare.keys(limit=200, cursor=first.next_cursor)
    found = {key.id: key for key in (*first.items, *rest.items)}

    assert (two.replaces, two.mode, two.key.startswith("cf_live_")) == (one.id, "live", True)
    assert (ended.status, ended.revoked_at, again) == ("revoked", START, ended)
    assert rest.next_cursor is None
    assert (found[one.id].status, found[one.id].rolled_to, found[two.id].status) == ("rolled", two.id, "revoked")
    clock.advance(60)
    assert {key.id: key.status for key in (await fare.keys()).items}[one.id] == "expired"


async def test_who_made_a_key_is_listed(fare, ledger):
    made = await fare.make_key("one", scopes=SCOPES)

    (entry,) = [entry for entry in (await fare.audit()).items if entry.object == f"key:{made.id}"]

    assert (entry.principal, entry.operation, entry.object, entry.user) == (
        ledger.asker,
        "keys.make",
        f"key:{made.id}",
        None,
    )
    assert (await fare.audit(user="nobody")).items == ()


@pytest.mark.here("over HTTP every write is noted, runs and calls too")
async def test_a_grant_is_noted_by_whoever_may_open_the_ledger_and_runs_and_calls_are_their_own_record(fare):
    await fare.grant("alice", 500, key="welcome", source="promo")
    await fare.grant("alice", 500, key="welcome", source="promo")
    await fare.open_run("story", user="alice", run_id="r1")
    await fare.record("gpt-5-mini", {"input_tokens": 10}, user="alice")
    await fare.close_run("r1")

    (entry,) = (await fare.audit()).items

    assert (entry.principal, entry.key_id, entry.operation, entry.user) == ("local", None, "credits.grant", "alice")
    assert (entry.object, entry.request_key) == ("grant:1", "welcome")
    assert entry.after == '{"nanocredits":500000000000,"source":"promo"}'


@pytest.mark.parametrize(
    ("facts", "error"),
    [
        ({"label": ""}, InvalidInput),
        ({"scopes": []}, InvalidInput),
        ({"scopes": "all:read"}, InvalidInput),
        ({"scopes": ["me:read"]}, InvalidInput),
        ({"user": ""}, InvalidUser),
        ({"networks": ["everywhere"]}, InvalidInput),
        ({"networks": "10.0.0.0/8"}, InvalidInput),
        ({"networks": ["10.0.0.0/8"] * 33}, InvalidInput),
        ({"grant_cap": -1}, InvalidAmount),
        ({"grant_cap": 1.5}, InvalidAmount),
        ({"mode": "prod"}, InvalidInput),
        ({"expires_at": START}, InvalidTime),
        ({"key": ""}, InvalidInput),
    ],
)
async def test_what_cannot_be_is_refused_and_makes_no_ledger(fare, ledger, facts, error):
    with pytest.raises(error):
        await fare.make_key(**{"label": "x", "scopes": SCOPES} | facts)

    assert ledger.rows()["api_keys"] == []


async def test_a_key_that_is_not_there_or_has_ended_cannot_be_rolled(fare):
    made = await fare.make_key("one", scopes=SCOPES)
    await fare.revoke_key(made.id)

    with pytest.raises(Conflict):
        await fare.roll_key(made.id)
    with pytest.raises(NotFound):
        await fare.roll_key("nobody00")
    with pytest.raises(NotFound):
        await fare.revoke_key("nobody00")


async def test_a_token_is_minted_without_a_ledger(fare, ledger):
    audience = None if ledger.is_remote else "https://api.example.com"

    token = await fare.mint_token("alice", audience=audience, ttl_s=60)

    assert (token.user, token.scopes, token.expires_at) == ("alice", ("me:read",), START + timedelta(seconds=60))
    assert ledger.rows()["audit"] == []
