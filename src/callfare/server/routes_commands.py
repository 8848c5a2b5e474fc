"""What a callfare library elsewhere asks of the ledger: commands in their order, which share a commit.

Each stands under the rule of the route that does the same by itself, so that this one opens no further door.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Annotated, Any, get_args

import msgspec
from fastapi import Query
from pydantic import TypeAdapter
from starlette.responses import Response

from callfare.checks import check_text, json_text
from callfare.engine import shapes
from callfare.engine.metering import JOB_TTL_S
from callfare.engine.requests import Call, Subject
from callfare.errors import CallfareError, Forbidden, InvalidInput, NotFound, RunNotFound, UserRequired
from callfare.ids import new_account_id, parse_account
from callfare.ledger import commands as ledger
from callfare.ledger.accounts import UNATTRIBUTED
from callfare.ledger.receipts import ChargeReceipt, Receipt
from callfare.ledger.rows import Event
from callfare.money import Credits
from callfare.server.caller import Caller, read
from callfare.server.limits import BATCH_EVENTS_MAX
from callfare.server.refusals import facts_of
from callfare.server.routes_reading import UserId
from callfare.server.routes_writing import replayed
from callfare.server.routing import ANSWER_TYPE, Routes, answer
from callfare.server.rules import API, RULES, allow
from callfare.server.wire import calls, commands, prices, receipts
from callfare.server.wire.base import Asked
from callfare.usage.quantities import check_usage

COMMANDS: TypeAdapter[list[commands.Command]] = TypeAdapter(list[commands.Command])
_NOTHING = TypeAdapter(prices.RateAgain)
_encode = msgspec.json.Encoder().encode

# For each kind of command: the route that does the same, whose rule and name in the audit it has.
_ROUTES: dict[type[Asked], tuple[str, str]] = {
    commands.GrantCommand: ("POST", f"{API}/grants"),
    commands.OpenRunCommand: ("POST", f"{API}/runs"),
    commands.ExtendRunCommand: ("POST", f"{API}/runs/{{run_id}}/extend"),
    commands.TouchRunCommand: ("POST", f"{API}/runs/{{run_id}}/touch"),
    commands.CloseRunCommand: ("POST", f"{API}/runs/{{run_id}}/close"),
    commands.RecordUsageCommand: ("POST", f"{API}/events"),
    commands.CorrectUsageCommand: ("POST", f"{API}/events"),
    commands.BeginJobCommand: ("POST", f"{API}/events"),
    commands.EndJobCommand: ("POST", f"{API}/events"),
    commands.ClaimBatchCommand: ("POST", f"{API}/events"),
}
# The same by the word that stands for each on the wire.
KINDS = {get_args(kind.model_fields["type"].annotation)[0]: route for kind, route in _ROUTES.items()}
_OF_RUN = commands.ExtendRunCommand | commands.TouchRunCommand | commands.CloseRunCommand
_OF_CALL = commands.RecordUsageCommand | commands.BeginJobCommand

# What had to be read before a command could be made: its account, or the event it corrects.
_Known = int | Event | None


async def carry_out(caller: Caller) -> Response:
    """Carry out up to 1,000 commands in their order, with a receipt or a refusal for each.

    For libraries that keep their own view of a run, as callfare's own does. What is answered is durable, and each
    command has its key, so that a repeat of all of them is harmless. Usage is told, not priced: the server prices it.
    """
    asked = read(COMMANDS, await caller.body())
    if not 1 <= len(asked) <= BATCH_EVENTS_MAX:
        raise InvalidInput(f"1 to {BATCH_EVENTS_MAX} commands go together; these are {len(asked)}", param="body")
    turns = caller.behalf.turns
    known = await caller.engine.read_async(lambda: _look_up(caller, asked))
    made = await turns.each(lambda pair: _made(caller, *pair), list(zip(asked, known, strict=True)))
    done = iter(await caller.engine.apply_many_async([one for one in made if isinstance(one, ledger.Command)]))
    found = [next(done) if isinstance(one, ledger.Command) else one for one in made]
    _count(caller, found)
    return Response(
        _encode({"results": await turns.each(lambda one: _result(one, caller.request_id), found)}),
        media_type=ANSWER_TYPE,
    )


def _count(caller: Caller, found: Sequence[Receipt | CallfareError]) -> None:
    refused = sum(isinstance(one, CallfareError) for one in found)
    caller.served.metrics.took(recorded=sum(isinstance(one, ChargeReceipt) for one in found), refused=refused)


def _result(found: Receipt | CallfareError, request_id: str) -> dict[str, Any]:
    if isinstance(found, CallfareError):
        return {"status": "refused", "error": facts_of(found, request_id)}
    return {"status": "done", "receipt": receipts.facts_of(found)}


# What commands are about


def _look_up(caller: Caller, asked: Sequence[commands.Command]) -> list[_Known | CallfareError]:
    """Return what has to be known of each command, or why it is refused. Runs in a thread: it asks the ledger."""
    bound = caller.principal.user
    own = None if bound is None else caller.engine.reports.account_of(bound)

    def is_own(account_id: int) -> bool:
        return bound is None or account_id == own

    return [_tried(lambda one=one: _known(caller, one, is_own)) for one in asked]  # type: ignore[misc]  # bound at once


def _tried(work: Callable[[], _Known]) -> _Known | CallfareError:
    try:
        return work()
    except CallfareError as refusal:
        return refusal


def _known(caller: Caller, one: commands.Command, is_own: Callable[[int], bool]) -> _Known:
    user = allow(caller.principal, RULES[_ROUTES[type(one)]], getattr(one, "user_id", None))
    if isinstance(one, commands.CorrectUsageCommand):
        return caller.engine.reports.event(one.charge_id, user)
    if isinstance(one, commands.EndJobCommand):
        if user is not None:
            raise Forbidden("a key that is bound to one user cannot end a job whose user is not told")
        return None
    if isinstance(one, commands.ClaimBatchCommand) and user is not None:
        owner = caller.engine.reports.owner_of_batch(one.batch_keys)
        if owner is not None and not is_own(owner):
            # Nobody learns of what is somebody else's, and a refusal for good would hold up what waits behind it.
            raise NotFound("there is no such batch of this user's", param="batch_keys")
    if not isinstance(one, _OF_RUN | _OF_CALL | commands.ClaimBatchCommand) or (
        one.run_id is None and one.account_id is None
    ):
        return None
    if one.account_id is None:
        assert one.run_id is not None, one
        return caller.engine.reports.find_run(one.run_id, user).account_id
    account_id = parse_account(one.account_id)
    if account_id is None or not is_own(account_id):
        # Also what is somebody else's is answered as a run that nobody has heard of.
        raise RunNotFound(one.run_id or one.account_id)
    return account_id


# Commands of the ledger


def _made(caller: Caller, one: commands.Command, known: _Known | CallfareError) -> ledger.Command | CallfareError:
    if isinstance(known, CallfareError):
        return known
    method, path = _ROUTES[type(one)]
    note = caller.principal.note(f"{method} {path}", request_id=caller.request_id)
    try:
        return msgspec.structs.replace(_command(caller, one, known), audit=note)
    except CallfareError as refusal:
        return refusal


def _command(caller: Caller, one: commands.Command, known: _Known) -> ledger.Command:
    requests = caller.engine.requests
    account_id = known if isinstance(known, int) else None
    match one:
        case commands.GrantCommand():
            user = caller.one_user(one.user_id)
            return requests.grant(user, one.credits, key=one.key, source=one.source, expires_at=one.expires_at)
        case commands.OpenRunCommand():
            return _opening(caller, one)
        case commands.ExtendRunCommand():
            return requests.extend(one.run_id, account_id, one.credits, one.key)
        case commands.TouchRunCommand():
            return ledger.TouchRun(run_id=one.run_id, account_id=account_id)
        case commands.CloseRunCommand():
            return requests.close(one.run_id, account_id, one.outcome, one.key)
        case commands.RecordUsageCommand():
            return requests.usage(_subject(caller, one, account_id), _call(one))
        case commands.BeginJobCommand():
            return requests.job(_subject(caller, one, account_id), _call(one), one.job_id, ttl_s=JOB_TTL_S)
        case commands.ClaimBatchCommand():
            return _claim(caller, one, account_id)
        case commands.CorrectUsageCommand():
            assert isinstance(known, Event), known
            return _correction(caller, one, known)
        case commands.EndJobCommand():
            used = None if one.used is None else _use(one.used)
            return requests.job_end(one.job_key, one.job_id or "", one.outcome, used)


def _opening(caller: Caller, one: commands.OpenRunCommand) -> ledger.OpenRun:
    """Return the command that opens a run, by its caller's own estimate where one is given."""
    if caller.principal.kind == "user" and any(
        said is not None for said in (one.on_failure, one.low_credits, one.high_credits)
    ):
        raise Forbidden("a user's token may not say what a workflow costs, nor who pays when it fails")
    bounds = caller.engine.reports.bounds_of(one.workflow_type)
    if one.low_credits is not None and one.high_credits is not None:
        bounds = Credits(one.low_credits), Credits(one.high_credits)
        if bounds[0] < Credits(0) or bounds[1] < bounds[0]:
            raise InvalidInput("lowCredits and highCredits have to be a range from 0 on", param="low_credits")
    opening = caller.engine.requests.open_run(
        one.workflow_type,
        user=caller.one_user(one.user_id),
        run_id=one.run_id,
        hold=one.hold_credits,
        ttl_s=one.ttl_seconds,
        input=one.input,
        bounds=bounds,
        on_failure=one.on_failure,
    )
    if one.parent_run_id is None:
        return opening
    part = Credits(one.from_parent_credits or 0)
    if part < Credits(0):
        raise InvalidInput("fromParentCredits cannot be negative", param="from_parent_credits")
    parent = check_text(one.parent_run_id, "parent_run_id")
    return msgspec.structs.replace(opening, parent=parent, from_parent_nanocredits=part.nanocredits)


