"""Every error callfare raises, in one tree, each with a stable code.

The code is the same string in Python, HTTP, MCP and on the command line. A message says what is wrong, with the
numbers a person needs, and ends with the next step where there is one. A step that is taken in Python or on the command
line stands apart in it, so that HTTP can name its own.

CallfareError
├── Refused                       before a call is made; nothing was written
│   ├── InsufficientCredit        insufficient_credit
│   ├── UnpricedModel             unpriced_model
│   ├── UserRequired              user_required
│   ├── PaymentsUnavailable       payments_unavailable
│   └── LedgerUnavailable         ledger_unavailable
│       ├── LedgerIncomplete      ledger_incomplete
│       ├── Overloaded            overloaded
│       └── DeadlineExceeded      deadline_exceeded
├── Denied                        denied
│   ├── Unauthorized              unauthorized
│   ├── Forbidden                 forbidden
│   ├── TooManyAttempts           too_many_attempts
│   ├── HostRefused               host_refused
│   ├── OriginRefused             origin_refused
│   ├── ProxyRequired             proxy_required
│   └── GrantCapReached           grant_cap_reached
├── InvalidInput                  invalid_input
│   ├── InvalidAmount             invalid_amount
│   │   └── AmountOutOfRange      amount_out_of_range
│   ├── InvalidQuantity           invalid_quantity
│   ├── InvalidTime               invalid_time
│   ├── InvalidUser               invalid_user
│   ├── InvalidMetadata           invalid_metadata
│   ├── UnknownMeter              unknown_meter
│   ├── UnknownWorkflow           unknown_workflow
│   ├── MissingAttribute          missing_attribute
│   ├── RunAmbiguous              run_ambiguous
│   ├── BackupInvalid             backup_invalid
│   ├── KeyRequired               key_required
│   ├── BodyTooLarge              body_too_large
│   └── UnsupportedMedia          unsupported_media
├── NotFound                      not_found
│   ├── RunNotFound               run_not_found
│   ├── ChargeNotFound            charge_not_found
│   ├── LedgerNotFound            ledger_not_found
│   └── RouteNotFound             route_not_found
│       └── MethodNotAllowed      method_not_allowed
├── Conflict                      conflict
│   ├── KeyConflict               key_conflict
│   ├── RunClosed                 run_closed
│   ├── JobSettled                job_settled
│   └── LedgerNotEmpty            ledger_not_empty
└── Misconfigured                 misconfigured
    ├── PriceBookInvalid          price_book_invalid
    ├── SchemaNewer               schema_newer
    ├── SchemaOlder               schema_older
    ├── LedgerCorrupt             ledger_corrupt
    ├── PaymentsNotConfigured     payments_not_configured
    └── OnlyLocal                 only_local
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from callfare.money import Credits


class CallfareError(Exception):
    """The base of every error that callfare raises on purpose."""

    code: ClassVar[str] = "error"

    def __init__(self, said: str, *, step: str | None = None, param: str | None = None) -> None:
        """Make an error. said: what is wrong. step: what to do about it here, which elsewhere may be something else."""
        message = said if step is None else f"{said}; {step}"
        super().__init__(message)
        self.said = said
        self.message = message
        self.param = param

    def facts(self) -> dict[str, object]:
        """Return the error as plain values: code, message, param and the numbers it carries."""
        return {"code": self.code, "message": self.message, "param": self.param}


class Refused(CallfareError):
    """The call was not made, and nothing was written."""

    code = "refused"


class InsufficientCredit(Refused):
    """The account cannot cover the amount. Retry after a grant."""

    code = "insufficient_credit"

    def __init__(self, user: str, *, needed: Credits, available: Credits, ledger: str | None = None) -> None:
        self.user = user
        self.needed = needed
        self.available = available
        self.shortfall = needed - available
        # The address that the command line must be told; None where it finds the ledger by itself.
        self.ledger = ledger
        where = f" --db {shlex.quote(ledger)}" if ledger else ""
        super().__init__(
            f"{user} needs {needed} credits and has {available} available, {self.shortfall} short",
            step=f"grant more with `callfare{where} grant {shlex.quote(user)} {self.shortfall}`",
        )

    def facts(self) -> dict[str, object]:
        """Return the error with what was needed, what was available and the difference, as decimal strings."""
        return super().facts() | {
            "user": self.user,
            "needed": str(self.needed),
            "available": str(self.available),
            "shortfall": str(self.shortfall),
        }


class UnpricedModel(Refused):
    """No price is in force for the model, so a run may not call it; `near` are names like it that have one."""

    code = "unpriced_model"

    def __init__(
        self, model: str, *, reason: str, near: Sequence[str] = (), step: str = "", param: str = "model"
    ) -> None:
        self.model, self.reason, self.near = model, reason, tuple(near)
        meant = f"did you mean {near[0]}? If not, " if near else ""
        next_step = step or f"{meant}add a rate for it to a price book"
        super().__init__(f"{model} has no price: {reason}", step=next_step, param=param)

    def facts(self) -> dict[str, object]:
        """Return the error with the model, the reason, and the names that may have been meant."""
        return super().facts() | {"model": self.model, "reason": self.reason, "near": list(self.near)}


class UserRequired(Refused):
    """The call names no user, and this ledger was opened with require_user=True."""

    code = "user_required"


class LedgerUnavailable(Refused):
    """The ledger did not answer in time. Nothing is known to be written; retry with the same key."""

    code = "ledger_unavailable"


class LedgerIncomplete(LedgerUnavailable):
    """The ledger is being restored, so nobody may use it yet. What was begun goes on with the same command."""

    code = "ledger_incomplete"


class Overloaded(LedgerUnavailable):
    """The server has more to do than it takes at once. Nothing was written; retry with the same key."""

    code = "overloaded"


class DeadlineExceeded(LedgerUnavailable):
    """The server did not have its answer in time. Nothing is known to be written; retry with the same key."""

    code = "deadline_exceeded"


class PaymentsUnavailable(Refused):
    """The payment processor did not do what was asked, or has not said so. Retry with the same key."""

    code = "payments_unavailable"


class Denied(CallfareError):
    """Whoever asks may not do that. Nothing was written."""

    code = "denied"


class Unauthorized(Denied):
    """No credential was given, or none that holds. The answer is the same whatever is wrong with it."""

    code = "unauthorized"


class Forbidden(Denied):
    """The credential holds, and does not reach to what was asked."""

    code = "forbidden"

    def __init__(self, message: str, *, scope: str | None = None) -> None:
        self.scope = scope
        super().__init__(message)

    def facts(self) -> dict[str, object]:
        """Return the error with the scope that is missing, None where it is not a scope."""
        return super().facts() | {"scope": self.scope}


class TooManyAttempts(Denied):
    """Too many credentials from one address did not hold. Wait, then try again."""

    code = "too_many_attempts"

    def __init__(self, *, retry_after_s: int) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(f"too many failed attempts from this address; try again in {retry_after_s} seconds")

    def facts(self) -> dict[str, object]:
        """Return the error with the seconds to wait."""
        return super().facts() | {"retry_after_s": self.retry_after_s}


class HostRefused(Denied):
    """The request names a host that this server does not answer for."""

    code = "host_refused"


class OriginRefused(Denied):
    """The request comes from a page of another origin."""

    code = "origin_refused"


class ProxyRequired(Denied):
    """The request comes past the proxy that stands before the server."""

    code = "proxy_required"


class GrantCapReached(Denied):
    """The key has granted what it may in this UTC day. Nothing was granted."""

    code = "grant_cap_reached"

    def __init__(self, key_id: str, *, cap: Credits, granted: Credits, asked: Credits, resets_at: str) -> None:
        self.key_id = key_id
        self.cap = cap
        self.granted = granted
        self.asked = asked
        self.resets_at = resets_at
        super().__init__(
            f"key {key_id} may grant {cap} credits in a UTC day and has granted {granted}, so {asked} more are too "
            f"many; try again after {resets_at}, or use a key with a higher cap",
            param="credits",
        )

    def facts(self) -> dict[str, object]:
        """Return the error with the cap, what was granted today, what was asked for, and when the day ends."""
        return super().facts() | {
            "key_id": self.key_id,
            "cap": str(self.cap),
            "granted": str(self.granted),
            "asked": str(self.asked),
            "resets_at": self.resets_at,
        }


class InvalidInput(CallfareError):
    """A value cannot be accepted; `param` names it. Nothing was written."""

    code = "invalid_input"


class InvalidAmount(InvalidInput):
    """An amount of credits or dollars is not a finite decimal, or has the wrong sign."""

    code = "invalid_amount"


class AmountOutOfRange(InvalidAmount):
    """An amount or a total would leave the range of the ledger, about 9.2 billion credits."""

    code = "amount_out_of_range"


class InvalidQuantity(InvalidInput):
    """A usage quantity is negative, not finite, not a number or above 10^12, or its parts exceed their whole."""

    code = "invalid_quantity"


class InvalidTime(InvalidInput):
    """A time has no zone, is impossible, or lies in the future."""

    code = "invalid_time"


class InvalidUser(InvalidInput):
    """A user id is empty, longer than 255 characters or 637 bytes, or not clean text."""

    code = "invalid_user"


class InvalidMetadata(InvalidInput):
    """Metadata is not a JSON object, or is above 16 KiB."""

    code = "invalid_metadata"


class UnknownMeter(InvalidInput):
    """Usage names a meter that is not in meters.toml."""

    code = "unknown_meter"


class UnknownWorkflow(InvalidInput):
    """The workflow has no estimate to hold by. Declare it, or pass hold= an amount."""

    code = "unknown_workflow"


class MissingAttribute(InvalidInput):
    """The price depends on an attribute that was not given, or not with a value that has a rate."""

    code = "missing_attribute"


class RunAmbiguous(InvalidInput):
    """Several users have a run of this id, and the request names none of them. Name the user beside the run."""

    code = "run_ambiguous"

    def __init__(self, run_id: str, *, users: int) -> None:
        self.run_id, self.users = run_id, users
        super().__init__(f"{users} users have a run {run_id!r}", step="name whose it is by user=", param="user")

    def facts(self) -> dict[str, object]:
        """Return the error with the run's id, and how many users have one of it."""
        return super().facts() | {"run_id": self.run_id, "users": self.users}


