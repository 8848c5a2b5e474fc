"""API keys at the door: who holds one is let in, and everyone else gets the same answer."""

from __future__ import annotations

import asyncio
import statistics
import time
from datetime import timedelta

import pytest

from callfare.auth.door import Door
from callfare.auth.key_text import KeyText, new_key_text
from callfare.auth.keys import KeyRequests, find_key
from callfare.auth.principal import LOCAL_PRINCIPAL
from callfare.errors import Forbidden, Unauthorized
from callfare.ledger.commands import RollKey
from callfare.ledger.receipts import KeyReceipt
from callfare.ledger.rows import ApiKey
from callfare.money import Credits
from callfare.secrets import open_secrets
from callfare.store.protocol import ApiKeyNamed
from tests.auth.conftest import AUDIENCE, HERE
from tests.support.commands import START

THE_ANSWER = {
    "code": "unauthorized",
    "message": "the credential is missing or does not hold; give a key or a token: Authorization: Bearer cf_test_…",
    "param": None,
}


def id_of(written: str) -> str:
    return written.split("_")[2]


async def refused(door, authorization: str | None, address: str = HERE) -> dict[str, object]:
    with pytest.raises(Unauthorized) as refusal:
        await door.principal(authorization, address=address)
    return refusal.value.facts()


async def test_a_key_is_let_in_with_what_it_was_made_for(door, make):
    written = make(scopes=["usage:write", "credits:grant"], user="alice", grant_cap=25)

    who = await door.principal(f"Bearer {written}", address=HERE)

    assert (who.kind, who.id, who.key_id) == ("key", id_of(written), id_of(written))
    assert (who.user, who.scopes, who.grant_cap) == ("alice", {"usage:write", "credits:grant"}, Credits(25))


async def test_the_scheme_is_read_in_any_case(door, make):
    assert (await door.principal(f"bEaReR  {make()} ", address=HERE)).kind == "key"


async def test_every_reason_gets_the_same_answer(door, make, engine, clock):
    revoked, expired, elsewhere = make(), make(expires_at=START + timedelta(hours=1)), make(networks=["10.0.0.0/8"])
    engine.commit(KeyRequests.revoke(id_of(revoked), by=LOCAL_PRINCIPAL), KeyReceipt)
    clock.advance(3600)
    good = make()
    other_secret = KeyText("test", id_of(good), new_key_text("test").secret).written
    other_mode = KeyText("live", id_of(good), good.split("_")[3][:30]).written
    tried = [
        None, "", "Bearer", "Bearer ", f"Basic {good}", good, f"Bearer {good[:-1]}", f"Bearer {good}x",
        f"Bearer {new_key_text('test').written}", f"Bearer {revoked}", f"Bearer {expired}", f"Bearer {elsewhere}",
        f"Bearer {other_secret}", f"Bearer {other_mode}", "Bearer " + "x" * 10_000, "Bearer \x00", "Bearer a.b.c",
    ]  # fmt: skip

    answers = [await refused(door, credential, f"2001:db8:{number:x}::1") for number, credential in enumerate(tried)]

    assert answers == [THE_ANSWER] * len(tried)


async def test_a_key_ends_with_the_instant_at_which_it_expires(door, make, clock):
    written = make(expires_at=START + timedelta(seconds=10))
    clock.advance(9)
    assert await door.principal(f"Bearer {written}", address=HERE)

    clock.advance(1)

    assert await refused(door, f"Bearer {written}") == THE_ANSWER


async def test_a_revoked_key_is_refused_at_once(door, make, engine):
    written = make()
    assert await door.principal(f"Bearer {written}", address=HERE)

    engine.commit(KeyRequests.revoke(id_of(written), by=LOCAL_PRINCIPAL), KeyReceipt)

    assert await refused(door, f"Bearer {written}") == THE_ANSWER


