"""Commands from what callers give. Every check of outside input stands here, so that every door refuses the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from callfare.checks import (
    NAME_LENGTH_MAX,
    RESPONSE_ID_LENGTH_MAX,
    check_choice,
    check_text,
    check_user,
    check_whole,
    clean_text,
    json_text,
)
from callfare.clock import EARLIEST_US, Clock, event_instant, instant_of
from callfare.errors import InvalidAmount
from callfare.estimate.workflows import Workflow, Workflows
from callfare.ids import job_key_of, made_key, new_account_id, new_id, response_key_of
from callfare.ledger.accounts import UNATTRIBUTED
from callfare.ledger.commands import (
    AdjustUsage,
    AuditNote,
    CloseRun,
    ExtendRun,
    GrantCredit,
    OpenRun,
    PendJob,
    RecordUsage,
    SettleJob,
)
from callfare.ledger.grants import SOURCES
from callfare.ledger.rows import digest_of
from callfare.ledger.settle import OUTCOMES
from callfare.money import Credits, Usd
from callfare.pricing.rating import Rating, rate_finished
from callfare.settings import Terms
from callfare.usage.quantities import Quantity, check_attributes, check_usage, quantity_text

Amount = Credits | int | Decimal | str

_TTL_S_MAX = 30 * 24 * 3600
_STEP_LENGTH_MAX = 128


class Call(Struct, frozen=True, kw_only=True):
    """A metered call as its reporter tells it. `raw` is the provider's own usage object, kept as it is.

    attempt: tells two calls of one step apart where the provider gave them no response id. seen_at: when its reporter
    saw it who names no time of its own; no part of the request, and never later than now. call_id: the key that its
    reporter has made for it already, where nothing else names it.
    """

    model: str
    usage: Mapping[str, object]
    operation: str = ""
    attributes: Mapping[str, str] | None = None
    provider: str = ""
    base_url: str = ""
    response_id: str | None = None
    step: str | None = None
    ordinal: int = 1
    attempt: str = ""
    key: str | None = None
    metadata: Mapping[str, Any] | None = None
    raw: Mapping[str, object] | None = None
    at: datetime | None = None
    seen_at: datetime | None = None
    call_id: str | None = None
    is_estimated: bool = False


class Subject(Struct, frozen=True, kw_only=True):
    """Whom a call is for: a run by its id, or a user; the account's number where it is known."""

    user: str = ""
    account_id: int | None = None
    run_id: str | None = None


