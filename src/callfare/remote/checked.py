"""A server and its ledger looked over from here: the ledger recomputed there, the server judged by what it says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import datetime, timedelta
from importlib.metadata import version
from typing import Any

import msgspec

from callfare.clock import Clock, elapsed_s, moment_of
from callfare.engine.findings import Finding
from callfare.errors import CallfareError, LedgerUnavailable, NotFound, Unauthorized
from callfare.ledger.verify import Fault, Verification
from callfare.money import Credits
from callfare.remote import told
from callfare.remote.client import Client, lines_in
from callfare.remote.faults import error_of

_SKEW_MAX = timedelta(seconds=30)
_ENDS_SOON = timedelta(days=7)
# What a key is for, by the scope that it takes.
_USES = {
    "usage:write": "record calls",
    "holds:write": "open runs",
    "credits:grant": "grant",
    "all:read": "read all there is",
    "keys:admin": "make keys, verify",
}
_decode = msgspec.json.Decoder(dict[str, Any]).decode


def verified(client: Client, progress: Callable[[str, int], None] | None) -> Verification:
    """Have a server recompute its ledger.

    Raises its refusal, LedgerUnavailable when it ends before its end.
    """
    faults: list[Fault] = []
    with closing(client.flow("POST", "/verify", body={})) as parts:
        for said in _documents(client, lines_in(parts)):
            match said:
                case {"progress": {"table": str(table), "rows": int(rows)}}:
                    if progress is not None:
                        progress(table, rows)
                case {"fault": {"table": str(table), "key": list(key), "column": column, "message": str(message)}}:
                    faults.append(Fault(table, tuple(map(str, key)), column, message))
                case {"verified": dict(facts)}:
                    return _verification(client, facts, faults)
                case {"error": dict(facts)}:
                    raise error_of(facts)
                case _:
                    # A later version may say more on the way.
                    pass
    raise LedgerUnavailable(f"{client.address.shown} ended its verification before the end; ask again")


def _documents(client: Client, lines: Iterator[bytes]) -> Iterator[dict[str, Any]]:
    try:
        yield from map(_decode, lines)
    except msgspec.MsgspecError:
        raise _not_understood(client) from None


def _verification(client: Client, facts: Mapping[str, Any], faults: list[Fault]) -> Verification:
    try:
        return Verification(
            is_clean=facts["isClean"] is True,
            faults=tuple(faults),
            fault_count=int(facts["faultCount"]),
            counted=dict(facts["counted"]),
            totals_nanocredits={kind: Credits(text).units for kind, text in facts["totalsCredits"].items()},
            held_nanocredits=Credits(facts["heldCredits"]).units,
            debt_nanocredits=Credits(facts["debtCredits"]).units,
        )
    except (KeyError, TypeError, ValueError, AttributeError, CallfareError):
        raise _not_understood(client) from None


def _not_understood(client: Client) -> LedgerUnavailable:
    return LedgerUnavailable(f"{client.address.shown} answers what cannot be understood; is it another version?")


def findings(client: Client, clock: Clock) -> Iterator[Finding]:
    """Yield what there is to say of a server: whether it answers, its version, its clock, and what the key may."""
    shown = client.address.shown
    began_us, began_s = clock.now_us(), elapsed_s()
    try:
        facts = client.get("/about")
        took = timedelta(seconds=elapsed_s() - began_s)
        ahead = told.moment(facts["now"]) - (moment_of(began_us) + took / 2)
        theirs, key = str(facts["version"]), _key(facts["asking"], moment_of(began_us))
    except NotFound:
        yield Finding(check="server", status="fail", message=f"{shown} is older than this callfare", next_step=_UPGRADE)
        return
    except CallfareError as error:
        yield Finding(check="server", status="fail", message=error.message, next_step=_next_step(error))
        return
    except (KeyError, TypeError, ValueError):
        message = _not_understood(client).message
        yield Finding(check="server", status="fail", message=message, next_step=_UPGRADE)
        return
    took_ms = took // timedelta(milliseconds=1)
    yield Finding(
        check="server", status="ok", message=f"{shown} answers in {took_ms} ms", figures={"url": shown, "ms": took_ms}
    )
    yield _version(theirs)
    yield _clock(ahead, took)
    yield key


_UPGRADE = "upgrade callfare where the server runs"


def _next_step(error: CallfareError) -> str:
    if isinstance(error, Unauthorized):
        return "make a key on the server's machine, and name it by CALLFARE_API_KEY or --key-file"
    return "see whether the server runs, and whether this is its address"


def _version(theirs: str) -> Finding:
    ours = version("callfare")
    figures = {"server": theirs, "here": ours}
    if theirs == ours:
        return Finding(check="version", status="ok", message=f"callfare {ours} on both sides", figures=figures)
    return Finding(
        check="version",
        status="warn",
        message=f"the server has callfare {theirs}, here it is {ours}",
        next_step="bring both to the same version, the server first",
        figures=figures,
    )


def _clock(ahead: timedelta, took: timedelta) -> Finding:
    """Judge how far the server's clock is ahead of this one's, known to half of what the answer took."""
    seconds = round(ahead.total_seconds(), 1)
    figures = {"ahead_s": str(seconds)}
    if abs(ahead) <= _SKEW_MAX + took / 2:
        message = f"the server's clock and this one agree, to {max(abs(seconds), 0.1):.1f} s"
        return Finding(check="clock", status="ok", message=message, figures=figures)
    which = "ahead of" if ahead > timedelta() else "behind"
    return Finding(
        check="clock",
        status="warn",
        message=f"the server's clock is {abs(seconds):,.1f} s {which} this one",
        next_step="set both by NTP: calls are priced by the time they were made at, and tokens end by the server's",
        figures=figures,
    )


def _key(asking: Mapping[str, Any], now: datetime) -> Finding:
    scopes, ends_at = [str(scope) for scope in asking["scopes"]], told.moment_or_none(asking["expiresAt"])
    is_key, user = asking["kind"] == "key", asking["userId"]
    lacks = [f"{use} ({scope})" for scope, use in _USES.items() if is_key and scope not in scopes]
    name = f"key {asking['id']}" if is_key else "a user's token"
    message = f"{name}, for {'every user' if user is None else f'{user} alone'}, may {', '.join(scopes)}"
    message += f"; it may not {', '.join(lacks)}" if lacks else ""
    figures = {"kind": asking["kind"], "id": asking["id"], "user": user, "scopes": scopes, "ends_at": ends_at}
    if ends_at is None or ends_at - now >= _ENDS_SOON:
        return Finding(check="key", status="ok", message=message, figures=figures)
    return Finding(
        check="key",
        status="warn",
        message=f"{message}; it ends {ends_at:%Y-%m-%d %H:%M} UTC",
        next_step=f"`callfare keys roll {asking['id']}` puts another in its place, with both in force for a day",
        figures=figures,
    )
