"""Commands with readable defaults: amounts in credits, and only what a test is about is said.

A fingerprint stands for the request, so two commands that say the same have the same one.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import TypeVar

from msgspec.structs import replace

from callfare.clock import instant_of
from callfare.ledger.commands import (
    AdjustUsage,
    AuditNote,
    ClaimBatch,
    CloseRun,
    Command,
    ExpireDue,
    ExtendRun,
    GrantCredit,
    MakeKey,
    NoteKeyUse,
    OpenRun,
    PendJob,
    RecordUsage,
    RefundGrant,
    RevokeKey,
    RollKey,
    SettleJob,
    TouchRun,
)
from callfare.ledger.rows import digest_of
from callfare.money import Credits

Amount = int | str | Decimal
C = TypeVar("C", bound=Command)

START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
START_US = instant_of(START, "start")
HOUR_S = 3600
TOKENS = '{"input_tokens":"1000","output_tokens":"200"}'


def nano(amount: Amount) -> int:
    """Return credits as nanocredits."""
    return Credits(amount).nanocredits


def account_number(user: str) -> int:
    """Return the number that the builders give to a user's account, the same in every store."""
    return digest_of(f"account of {user}".encode("utf-8", "surrogatepass")) & (2**62 - 1) or 1


def fingerprint(*facts: object) -> int:
    """Return a digest of a request's facts."""
    return digest_of(repr(facts).encode("utf-8", "surrogatepass"))


def lines_of(nanocredits: int, usage: str) -> str:
    """Return charge lines that come to an amount: all of it on the first meter of the usage, at a rate made for it."""
    meter, text = next(iter(json.loads(usage).items()), ("", "0"))
    quantity = Fraction(text)
    if not quantity:
        return "[]"
    line = {
        "meter": meter,
        "quantity": quantity.numerator if quantity.denominator == 1 else text,
        "rate": format(Decimal(nanocredits * quantity.denominator).scaleb(-11), "f"),
        "per": quantity.numerator,
        "rate_meter": meter,
        "attributes": {},
        "picousd": nanocredits * 10,
        "nanocredits": nanocredits,
        "billed": True,
    }
    return json.dumps([line], separators=(",", ":"))


def grant(
    user: str = "alice",
    amount: Amount = 100,
    *,
    key: str = "grant-1",
    source: str = "purchase",
    expires_at: datetime | None = None,
    paid_picousd: int | None = None,
) -> GrantCredit:
    """A lot of credit for a user."""
    expires_at_us = None if expires_at is None else instant_of(expires_at, "expires_at")
    return GrantCredit(
        user=user,
        new_account_id=account_number(user),
        key=key,
        nanocredits=nano(amount),
        source=source,
        paid_picousd=paid_picousd,
        reference=None,
        expires_at_us=expires_at_us,
        fingerprint=fingerprint(user, nano(amount), source, expires_at_us, paid_picousd),
    )


def open_run(
    run_id: str = "r1",
    user: str = "alice",
    *,
    hold: Amount = 40,
    workflow: str = "story",
    on_failure: str = "charge",
    ttl_s: int = HOUR_S,
    parent: str | None = None,
    from_parent: Amount = 0,
) -> OpenRun:
    """A run under a hold, of which a part comes out of its parent's."""
    return OpenRun(
        user=user,
        new_account_id=account_number(user),
        run_id=run_id,
        workflow=workflow,
        on_failure=on_failure,
        hold_nanocredits=nano(hold),
        low_nanocredits=None,
        high_nanocredits=None,
        ttl_s=ttl_s,
        input=None,
        fingerprint=fingerprint(user, run_id, nano(hold), workflow, on_failure, ttl_s),
        parent=parent,
        from_parent_nanocredits=nano(from_parent),
    )