class BackupInvalid(InvalidInput):
    """A file is no backup, or not a whole one. Nothing was written."""

    code = "backup_invalid"


class KeyRequired(InvalidInput):
    """The request moves money and names no Idempotency-Key, so that repeating it would move it twice."""

    code = "key_required"


class BodyTooLarge(InvalidInput):
    """The body of a request is above 1 MiB."""

    code = "body_too_large"


class UnsupportedMedia(InvalidInput):
    """The body of a request is of a kind that is not taken here."""

    code = "unsupported_media"


class NotFound(CallfareError):
    """What was named is not there."""

    code = "not_found"


class RunNotFound(NotFound):
    """No run has this id."""

    code = "run_not_found"

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        super().__init__(f"there is no run {run_id!r}", step="list runs with `callfare history USER`", param="run_id")

    def facts(self) -> dict[str, object]:
        """Return the error with the run's id as it was asked for."""
        return super().facts() | {"run_id": self.run_id}


class ChargeNotFound(NotFound):
    """No charge has this id."""

    code = "charge_not_found"


class LedgerNotFound(NotFound):
    """The ledger file does not exist. Only grant, run and `callfare init` create one."""

    code = "ledger_not_found"


class RouteNotFound(NotFound):
    """The server has nothing at this address."""

    code = "route_not_found"


