"""The ledger's receipts as they go out to a callfare library elsewhere: amounts as exact text, accounts as in ids."""

from __future__ import annotations

from typing import Any

from callfare.clock import moment_of
from callfare.engine.lines import Lines
from callfare.engine.requests import shown_key
from callfare.ids import account_text, charge_id
from callfare.ledger import receipts
from callfare.money import Credits, Usd
from callfare.usage.quantities import quantity_text


def facts_of(receipt: receipts.Receipt) -> dict[str, Any]:
    """Return a receipt as it goes out."""
    match receipt:
        case receipts.ChargeReceipt():
            facts = _charge(receipt)
        case receipts.OpenReceipt():
            facts = {
                "type": "run",
                "runId": receipt.run_id,
                "status": receipt.status,
                "askedCredits": _credits(receipt.asked_nanocredits),
                "heldCredits": _credits(receipt.held_nanocredits),
                "usedCredits": _credits(receipt.used_nanocredits),
                "expiresAt": _moment(receipt.expires_at_us),
            }
        case receipts.ExtendReceipt():
            facts = {
                "type": "hold",
                "runId": receipt.run_id,
                "heldCredits": _credits(receipt.held_nanocredits),
                "usedCredits": _credits(receipt.used_nanocredits),
                "expiresAt": _moment(receipt.expires_at_us),
            }
        case receipts.CloseReceipt():
            facts = _end(receipt)
        case receipts.BatchReceipt():
            facts = {"type": "batch", "runId": receipt.run_id, "isOwn": receipt.is_own}
        case receipts.JobReceipt():
            facts = {
                "type": "job",
                "jobKey": receipt.job_id,
                "status": receipt.status,
                "heldCredits": _credits(receipt.held_nanocredits),
                **_run(receipt.run_id, receipt.run_held_nanocredits, receipt.run_used_nanocredits),
                "runExpiresAt": _run_moment(receipt.run_id, receipt.run_expires_at_us),
            }
        case receipts.GrantReceipt():
            facts = _grant(receipt)
        case _:
            raise AssertionError(receipt)
    return facts | {"accountId": account_text(receipt.account_id), "isReplay": receipt.is_replay}


def _grant(receipt: receipts.GrantReceipt) -> dict[str, Any]:
    return {
        "type": "grant",
        "key": shown_key(receipt.key),
        "number": receipt.grant_id,
        "source": receipt.source,
        "credits": _credits(receipt.nanocredits),
        "repaidCredits": _credits(receipt.repaid_nanocredits),
        "availableCredits": _credits(receipt.available_nanocredits),
        "expiresAt": None if receipt.expires_at_us is None else _moment(receipt.expires_at_us),
    }


def _end(receipt: receipts.CloseReceipt) -> dict[str, Any]:
    return {
        "type": "end",
        "runId": receipt.run_id,
        "outcome": receipt.outcome,
        "capturedCredits": _credits(receipt.captured_nanocredits),
        "givenBackCredits": _credits(receipt.given_back_nanocredits),
        "debtCredits": _credits(receipt.debt_nanocredits),
        "waivedCredits": _credits(receipt.waived_nanocredits),
        "chargedCredits": _credits(receipt.charged_nanocredits),
        "costUsd": _usd(receipt.cost_picousd),
        "calls": receipt.calls,
        "unpricedCalls": receipt.unpriced_calls,
        "closedAt": _moment(receipt.closed_at_us),
    }


def _charge(receipt: receipts.ChargeReceipt) -> dict[str, Any]:
    return {
        "type": "charge",
        "id": charge_id(receipt.account_id, receipt.key),
        "status": receipt.status,
        "flags": receipt.flags.split(),
        "credits": _credits(receipt.nanocredits),
        "costUsd": _usd(receipt.picousd),
        "debtCredits": _credits(receipt.debt_nanocredits),
        "edition": receipt.edition,
        "lines": [
            {
                "meter": line.meter,
                "quantity": quantity_text(line.quantity),
                "rateUsd": None if line.rate is None else format(line.rate, "f"),
                "per": line.per,
                "rateMeter": line.rate_meter,
                "attributes": line.attributes,
                "costUsd": str(line.cost),
                "credits": str(line.credits),
                "listRateUsd": None if line.list_rate is None else format(line.list_rate, "f"),
                "adjustment": line.adjustment or None,
                "minimum": line.minimum,
            }
            for line in Lines(receipt.lines)
        ],
        **_run(receipt.run_id, receipt.held_after_nanocredits, receipt.used_after_nanocredits),
        "runExpiresAt": _run_moment(receipt.run_id, receipt.run_expires_at_us),
    }


def _run(run_id: str | None, held_nanocredits: int, used_nanocredits: int) -> dict[str, Any]:
    return {
        "runId": run_id,
        "runHeldCredits": None if run_id is None else _credits(held_nanocredits),
        "runUsedCredits": None if run_id is None else _credits(used_nanocredits),
    }


def _run_moment(run_id: str | None, instant_us: int) -> str | None:
    return None if run_id is None else _moment(instant_us)


def _credits(nanocredits: int) -> str:
    return str(Credits.of_units(nanocredits))


def _usd(picousd: int) -> str:
    return str(Usd.of_units(picousd))


def _moment(instant_us: int) -> str:
    return moment_of(instant_us).isoformat()