def record(
    amount: Amount = 1,
    *,
    run_id: str | None = None,
    user: str = "",
    key: str = "call-1",
    repeat: str = "conflict",
    response_id: str = "",
    response_key: str | None = None,
    step: str | None = None,
    model: str = "gpt-5-mini",
    usage: str = TOKENS,
    is_estimated: bool = False,
    is_unpriced: bool = False,
    account_id: int | None = None,
    at_us: int = START_US,
    raw: str | None = None,
    metadata: str | None = None,
) -> RecordUsage:
    """One metered call, charged to a run, or to a user when no run is named."""
    owner = user or ("" if run_id else "alice")
    request = fingerprint(model, usage, response_id, nano(amount), step, metadata)
    if response_id and repeat != "duplicate" and response_key is None:
        response_key = f"response:openai::{response_id}"
    return RecordUsage(
        key=key,
        user=owner,
        new_account_id=account_number(owner),
        account_id=account_id,
        run_id=run_id,
        repeat=repeat,
        other_key=f"{key}#{response_id or request}",
        response_key=response_key,
        step=step,
        provider="openai",
        base_url="",
        model=model,
        operation="responses.create",
        response_id=response_id,
        status="unpriced" if is_unpriced else "priced",
        reason="no entry" if is_unpriced else None,
        is_estimated=is_estimated,
        nanocredits=0 if is_unpriced else nano(amount),
        picousd=0 if is_unpriced else nano(amount) * 10,
        edition="seed-2024+3f9a1c2b",
        markup="1",
        usage=usage,
        attributes="{}",
        lines="[]" if is_unpriced else lines_of(nano(amount), usage),
        metadata=metadata,
        raw=raw,
        at_us=at_us,
        fingerprint=request,
    )


def heard(amount: Amount, response_id: str, **facts: object) -> RecordUsage:
    """A call known by its provider's response id alone."""
    name = f"response:openai::{response_id}"
    return record(amount, key=name, repeat="duplicate", response_id=response_id, **facts)  # type: ignore[arg-type]


def step(amount: Amount, name: str, response_id: str = "", **facts: object) -> RecordUsage:
    """A call of a step, whose later attempts are kept and not charged."""
    return record(
        amount,
        key=f"step:{facts.get('run_id', '')}:{name}:1",
        repeat="attempt",
        step=name,
        response_id=response_id,
        **facts,  # type: ignore[arg-type]
    )


def extend(run_id: str = "r1", by: Amount = 10, *, key: str = "extend-1", account_id: int | None = None) -> ExtendRun:
    """More credit for an open run."""
    return ExtendRun(run_id=run_id, account_id=account_id, key=key, by_nanocredits=nano(by))


def touch(run_id: str = "r1", *, account_id: int | None = None) -> TouchRun:
    """Another time to live for an open run."""
    return TouchRun(run_id=run_id, account_id=account_id)


def close(
    run_id: str = "r1", outcome: str = "completed", *, key: str | None = None, account_id: int | None = None
) -> CloseRun:
    """The end of a run."""
    return CloseRun(run_id=run_id, account_id=account_id, outcome=outcome, key=key)


def claim(
    *batch_ids: str,
    user: str = "alice",
    run_id: str | None = None,
    ttl_s: int | None = None,
    is_known_only: bool = False,
) -> ClaimBatch:
    """Whose a provider's batch is."""
    return ClaimBatch(
        names=tuple(f"batch:openai::{batch_id}" for batch_id in batch_ids or ("b1",)),
        user="" if is_known_only else user,
        new_account_id=account_number(user),
        run_id=None if is_known_only else run_id,
        ttl_s=ttl_s,
        is_known_only=is_known_only,
    )


def adjust(
    amount: Amount,
    *,
    key: str = "call-1",
    kind: str = "correction",
    user: str = "alice",
    usage: str = TOKENS,
    is_unpriced: bool = False,
    raw: str | None = None,
) -> AdjustUsage:
    """Another rating for a recorded call."""
    return AdjustUsage(
        account_id=account_number(user),
        key=key,
        kind=kind,
        status="unpriced" if is_unpriced else "priced",
        nanocredits=0 if is_unpriced else nano(amount),
        picousd=0 if is_unpriced else nano(amount) * 10,
        edition="seed-2025+00000000",
        markup="1",
        usage=usage,
        attributes="{}",
        lines="[]" if is_unpriced else lines_of(nano(amount), usage),
        raw=raw,
    )