def _claim(caller: Caller, one: commands.ClaimBatchCommand, account_id: int | None) -> ledger.ClaimBatch:
    """Return the claim of a batch, for whoever its caller may write for."""
    claim = ledger.ClaimBatch(
        names=tuple(check_text(name, "batch_keys", length_max=2048) for name in one.batch_keys),
        account_id=account_id,
        run_id=None if one.run_id is None else check_text(one.run_id, "run_id"),
        ttl_s=one.ttl_seconds,
        is_known_only=one.is_known_only,
    )
    if account_id is not None or one.is_known_only:
        return claim
    user = _user_of(caller, one.user_id)
    return msgspec.structs.replace(claim, user=user, new_account_id=new_account_id())


def _user_of(caller: Caller, named: str | None) -> str:
    user = caller.one_user(named)
    if user == UNATTRIBUTED and caller.engine.settings.require_user:
        raise UserRequired("the call names no user, and this ledger asks for one", param="user")
    return user


def _subject(caller: Caller, one: _OF_CALL, account_id: int | None) -> Subject:
    if account_id is not None:
        return Subject(account_id=account_id, run_id=one.run_id)
    return Subject(user=_user_of(caller, one.user_id))


def _call(one: _OF_CALL) -> Call:
    json_text(one.raw, "raw")
    return Call(
        model=one.model,
        usage=one.usage,
        operation=one.operation or "",
        attributes=one.attributes,
        provider=one.provider or "",
        base_url=one.base_url or "",
        response_id=one.response_id,
        step=one.step,
        ordinal=one.ordinal,
        attempt=one.attempt,
        key=one.key,
        metadata=one.metadata,
        raw=one.raw,
        at=one.at,
        seen_at=one.seen_at,
        call_id=one.call_id,
        is_estimated=one.is_estimated,
    )