class Requests:
    """Builds commands under one ledger's settings. Writes nothing."""

    def __init__(self, settings: Terms, workflows: Workflows, clock: Clock) -> None:
        self._settings = settings
        self._workflows = workflows
        self._clock = clock

    def grant(
        self,
        user: str,
        credits: Amount,
        *,
        key: str,
        source: str,
        expires_at: datetime | None,
        paid: Usd | None = None,
        reference: str | None = None,
        note: AuditNote | None = None,
    ) -> GrantCredit:
        """Return the command that gives a user a lot of credit. note: who asks."""
        amount = Credits(credits)
        if amount.nanocredits <= 0:
            raise InvalidAmount(f"a grant of {amount} credits is none; give more than 0", param="credits")
        source = check_choice(source, "source", SOURCES)
        expires_at_us = None if expires_at is None else instant_of(expires_at, "expires_at")
        user, key = check_user(user), check_text(key, "key")
        return GrantCredit(
            user=user,
            new_account_id=new_account_id(),
            key=stored_key(key),
            nanocredits=amount.nanocredits,
            source=source,
            paid_picousd=paid.picousd if paid else None,
            reference=reference or key,
            expires_at_us=expires_at_us,
            fingerprint=fingerprint_of(user, amount.nanocredits, source, expires_at_us, paid and paid.picousd),
            audit=note,
        )

    def open_run(
        self,
        workflow: str,
        *,
        user: str,
        run_id: str | None,
        hold: Amount,
        ttl_s: int,
        input: Mapping[str, Any] | None,
        bounds: tuple[Credits, Credits] | None,
        on_failure: str | None = None,
    ) -> OpenRun:
        """Return the command that starts a run. `bounds` is the workflow's estimate, None when it is not known.

        on_failure: the workflow's when None.
        """
        user, workflow = check_user(user), check_text(workflow, "workflow")
        known = self._workflows.find(workflow)
        if isinstance(hold, str) and hold in {"low", "high"}:
            low, high = bounds or _bounds_of(self._workflows.get(workflow))
            amount, asked = (low if hold == "low" else high), hold
        else:
            amount = Credits(hold)
            asked = str(amount)
        if amount.nanocredits < 0:
            raise InvalidAmount("a hold cannot be negative", param="hold")
        if on_failure is None:
            on_failure = known.on_failure if known else "charge"
        input_text = json_text(input, "input")
        run_id = new_id("run") if run_id is None else check_text(run_id, "run_id")
        ttl_s = check_whole(ttl_s, "ttl_s", least=1, most=_TTL_S_MAX)
        return OpenRun(
            user=user,
            new_account_id=new_account_id(),
            run_id=run_id,
            workflow=workflow,
            on_failure=on_failure,
            hold_nanocredits=amount.nanocredits,
            low_nanocredits=bounds[0].nanocredits if bounds else None,
            high_nanocredits=bounds[1].nanocredits if bounds else None,
            ttl_s=ttl_s,
            input=input_text,
            fingerprint=fingerprint_of(user, workflow, asked, ttl_s, on_failure, input_text),
            asked=asked,
        )

    def extend(self, run_id: str, account_id: int | None, by: Amount, key: str | None) -> ExtendRun:
        """Return the command that reserves more for a run."""
        amount = Credits(by)
        if amount.nanocredits <= 0:
            raise InvalidAmount("extend a hold by more than 0 credits", param="credits")
        return ExtendRun(
            run_id=check_text(run_id, "run_id"),
            account_id=account_id,
            key=stored_key(new_id("ext") if key is None else check_text(key, "key")),
            by_nanocredits=amount.nanocredits,
        )

    def close(self, run_id: str, account_id: int | None, outcome: str, key: str | None) -> CloseRun:
        """Return the command that ends a run."""
        return CloseRun(
            run_id=check_text(run_id, "run_id"),
            account_id=account_id,
            outcome=check_choice(outcome, "outcome", OUTCOMES),
            key=None if key is None else stored_key(check_text(key, "key")),
        )

    def usage(self, subject: Subject, call: Call, note: AuditNote | None = None) -> RecordUsage:
        """Return the command that records a call which has been made. note: who asks, None where nobody is asked."""
        usage = check_usage(call.usage)
        attributes = self.attributes(call.attributes)
        now_us = self._clock.now_us()
        at_us = _instant_of(call, now_us)
        provider, base_url, model, operation = _names_of(call)
        usage_text, attributes_text = _usage_text(usage), _encode_sorted(attributes).decode()
        response_id = _check_optional(call.response_id, "response_id", length_max=RESPONSE_ID_LENGTH_MAX)
        metadata = json_text(call.metadata, "metadata")
        step = None if call.step is None else check_step(call.step)
        rating = self.rate_finished(call.model, usage, attributes, at_us, call.provider)
        told = (provider, base_url, model, operation, usage_text, attributes_text, response_id, metadata, step)
        at_told_us, scope = None if call.at is None else at_us, subject.run_id if call.key is not None else None
        fingerprint = fingerprint_of(*told, at_told_us, call.attempt, scope)
        key, repeat, response_key = self._identity(subject, call)
        # Responses that share an id are told apart by what they used.
        told_apart_by = "" if repeat == "duplicate" else call.response_id or call.attempt
        other = told_apart_by or format(fingerprint & (2**64 - 1), "016x")
        return RecordUsage(
            key=key,
            user=_user_of(subject),
            new_account_id=new_account_id() if subject.run_id is None else 0,
            account_id=subject.account_id,
            run_id=subject.run_id if subject.run_id is None else check_text(subject.run_id, "run_id"),
            repeat=repeat,
            other_key=f"{key}#{made_key('other', other)}",
            response_key=response_key,
            status=rating.status,
            reason=rating.reason or None,
            is_estimated=call.is_estimated,
            nanocredits=rating.nanocredits,
            picousd=rating.picousd,
            edition=rating.edition,
            markup=_markup_text(rating.markup),
            lines=lines_text(rating),
            raw=None if not call.raw else _json(call.raw),
            at_us=at_us,
            fingerprint=fingerprint,
            ordinal=call.ordinal,
            attempt=call.attempt,
            is_dated=call.at is not None,
            audit=note,
            provider=provider,
            base_url=base_url,
            model=model,
            operation=operation,
            usage=usage_text,
            attributes=attributes_text,
            response_id=response_id,
            metadata=metadata,
            step=step,
        )

    def _identity(self, subject: Subject, call: Call) -> tuple[str, str, str | None]:
        """Return the key of a call, what another call under it is, and the key of its response where that differs."""
        response_key = None
        if call.response_id:
            response_key = response_key_of(provider=call.provider, base_url=call.base_url, response_id=call.response_id)
        if call.key is not None:
            return stored_key(check_text(call.key, "key")), "conflict", response_key
        if call.step is not None:
            scope = subject.run_id or ""
            return made_key("step", scope, call.step, str(call.ordinal)), "attempt", response_key
        if response_key:
            return response_key, "duplicate", None
        return call.call_id or new_id("call"), "never", None

    def adjustment(
        self,
        account_id: int,
        key: str,
        kind: str,
        *,
        model: str,
        provider: str,
        usage: Mapping[str, Quantity],
        attributes: Mapping[str, str],
        at_us: int,
        markup: Fraction | None = None,
        raw: Mapping[str, object] | None = None,
    ) -> AdjustUsage:
        """Return the command that puts another rating in place of a recorded one.

        markup: the recorded one; the settings' of that time when None.
        """
        rating = self.rate_finished(model, usage, attributes, at_us, provider, markup=markup)
        return AdjustUsage(
            account_id=account_id,
            key=key,
            kind=kind,
            status=rating.status,
            nanocredits=rating.nanocredits,
            picousd=rating.picousd,
            edition=rating.edition,
            markup=_markup_text(rating.markup),
            usage=_usage_text(usage),
            attributes=_encode_sorted(attributes).decode(),
            lines=lines_text(rating),
            raw=None if not raw else _json(raw),
            model=model,
            provider=provider,
        )

    def job(self, subject: Subject, call: Call, job_id: str, *, ttl_s: int) -> PendJob:
        """Return the command that holds what a long job will cost. The job's own id is its key."""
        command = self.usage(subject, replace(call, response_id=None))
        key = job_key(call.provider, call.base_url, job_id)
        return PendJob(
            charge=replace(_as_job(command, key, job_id), repeat="conflict"),
            ttl_s=ttl_s,
            step_key=None if call.step is None else command.key,
        )

    def job_end(self, key: str, job_id: str, outcome: str, call: Call | None) -> SettleJob:
        """Return the command that ends a long job. call: what it really used, None where nobody said."""
        charge = None if call is None else self.usage(Subject(), replace(call, response_id=None))
        return SettleJob(job_id=key, outcome=outcome, charge=None if charge is None else _as_job(charge, key, job_id))

    def attributes(self, given: Mapping[str, str] | None) -> dict[str, str]:
        """Return the attributes of a call, none when None."""
        return {} if given is None else check_attributes(given, also=self._settings.assumed().book.attribute_names)

    @staticmethod
    def attributes_of(text: str) -> dict[str, str]:
        """Return attributes from the JSON they are stored as."""
        attributes: dict[str, str] = json.loads(text)
        return attributes

    def rate_finished(
        self,
        model: str,
        usage: Mapping[str, Quantity],
        attributes: Mapping[str, str],
        at_us: int,
        provider: str,
        *,
        markup: Fraction | None = None,
    ) -> Rating:
        """Return what a call that was made costs at the rates, and unless one is given the markup, of its instant."""
        settings = self._settings.assumed()
        return rate_finished(
            settings.book,
            model=model,
            usage=usage,
            attributes=attributes,
            at_us=at_us,
            markup=settings.markup_at(at_us) if markup is None else markup,
            provider=provider or None,
        )