class MethodNotAllowed(RouteNotFound):
    """The server has something at this address, and not under this method."""

    code = "method_not_allowed"


class Conflict(CallfareError):
    """The request contradicts what is already recorded. Nothing was written."""

    code = "conflict"


class KeyConflict(Conflict):
    """The idempotency key was used before, by another request."""

    code = "key_conflict"

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(
            f"key {key!r} was used before with another request; use a new key for a new request", param="key"
        )

    def facts(self) -> dict[str, object]:
        """Return the error with the key."""
        return super().facts() | {"key": self.key}


class RunClosed(Conflict):
    """The run has ended, with another outcome than the one asked for."""

    code = "run_closed"

    def __init__(self, run_id: str, *, outcome: str) -> None:
        self.run_id, self.outcome = run_id, outcome
        super().__init__(f"run {run_id!r} has ended as {outcome}; open a new run to go on", param="run_id")

    def facts(self) -> dict[str, object]:
        """Return the error with the run and the outcome it ended with."""
        return super().facts() | {"run_id": self.run_id, "outcome": self.outcome}


class JobSettled(Conflict):
    """The job has been settled, with another outcome than the one asked for."""

    code = "job_settled"


class LedgerNotEmpty(Conflict):
    """A backup is restored into an empty ledger only, and this one has rows. Nothing was written."""

    code = "ledger_not_empty"


class Misconfigured(CallfareError):
    """The installation or its files must be changed by a person before this works."""

    code = "misconfigured"


class PriceBookInvalid(Misconfigured):
    """A price book cannot be loaded; the message names the file and the line."""

    code = "price_book_invalid"


class SchemaNewer(Misconfigured):
    """The ledger was written by a newer callfare. Upgrade this one."""

    code = "schema_newer"


class SchemaOlder(Misconfigured):
    """The ledger was written by an older callfare. Bring it up to date with `callfare migrate`."""

    code = "schema_older"

    def __init__(self, ledger: str, *, found: int, newest: int) -> None:
        self.found = found
        self.newest = newest
        super().__init__(f"{ledger} has schema {found}, this callfare needs {newest}; run `callfare migrate`")

    def facts(self) -> dict[str, object]:
        """Return the error with the schema that was found and the one that is needed."""
        return super().facts() | {"found": self.found, "newest": self.newest}


class LedgerCorrupt(Misconfigured):
    """A stored row breaks a rule of the ledger. Nothing more was written; run `callfare verify`."""

    code = "ledger_corrupt"


class PaymentsNotConfigured(Misconfigured):
    """No payment processor is set up, so nothing can be bought here."""

    code = "payments_not_configured"


class OnlyLocal(Misconfigured):
    """What was asked needs the ledger itself, and this is the address of a server in front of it."""

    code = "only_local"