async def test_a_rolled_key_holds_until_the_overlap_ends_and_the_new_one_after(door, make, engine, clock):
    old = make()
    requests = KeyRequests(engine.secrets, clock)
    command, text = requests.roll(find_key(engine.store, id_of(old)), by=LOCAL_PRINCIPAL)
    engine.commit(command, KeyReceipt)
    assert isinstance(command, RollKey)
    clock.advance(24 * 3600 - 1)
    assert (await door.principal(f"Bearer {old}", address=HERE)).id == id_of(old)

    clock.advance(1)

    assert await refused(door, f"Bearer {old}") == THE_ANSWER
    assert (await door.principal(f"Bearer {text.written}", address=HERE)).id == text.key_id


@pytest.mark.parametrize(
    ("address", "is_let_in"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("2001:db8::7", True),
        ("11.1.2.3", False),
        ("2001:db9::7", False),
        ("localhost", False),
        ("", False),
    ],
)
async def test_a_key_for_a_network_is_taken_from_there_only(door, make, address, is_let_in):
    written = make(networks=["10.0.0.0/8", "2001:db8::/32"])

    if is_let_in:
        assert await door.principal(f"Bearer {written}", address=address)
    else:
        assert await refused(door, f"Bearer {written}", address) == THE_ANSWER


async def test_a_key_of_another_pepper_is_refused_and_said_so_once_in_the_log(engine, make, caplog):
    written = make()
    engine.secrets = open_secrets(None, engine.clock)
    door = Door(engine, audience=AUDIENCE)

    for _ in range(3):
        assert await refused(door, f"Bearer {written}") == THE_ANSWER

    assert [record.message for record in caplog.records] == [
        f"key {id_of(written)} was made under another pepper; every server of a ledger needs the same"
    ]


async def test_the_use_of_a_key_is_noted_once_a_minute(door, make, engine, clock):
    written = make()
    asked: list[object] = []
    leave = engine.leave
    engine.leave = lambda command: (asked.append(command), leave(command))

    for _ in range(3):
        await door.principal(f"Bearer {written}", address=HERE)
    clock.advance(60)
    await door.principal(f"Bearer {written}", address=HERE)
    # The end of the tick in which the use was left to be noted.
    await asyncio.sleep(0)
    engine.close()

    assert len(asked) == 2
    assert (
        engine.store.select(ApiKeyNamed(key_id=id_of(written)))[0].used_at_us
        == clock.now_us() // 60_000_000 * 60_000_000
    )


async def test_no_row_has_the_secret(engine, make):
    written = make()

    (row,) = [row for row, _ in engine.store.scan(ApiKey)]

    assert written.split("_")[3][:30] not in repr(row)
    assert len(row.digest) == 64


def test_all_read_includes_reading_and_nothing_else():
    who = LOCAL_PRINCIPAL.__class__(kind="key", id="k", user=None, scopes=frozenset({"all:read"}))

    assert [scope for scope in sorted(LOCAL_PRINCIPAL.scopes) if who.may(scope)] == ["all:read", "credits:read"]
    with pytest.raises(Forbidden) as refusal:
        who.require("credits:grant")
    assert refusal.value.facts()["scope"] == "credits:grant"


async def test_a_key_that_is_not_there_takes_as_long_as_one_whose_secret_is_wrong(engine, make, clock):
    unknown, wrong = new_key_text("test").written, KeyText("test", id_of(make()), new_key_text("test").secret).written
    door = Door(engine, audience=AUDIENCE)
    digested: list[str] = []
    digest = engine.secrets.digest
    engine.secrets.digest = lambda text: (digested.append(text), digest(text))[1]
    took: dict[str, list[float]] = {unknown: [], wrong: []}

    for number in range(400):
        credential = (unknown, wrong)[number % 2]
        begin_s = time.process_time()
        await refused(door, f"Bearer {credential}", f"2001:db8:{number:x}::1")
        took[credential].append(time.process_time() - begin_s)

    # The same work for both: of this process alone, and medians, because the machine has other things to do.
    assert len(digested) == 400
    assert 0.5 < statistics.median(took[unknown]) / statistics.median(took[wrong]) < 2