def _user_of(subject: Subject) -> str:
    if subject.user:
        return check_user(subject.user)
    return UNATTRIBUTED if subject.run_id is None and subject.account_id is None else ""


def job_key(provider: str, base_url: str, job_id: str) -> str:
    """Return the key of a long job at a provider."""
    return job_key_of(provider=provider, base_url=clean_text(base_url), job_id=clean_text(job_id))


def _as_job(command: RecordUsage, key: str, job_id: str) -> RecordUsage:
    return replace(command, key=key, other_key=f"{key}#other", response_id=clean_text(job_id))


def _instant_of(call: Call, now_us: int) -> int:
    """Return when a call was made.

    Raises InvalidTime for a time that was named and is impossible.
    """
    if call.at is not None:
        return event_instant(call.at, now_us)
    # Whoever only saw it may have a clock that is wrong, and a finished call is no less finished for that.
    return now_us if call.seen_at is None else min(max(instant_of(call.seen_at, "seen_at"), EARLIEST_US), now_us)


def local_note(operation: str) -> AuditNote:
    """Return the note of a write that whoever may open the ledger itself asks for, such as `credits.grant`.

    It names no account of the system: history names no person, and who may open the ledger is for the system to say.
    """
    return AuditNote(id=new_id("aud"), principal="local", key_id=None, operation=operation)


