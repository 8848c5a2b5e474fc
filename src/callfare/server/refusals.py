"""Errors as answers: one shape, the status from one table, and nothing of ours in what is nobody's fault but ours."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from starlette.responses import Response

from callfare.errors import CallfareError, Forbidden, LedgerUnavailable, TooManyAttempts, Unauthorized
from callfare.server.limits import RETRY_AFTER_S

# Arguments of the façade that have another name on the wire.
_NAMES = {
    "user": "userId",
    "run_id": "runId",
    "workflow": "workflowType",
    "hold": "holdCredits",
    "ttl_s": "ttlSeconds",
    "tz": "timeZone",
    "expires_at": "expiresAt",
    "response_id": "responseId",
    "charge": "chargeId",
    "key_id": "keyId",
    "package_id": "packageId",
    "overlap_s": "overlapSeconds",
    "grant_cap": "grantCapCredits",
    "low_credits": "lowCredits",
    "high_credits": "highCredits",
    "job_id": "jobId",
}
# The next step, where that is another one over HTTP than in Python or at a command line; by code and param.
STEPS = {
    ("insufficient_credit", None): "grant more with POST /api/billing/grants",
    ("unknown_workflow", "workflow"): "open the run by holdCredits, or name a workflow that this server knows",
    ("run_ambiguous", "user"): "send userId beside it, in a body or as a parameter",
    ("run_not_found", "run_id"): "GET /api/billing/runs?userId= lists a user's",
    ("charge_not_found", "charge"): "GET /api/billing/runs/{id}/calls lists those of a run",
    ("not_found", "key_id"): "GET /api/billing/keys lists them",
    ("not_found", "package_id"): "GET /api/billing/packages lists what is",
    ("payments_not_configured", None): "its owner can set them up",
}
# What would name files and addresses of the server's machine: those are for its owner, and stand in its log.
_OWNERS = "the server must be put right by its owner; its log says how"
_SAID_INSTEAD = {
    "misconfigured": _OWNERS,
    "price_book_invalid": _OWNERS,
    "schema_newer": _OWNERS,
    "schema_older": _OWNERS,
    "ledger_corrupt": _OWNERS,
    "ledger_not_found": _OWNERS,
    "ledger_unavailable": "the ledger does not answer; repeat with the same key",
    "ledger_incomplete": "the ledger is being restored; repeat with the same key",
    "backup_invalid": _OWNERS,
}


# Where it is told which resource tokens are for.
METADATA_PATH = "/.well-known/oauth-protected-resource"


class InternalError(CallfareError):
    """A fault of the server's own; its log has the story under the request's id."""

    code = "internal_error"


class Refusals:
    """Turns errors into answers by a table of statuses, of which the first class that fits decides.

    resource: the address that tokens are for.
    """

    def __init__(self, statuses: Iterable[tuple[type[CallfareError], int]], *, resource: str) -> None:
        self._statuses = tuple(statuses)
        self._metadata = f'resource_metadata="{resource}{METADATA_PATH}"'

    def status_of(self, error: CallfareError) -> int:
        """Return the status of the answer to an error."""
        return next((status for kind, status in self._statuses if isinstance(error, kind)), 500)

    def answer(self, error: CallfareError, request_id: str) -> Response:
        """Return the answer to an error."""
        content = json.dumps({"error": facts_of(error, request_id)}, ensure_ascii=True).encode()
        return Response(
            content, self.status_of(error), media_type="application/json", headers=dict(self._headers(error))
        )

    def _headers(self, error: CallfareError) -> Mapping[str, str]:
        if isinstance(error, Unauthorized):
            return {"WWW-Authenticate": f'Bearer realm="callfare", {self._metadata}'}
        if isinstance(error, Forbidden) and error.scope is not None:
            return {"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{error.scope}", {self._metadata}'}
        if isinstance(error, TooManyAttempts):
            return {"Retry-After": str(error.retry_after_s)}
        if isinstance(error, LedgerUnavailable):
            return {"Retry-After": str(RETRY_AFTER_S)}
        return {}


def message_of(error: CallfareError) -> str:
    """Return in which words an error may be told to whoever is elsewhere: no command or argument they do not have."""
    instead = _SAID_INSTEAD.get(error.code)
    if instead is not None:
        return instead
    step = STEPS.get((error.code, error.param))
    said = error.message if step is None else f"{error.said}; {step}"
    # What is said of an argument begins with its name.
    name, space, rest = said.partition(" ")
    return f"{_NAMES[name]} {rest}" if space and name == error.param and name in _NAMES else said


def facts_of(error: CallfareError, request_id: str) -> dict[str, Any]:
    """Return an error as it goes over the wire: its names as they are there, and no places of this machine."""
    facts = error.facts() | {"request_id": request_id}
    facts["message"] = message_of(error)
    facts["param"] = _NAMES.get(str(facts["param"]), facts["param"])
    return facts
