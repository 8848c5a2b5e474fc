"""Commands as they go to a server: what was asked, and nothing that was worked out here."""

from __future__ import annotations

import json
import logging
from typing import Any

from callfare.checks import json_text
from callfare.clock import moment_of
from callfare.engine.requests import shown_key
from callfare.errors import InvalidInput, OnlyLocal
from callfare.ids import account_text, charge_id
from callfare.ledger import commands
from callfare.money import Credits

_log = logging.getLogger("callfare")


def facts_of(command: commands.Command) -> dict[str, Any]:
    """Return a command as it goes out, without what is empty."""
    found = _facts(command)
    return {name: value for name, value in found.items() if value is not None}


def _facts(command: commands.Command) -> dict[str, Any]:
    match command:
        case commands.RecordUsage():
            return {"type": "recordUsage", **_call(command), **_key_of(command)}
        case commands.AdjustUsage():
            return _correction(command)
        case commands.PendJob():
            begun = _call(command.charge) | {"responseId": None}
            return {"type": "beginJob", **begun, "jobId": command.charge.response_id}
        case commands.SettleJob():
            return _job_end(command)
        case commands.OpenRun():
            return _opening(command)
        case commands.ExtendRun():
            facts = {"credits": _credits(command.by_nanocredits), "key": shown_key(command.key)}
            return {"type": "extendRun", **_run(command), **facts}
        case commands.ClaimBatch():
            return _claim(command)
        case commands.TouchRun():
            return {"type": "touchRun", **_run(command)}
        case commands.CloseRun():
            key = None if command.key is None else shown_key(command.key)
            return {"type": "closeRun", **_run(command), "outcome": command.outcome, "key": key}
        case commands.GrantCredit():
            return _grant(command)
        case _:
            raise OnlyLocal(f"{type(command).__name__} needs the ledger itself: do it where that is", param="url")


def _grant(command: commands.GrantCredit) -> dict[str, Any]:
    return {
        "type": "grant",
        "userId": command.user,
        "credits": _credits(command.nanocredits),
        "source": command.source,
        "expiresAt": None if command.expires_at_us is None else _moment(command.expires_at_us),
        "key": shown_key(command.key),
    }


def _opening(command: commands.OpenRun) -> dict[str, Any]:
    low, high = command.low_nanocredits, command.high_nanocredits
    return {
        "type": "openRun",
        "userId": command.user,
        "runId": command.run_id,
        "workflowType": command.workflow,
        "holdCredits": command.asked,
        "lowCredits": None if low is None else _credits(low),
        "highCredits": None if high is None else _credits(high),
        "onFailure": command.on_failure if command.on_failure != "charge" else None,
        "ttlSeconds": command.ttl_s,
        "input": None if command.input is None else json.loads(command.input),
        "parentRunId": command.parent,
        "fromParentCredits": _credits(command.from_parent_nanocredits) if command.parent is not None else None,
    }


def _claim(command: commands.ClaimBatch) -> dict[str, Any]:
    return {
        "type": "claimBatch",
        "batchKeys": list(command.names),
        "userId": command.user or None,
        "accountId": None if command.account_id is None else account_text(command.account_id),
        "runId": command.run_id,
        "ttlSeconds": command.ttl_s,
        "isKnownOnly": command.is_known_only or None,
    }


def _run(command: commands.ExtendRun | commands.TouchRun | commands.CloseRun) -> dict[str, Any]:
    account_id = None if command.account_id is None else account_text(command.account_id)
    return {"runId": command.run_id, "accountId": account_id}


def _call(command: commands.RecordUsage) -> dict[str, Any]:
    return {
        "runId": command.run_id,
        "accountId": None if command.account_id is None else account_text(command.account_id),
        "userId": command.user or None,
        "step": command.step,
        "ordinal": None if command.step is None else command.ordinal,
        "attempt": command.attempt or None,
        "provider": command.provider or None,
        "baseUrl": command.base_url or None,
        "model": command.model,
        "operation": command.operation or None,
        "usage": json.loads(command.usage),
        "attributes": json.loads(command.attributes) or None,
        "responseId": command.response_id or None,
        "metadata": None if command.metadata is None else json.loads(command.metadata),
        "raw": _raw(command.raw),
        "isEstimated": command.is_estimated or None,
        "at" if command.is_dated else "seenAt": _moment(command.at_us),
    }


def _key_of(command: commands.RecordUsage) -> dict[str, Any]:
    """Return the key to send: none where the server makes the same one of the step or the response."""
    if command.repeat == "never":
        return {"callId": command.key}
    return {"key": shown_key(command.key)} if command.repeat == "conflict" else {}


def _correction(command: commands.AdjustUsage) -> dict[str, Any]:
    return {
        "type": "correctUsage",
        "chargeId": charge_id(command.account_id, command.key),
        "model": command.model or None,
        "provider": command.provider or None,
        "usage": json.loads(command.usage),
        "attributes": json.loads(command.attributes) or None,
        "raw": _raw(command.raw),
    }


def _job_end(command: commands.SettleJob) -> dict[str, Any]:
    charge, used = command.charge, None
    if charge is not None:
        call = _call(charge)
        names = ("model", "usage", "operation", "provider", "baseUrl", "attributes", "raw", "seenAt")
        used = {name: call[name] for name in names if call.get(name) is not None}
    job_id = None if charge is None else charge.response_id or None
    return {"type": "endJob", "jobKey": command.job_id, "jobId": job_id, "outcome": command.outcome, "used": used}


def _raw(text: str | None) -> Any:  # noqa: ANN401 - whatever a provider wrote
    """Return a provider's usage object, or None for one that a server would not take: the count matters more."""
    if text is None:
        return None
    raw = json.loads(text)
    try:
        json_text(raw, "raw")
    except InvalidInput as refusal:
        _log.warning("a provider's usage object is left out: %s", refusal.message)
        return None
    return raw


def _credits(nanocredits: int) -> str:
    return str(Credits.of_units(nanocredits))


def _moment(instant_us: int) -> str:
    return moment_of(instant_us).isoformat()
