"""Errors from what a server answers: the same classes as everywhere, found by their codes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from callfare import errors
from callfare.errors import CallfareError, LedgerUnavailable
from callfare.money import Credits

# As the wire names them, and as the façade's arguments are called.
_PARAMS = {
    "userId": "user",
    "runId": "run_id",
    "workflowType": "workflow",
    "holdCredits": "hold",
    "ttlSeconds": "ttl_s",
    "timeZone": "tz",
    "expiresAt": "expires_at",
    "responseId": "response_id",
    "chargeId": "charge",
}
_BY_STATUS: dict[int, type[CallfareError]] = {
    400: errors.InvalidInput,
    401: errors.Unauthorized,
    403: errors.Denied,
    404: errors.NotFound,
    409: errors.Conflict,
    422: errors.Refused,
}


def _classes(kind: type[CallfareError]) -> dict[str, type[CallfareError]]:
    found = {kind.code: kind}
    for sub in kind.__subclasses__():
        if sub.__module__ == kind.__module__:
            found |= _classes(sub)
    return found


def _unpriced(facts: Mapping[str, Any]) -> CallfareError:
    model, reason, near = str(facts["model"]), str(facts["reason"]), facts.get("near")
    # What to do about it, as the server has said it.
    step = str(facts["message"]).partition(f"{model} has no price: {reason}; ")[2]
    names = [name for name in near if isinstance(name, str)] if isinstance(near, list) else []
    return errors.UnpricedModel(model, reason=reason, near=names, step=step, param=str(facts.get("param") or "model"))


_CLASSES = _classes(CallfareError)
# Errors that are made of more than a message.
_MADE: dict[str, Callable[[Mapping[str, Any]], CallfareError]] = {
    "insufficient_credit": lambda facts: errors.InsufficientCredit(
        facts["user"], needed=Credits(facts["needed"]), available=Credits(facts["available"])
    ),
    "unpriced_model": _unpriced,
    "run_not_found": lambda facts: errors.RunNotFound(facts["run_id"]),
    "run_ambiguous": lambda facts: errors.RunAmbiguous(facts["run_id"], users=int(facts["users"])),
    "run_closed": lambda facts: errors.RunClosed(facts["run_id"], outcome=facts["outcome"]),
    "key_conflict": lambda facts: errors.KeyConflict(facts["key"]),
    "forbidden": lambda facts: errors.Forbidden(facts["message"], scope=facts["scope"]),
    "too_many_attempts": lambda facts: errors.TooManyAttempts(retry_after_s=int(facts["retry_after_s"])),
    "grant_cap_reached": lambda facts: errors.GrantCapReached(
        facts["key_id"],
        cap=Credits(facts["cap"]),
        granted=Credits(facts["granted"]),
        asked=Credits(facts["asked"]),
        resets_at=facts["resets_at"],
    ),
    "schema_older": lambda facts: LedgerUnavailable(str(facts["message"])),
    "internal_error": lambda facts: LedgerUnavailable(str(facts["message"])),
}


def error_of(facts: Mapping[str, Any], status: int = 0) -> CallfareError:
    """Return the error that a server tells of. One that this version does not know is of the class of its status."""
    error = _made(facts) or _plain(facts, status)
    if facts.get("request_id"):
        error.add_note(f"request {facts['request_id']}")
    return error


def _made(facts: Mapping[str, Any]) -> CallfareError | None:
    make = _MADE.get(str(facts.get("code")))
    if make is None:
        return None
    try:
        return make(facts)
    except (KeyError, TypeError, ValueError, CallfareError):
        # A server of another version may say less.
        return None


def _plain(facts: Mapping[str, Any], status: int) -> CallfareError:
    code, message, param = str(facts.get("code")), str(facts.get("message")), facts.get("param")
    kind = _CLASSES.get(code)
    if kind is None or code in _MADE:
        kind = _BY_STATUS.get(status, LedgerUnavailable if status >= 500 else CallfareError)  # noqa: PLR2004 - a fault
    error = kind.__new__(kind)
    CallfareError.__init__(error, message, param=_PARAMS.get(str(param), None if param is None else str(param)))
    return error