def _use(used: commands.JobUse) -> Call:
    json_text(used.raw, "raw")
    return Call(
        model=used.model,
        usage=used.usage,
        operation=used.operation or "",
        attributes=used.attributes,
        provider=used.provider or "",
        base_url=used.base_url or "",
        raw=used.raw,
        seen_at=used.seen_at,
    )


def _correction(caller: Caller, one: commands.CorrectUsageCommand, event: Event) -> ledger.AdjustUsage:
    if "estimated" not in event.flags.split():
        raise InvalidInput("only a call that was recorded by an estimate can be corrected", param="charge")
    json_text(one.raw, "raw")
    requests = caller.engine.requests
    return requests.adjustment(
        event.account_id,
        event.key,
        "correction",
        model=check_text(one.model, "model") if one.model else event.model,
        provider=event.provider if one.provider is None else one.provider,
        usage=check_usage(one.usage),
        attributes=requests.attributes(one.attributes),
        at_us=event.at_us,
        raw=one.raw,
    )


# What a library has to know beforehand


async def list_prices(
    caller: Caller,
    catalogue: Annotated[
        str | None,
        Query(max_length=64, description="The edition of the catalogue that is known; of another, the text."),
    ] = None,
) -> Response:
    """Tell the price book in force with all its dated rates, and the markup: what a call may cost before it is made.

    An answer has an ETag; a repeat with If-None-Match is answered 304 as long as no price has changed.
    """
    body = prices.Prices.of(caller.engine.settings.assumed(), catalogue).body()
    etag = f'"{blake2b(body, digest_size=16).hexdigest()}"'
    headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
    if caller.header("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    return Response(body, media_type=ANSWER_TYPE, headers=headers)


async def find_charge(
    caller: Caller, response_key: Annotated[str, Query(alias="responseKey", max_length=2048)], user_id: UserId = None
) -> Response:
    """Find the charge that stands for a provider's response, by the key that callfare makes of it: none or one."""
    user, reports = caller.one_user(user_id), caller.engine.reports
    event = await caller.engine.read_async(lambda: reports.event_of_response(user, response_key))
    found = [] if event is None else [calls.Call.of(shapes.call(event))]
    return answer(calls.Calls(calls=found, next_cursor=None))


async def rate_again(caller: Caller) -> Response:
    """Rate every call that had no price again, by the present books, and charge those that have one now."""
    read(_NOTHING, await caller.body())
    repriced = await caller.engine.read_async(caller.engine.reprice)
    return answer(prices.Repriced.of(repriced), headers=replayed(caller.key_or_new, is_replay=False))


def add_commands(routes: Routes) -> None:
    """Add the routes that a callfare library elsewhere stands on."""
    routes.add("POST", f"{API}/commands", carry_out, answers=commands.Results, asks=COMMANDS)
    routes.add("GET", f"{API}/prices", list_prices, answers=prices.Prices)
    routes.add("GET", f"{API}/charges", find_charge, answers=calls.Calls)
    routes.add("POST", f"{API}/reprice", rate_again, answers=prices.Repriced, asks=_NOTHING)
