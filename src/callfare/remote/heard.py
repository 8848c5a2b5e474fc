"""Receipts as a server answers them, in the ledger's own units."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from callfare.clock import instant_of
from callfare.engine.requests import stored_key
from callfare.errors import KeyConflict
from callfare.ids import parse_account, parse_charge_id
from callfare.ledger.receipts import (
    BatchReceipt,
    ChargeReceipt,
    CloseReceipt,
    ExtendReceipt,
    GrantReceipt,
    JobReceipt,
    OpenReceipt,
    Receipt,
)
from callfare.money import Credits, Usd
from callfare.remote.faults import error_of

Facts = Mapping[str, Any]


def answer_of(result: Facts) -> Receipt | Exception:
    """Return a command's receipt, or its refusal, as the ledger itself answers.

    What no server of this version answers is a KeyError, a TypeError or a ValueError.
    """
    if result["status"] == "refused":
        error = error_of(result["error"])
        # The engine shows keys as their callers gave them, so it must get them as they are stored.
        return KeyConflict(stored_key(error.key)) if isinstance(error, KeyConflict) else error
    facts = result["receipt"]
    return _READERS[facts["type"]](facts)


def _grant(facts: Facts) -> Receipt:
    return GrantReceipt(
        is_replay=facts["isReplay"],
        account_id=_account(facts["accountId"]),
        key=stored_key(facts["key"]),
        grant_id=facts["number"],
        source=facts["source"],
        nanocredits=_credits(facts["credits"]),
        paid_picousd=None,
        repaid_nanocredits=_credits(facts["repaidCredits"]),
        available_nanocredits=_credits(facts["availableCredits"]),
        expires_at_us=None if facts["expiresAt"] is None else _instant(facts["expiresAt"]),
    )


def _open(facts: Facts) -> Receipt:
    return OpenReceipt(
        is_replay=facts["isReplay"],
        account_id=_account(facts["accountId"]),
        run_id=facts["runId"],
        status=facts["status"],
        asked_nanocredits=_credits(facts["askedCredits"]),
        held_nanocredits=_credits(facts["heldCredits"]),
        used_nanocredits=_credits(facts["usedCredits"]),
        expires_at_us=_instant(facts["expiresAt"]),
    )


def _batch(facts: Facts) -> Receipt:
    return BatchReceipt(
        is_replay=facts["isReplay"],
        account_id=_account(facts["accountId"]),
        run_id=facts["runId"],
        is_own=facts["isOwn"],
    )


def _hold(facts: Facts) -> Receipt:
    return ExtendReceipt(
        is_replay=facts["isReplay"],
        account_id=_account(facts["accountId"]),
        run_id=facts["runId"],
        held_nanocredits=_credits(facts["heldCredits"]),
        used_nanocredits=_credits(facts["usedCredits"]),
        expires_at_us=_instant(facts["expiresAt"]),
    )


def _end(facts: Facts) -> Receipt:
    return CloseReceipt(
        is_replay=facts["isReplay"],
        account_id=_account(facts["accountId"]),
        run_id=facts["runId"],
        outcome=facts["outcome"],
        captured_nanocredits=_credits(facts["capturedCredits"]),
        given_back_nanocredits=_credits(facts["givenBackCredits"]),
        debt_nanocredits=_credits(facts["debtCredits"]),
        waived_nanocredits=_credits(facts["waivedCredits"]),
        charged_nanocredits=_credits(facts["chargedCredits"]),
        cost_picousd=_usd(facts["costUsd"]),
        calls=facts["calls"],
        unpriced_calls=facts["unpricedCalls"],
        closed_at_us=_instant(facts["closedAt"]),
    )


def _charge(facts: Facts) -> Receipt:
    named = parse_charge_id(facts["id"])
    if named is None:
        raise ValueError(facts["id"])
    return ChargeReceipt(
        is_replay=facts["isReplay"],
        account_id=named[0],
        key=named[1],
        run_id=facts["runId"],
        status=facts["status"],
        flags=" ".join(facts["flags"]),
        nanocredits=_credits(facts["credits"]),
        picousd=_usd(facts["costUsd"]),
        debt_nanocredits=_credits(facts["debtCredits"]),
        edition=facts["edition"],
        lines=lines_text(facts["lines"]),
        held_after_nanocredits=_credits(facts["runHeldCredits"] or "0"),
        used_after_nanocredits=_credits(facts["runUsedCredits"] or "0"),
        run_expires_at_us=0 if facts["runExpiresAt"] is None else _instant(facts["runExpiresAt"]),
    )


def _job(facts: Facts) -> Receipt:
    return JobReceipt(
        is_replay=facts["isReplay"],
        account_id=_account(facts["accountId"]),
        job_id=facts["jobKey"],
        status=facts["status"],
        held_nanocredits=_credits(facts["heldCredits"]),
        run_id=facts["runId"],
        run_held_nanocredits=_credits(facts["runHeldCredits"] or "0"),
        run_used_nanocredits=_credits(facts["runUsedCredits"] or "0"),
        run_expires_at_us=0 if facts["runExpiresAt"] is None else _instant(facts["runExpiresAt"]),
    )


_READERS = {
    "grant": _grant,
    "run": _open,
    "hold": _hold,
    "end": _end,
    "charge": _charge,
    "job": _job,
    "batch": _batch,
}


def lines_text(lines: list[Facts]) -> str:
    """Return the lines of a charge as the ledger keeps them."""
    return json.dumps(
        [
            {
                "meter": line["meter"],
                "quantity": line["quantity"],
                "rate": line["rateUsd"],
                "per": line["per"],
                "rate_meter": line["rateMeter"],
                "attributes": line["attributes"],
                "picousd": _usd(line["costUsd"]),
                "nanocredits": _credits(line["credits"]),
                "list_rate": line.get("listRateUsd"),
                "adjustment": line.get("adjustment") or "",
                "minimum": line.get("minimum"),
            }
            for line in lines
        ]
    )


def _account(text: str) -> int:
    account_id = parse_account(text)
    if account_id is None:
        raise ValueError(text)
    return account_id


def _credits(text: str) -> int:
    return Credits(text).nanocredits


def _usd(text: str) -> int:
    return Usd(text).picousd


def _instant(text: str) -> int:
    return instant_of(datetime.fromisoformat(text), "at")