def pend(amount: Amount = 30, *, job_id: str = "video-1", ttl_s: int = 24 * HOUR_S, **facts: object) -> PendJob:
    """A long job that will cost so much."""
    return PendJob(charge=record(amount, key=job_id, **facts), ttl_s=ttl_s)  # type: ignore[arg-type]


def settle(
    job_id: str = "video-1",
    outcome: str = "completed",
    charge: RecordUsage | None = None,
    *,
    account_id: int | None = None,
) -> SettleJob:
    """The end of a long job."""
    return SettleJob(job_id=job_id, outcome=outcome, charge=charge, account_id=account_id)


def refund(amount: Amount, *, user: str = "alice", key: str = "refund-1", grant_key: str = "grant-1") -> RefundGrant:
    """Credit that was paid back to its buyer."""
    return RefundGrant(
        user=user,
        key=key,
        grant_key=grant_key,
        nanocredits=nano(amount),
        fingerprint=fingerprint(user, grant_key, nano(amount)),
    )


def expire(user: str = "alice") -> ExpireDue:
    """Whatever of an account is past its time."""
    return ExpireDue(account_id=account_number(user))


# Access


def note(operation: str = "credits.grant", *, key_id: str | None = None, number: int = 1) -> AuditNote:
    """Who asks for a command: an API key, or whoever sits at the machine."""
    principal = "local" if key_id is None else f"key:{key_id}"
    return AuditNote(
        id=f"aud_{number:026}", principal=principal, key_id=key_id, operation=operation, request_id=f"req_{number}"
    )


def make_key(
    key_id: str = "key00001",
    *,
    key: str = "make-1",
    cap: Amount | None = 1000,
    scopes: str = "credits:grant credits:read",
    user: str | None = None,
    expires_at: datetime | None = None,
    audit: AuditNote | None = None,
) -> MakeKey:
    """An API key with a digest that stands for no secret."""
    expires_at_us = None if expires_at is None else instant_of(expires_at, "expires_at")
    return MakeKey(
        key=key,
        key_id=key_id,
        mode="test",
        label="a key",
        scopes=scopes,
        digest="0" * 56 + key_id.encode().hex()[-8:],
        pepper="a1b2c3d4",
        user=user,
        networks=None,
        grant_cap_nanocredits=None if cap is None else nano(cap),
        expires_at_us=expires_at_us,
        fingerprint=fingerprint(scopes, user, cap, expires_at_us),
        audit=audit,
    )


def roll_key(
    key_id: str = "key00001",
    new_key_id: str = "key00002",
    *,
    key: str = "roll-1",
    overlap_s: int = 24 * HOUR_S,
    audit: AuditNote | None = None,
) -> RollKey:
    """A key in another's place."""
    return RollKey(
        key=key,
        key_id=key_id,
        new_key_id=new_key_id,
        digest="1" * 64,
        pepper="a1b2c3d4",
        overlap_s=overlap_s,
        fingerprint=fingerprint(key_id, overlap_s),
        audit=audit,
    )


def revoke_key(key_id: str = "key00001", *, audit: AuditNote | None = None) -> RevokeKey:
    """The end of a key."""
    return RevokeKey(key_id=key_id, audit=audit)


def note_use(key_id: str = "key00001", at_us: int = START_US) -> NoteKeyUse:
    """A key that was used."""
    return NoteKeyUse(key_id=key_id, at_us=at_us)


def asked_by(command: C, key_id: str | None = None, *, number: int = 1, operation: str = "credits.grant") -> C:
    """A command that an API key, or whoever sits at the machine, asks for."""
    return replace(command, audit=note(operation, key_id=key_id, number=number))