def _names_of(call: Call) -> tuple[str, str, str, str]:
    """Return a call's provider, base address, model and operation as clean text. Most calls repeat an earlier one's."""
    names = (call.provider, call.base_url, call.model, call.operation)
    try:
        return _checked_names(*names)
    except TypeError:
        # What cannot be remembered is no text, and is refused by its own name.
        return _checked_names.__wrapped__(*names)


@lru_cache(maxsize=1024)
def _checked_names(provider: object, base_url: object, model: object, operation: object) -> tuple[str, str, str, str]:
    return (
        _check_optional(provider, "provider"),
        _check_optional(base_url, "base_url"),
        check_text(model, "model"),
        _check_optional(operation, "operation"),
    )


def _check_optional(text: object, what: str, length_max: int = NAME_LENGTH_MAX) -> str:
    """Return text that may be none, and then is empty."""
    return "" if text is None or text == "" else check_text(text, what, length_max=length_max)


def check_step(step: object) -> str:
    """Return the name of a step.

    Raises InvalidInput when it is empty, longer than 128 characters or not clean text.
    """
    return check_text(step, "step", length_max=_STEP_LENGTH_MAX)


def stored_key(key: str) -> str:
    """Return how a caller's key is stored; the kind keeps it apart from keys that callfare makes."""
    return made_key("key", key)


def shown_key(key: str) -> str:
    """Return a stored key as its caller gave it, and one that callfare made as it is."""
    kind, _, given = key.partition(":")
    return given.replace("%23", "#").replace("%3A", ":").replace("%25", "%") if kind == "key" else key


def lines_text(rating: Rating) -> str:
    """Return the lines of a rating as JSON, with exact rates and quantities."""
    return _encode_lines(rating.lines).decode()


def _encode_exactly(value: object) -> object:
    if isinstance(value, Fraction):
        return quantity_text(value)
    raise NotImplementedError(type(value))


_encode_lines = msgspec.json.Encoder(enc_hook=_encode_exactly).encode
_encode_sorted = msgspec.json.Encoder(order="sorted").encode


def _bounds_of(workflow: Workflow) -> tuple[Credits, Credits]:
    assert workflow.low is not None, workflow
    assert workflow.high is not None, workflow
    return workflow.low, workflow.high


def _usage_text(usage: Mapping[str, Quantity]) -> str:
    return _encode_sorted({meter: quantity_text(quantity) for meter, quantity in usage.items()}).decode()


_encode_json = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode


def _json(value: Mapping[str, object]) -> str:
    try:
        return _encode_sorted(value).decode()
    except (TypeError, ValueError, OverflowError):
        # Half characters, and numbers that take more than 64 bits.
        return _encode_json(value)


@lru_cache(maxsize=64)
def _markup_text(markup: Fraction) -> str:
    return str(markup)


def fingerprint_of(*facts: object) -> int:
    """Return what stands for a request: the same for the same facts."""
    return digest_of(_encode_sorted(facts))
