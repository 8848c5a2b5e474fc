"""Commands about access: keys for programs, tokens for users, and who asked for what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from callfare.checks import check_choice
from callfare.cli import given, show
from callfare.cli.reading import CursorOption, LimitOption
from callfare.cli.session import Session
from callfare.cli.show import Column, Table, numbers
from callfare.errors import InvalidInput

if TYPE_CHECKING:
    from callfare.answers import (
        ApiKeyShown,
        AuditEntry,
        NewApiKey,
        UserToken,
    )
    from callfare.callfare import Callfare
    from callfare.cli.screen import Screen
    from callfare.pages import Page

_KEY_ACTIONS = ("list", "make", "roll", "revoke")
_TOKEN_ACTIONS = ("mint", "rotate")
_TTL_S = 900
_OVERLAP_S = 24 * 3600
_CAP = "100000"


def keys(
    session: Session,
    action: Annotated[str, typer.Argument(metavar="[ACTION]", help="list, make, roll or revoke.")] = "list",
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="For make a label, for roll and revoke the id of a key.")
    ] = None,
    *,
    scope: Annotated[
        list[str] | None,
        typer.Option("--scope", metavar="SCOPE", help="With make: what it may do, such as usage:write; repeated."),
    ] = None,
    admin: Annotated[bool, typer.Option("--admin", help="With make: every scope.")] = False,
    live: Annotated[bool, typer.Option("--live", help="With make: cf_live_ in place of cf_test_.")] = False,
    user: Annotated[
        str | None, typer.Option("--user", metavar="USER", help="With make: the only user it may ask about.")
    ] = None,
    network: Annotated[
        list[str] | None,
        typer.Option("--network", metavar="RANGE", help="With make: where it is taken from, as 10.0.0.0/8; repeated."),
    ] = None,
    cap: Annotated[
        str, typer.Option("--cap", metavar="CREDITS", help="With make: what it may grant in a UTC day, or none.")
    ] = _CAP,
    expires: Annotated[
        str | None, typer.Option("--expires", metavar="TIME", help="With make: when it ends, a date or a time.")
    ] = None,
    overlap: Annotated[
        int, typer.Option("--overlap", metavar="SECONDS", help="With roll: how much longer the old one holds.")
    ] = _OVERLAP_S,
    key: Annotated[
        str | None, typer.Option("--key", metavar="KEY", help="Names this request; repeating it makes no other key.")
    ] = None,
    limit: LimitOption = 50,
    cursor: CursorOption = None,
) -> None:
    """List API keys, or make, roll or revoke one.

    A key is shown once, by the command that makes it. Only a digest of it is kept.
    """
    action = check_choice(action, "action", _KEY_ACTIONS)
    if action == "list":
        with session.fare() as fare:
            page = fare.keys(limit=limit, cursor=cursor)
        session.answer(page, lambda screen: _listed(screen, page))
        session.more(page.next_cursor, "keys", "list", "--limit", str(limit), operand="")
        return
    if name is None:
        wanted = "a label" if action == "make" else "the id of a key, as `callfare keys list` shows it"
        raise InvalidInput(f"{action} what? Name {wanted}", param="name")
    session.refuse_passing()
    with session.fare() as fare:
        if action == "revoke":
            ended = fare.revoke_key(name)
            session.answer(ended, lambda screen: screen.line(f"key {ended.id} is revoked", "ok"))
            return
        if action == "roll":
            made = fare.roll_key(name, overlap_s=overlap, key=key)
        else:
            scopes = _every_scope() if admin else scope or []
            made = fare.make_key(
                name,
                scopes=scopes,
                user=user,
                networks=network or [],
                grant_cap=None if cap == "none" else given.credits_text(cap),
                mode="live" if live else "test",
                expires_at=None if expires is None else given.moment(expires, "expires"),
                key=key,
            )
    session.answer(made, lambda screen: _made(screen, made))


def tokens(
    session: Session,
    action: Annotated[str, typer.Argument(metavar="ACTION", help="mint or rotate.", show_default=False)],
    user: Annotated[str | None, typer.Argument(metavar="[USER]", help="With mint: the user the token is for.")] = None,
    *,
    scope: Annotated[
        list[str] | None,
        typer.Option("--scope", metavar="SCOPE", help="With mint: me:read, me:checkout, me:portal, me:hold; repeated."),
    ] = None,
    ttl: Annotated[
        int, typer.Option("--ttl", metavar="SECONDS", help="With mint: how long it holds, at most 3600.")
    ] = (_TTL_S),
    audience: Annotated[
        str | None,
        typer.Option("--audience", metavar="URL", help="With mint: the server's address; else CALLFARE_PUBLIC_URL."),
    ] = None,
    drop_others: Annotated[
        bool, typer.Option("--drop-others", help="With rotate: end every token that was given out before.")
    ] = False,
) -> None:
    """Mint a token for a user, or have another secret sign them.

    Both need this machine's secrets, and no ledger.
    """
    if check_choice(action, "action", _TOKEN_ACTIONS) == "rotate":
        with session.engine() as engine:
            fresh = engine.secrets.rotate(engine.clock, drop_others=drop_others)
        said = f"tokens are signed by {fresh.kid} now"
        session.answer({"kid": fresh.kid}, lambda screen: screen.line(said, "ok"))
        return
    if user is None:
        raise InvalidInput("mint for whom? Name a user", param="user")
    with session.fare() as fare:
        minted = _minted(fare, user, scope, ttl, audience)
    session.answer(minted, lambda screen: _token(screen, minted))


def audit(
    session: Session,
    *,
    user: Annotated[str | None, typer.Option("--user", metavar="USER", help="Only about this user's account.")] = None,
    limit: LimitOption = 50,
    cursor: CursorOption = None,
) -> None:
    """List who asked for which write, newest first."""
    with session.fare() as fare:
        page = fare.audit(user=user, limit=limit, cursor=cursor)
    session.answer(page, lambda screen: _audited(screen, page))
    whose = [] if user is None else [f"--user={user}"]
    session.more(page.next_cursor, "audit", "--limit", str(limit), *whose, operand="")


def _minted(fare: Callfare, user: str, scope: list[str] | None, ttl: int, audience: str | None) -> UserToken:
    return fare.mint_token(user, scopes=scope or ["me:read"], ttl_s=ttl, audience=audience)


def _every_scope() -> list[str]:
    from callfare.auth.principal import SCOPES

    return sorted(SCOPES)


def _made(screen: Screen, made: NewApiKey) -> None:
    if made.key is None:
        screen.line(f"this request made key {made.id} before; it was shown then, and cannot be shown again", "warn")
        return
    screen.line(made.key)
    screen.line(f"key {made.id}, shown this once; send it as Authorization: Bearer …", "ok")
    screen.pairs(
        {
            "may": ", ".join(made.scopes),
            "user": "every user" if made.user is None else show.clean(made.user),
            "grants a day": "without a bound" if made.grant_cap is None else show.short(made.grant_cap),
            "ends": "never" if made.expires_at is None else show.moment(made.expires_at),
        }
    )


def _listed(screen: Screen, page: Page[ApiKeyShown]) -> None:
    if not page.items:
        screen.line("no keys; make one with `callfare keys make LABEL --scope SCOPE`")
    columns = [
        Column("id"), Column("label", leaves=1), Column("status"), Column("mode", leaves=4), Column("scopes", leaves=2),
        Column("user", leaves=3), numbers("grants a day", leaves=5), Column("last used (UTC)", leaves=6),
        Column("ends (UTC)", leaves=7),
    ]  # fmt: skip
    screen.table(Table(columns=columns, rows=[_key(key) for key in page.items]))


def _key(key: ApiKeyShown) -> list[str]:
    return [
        key.id,
        show.clean(key.label),
        key.status,
        key.mode,
        " ".join(key.scopes),
        show.clean(key.user or ""),
        "" if key.grant_cap is None else show.short(key.grant_cap),
        show.moment(key.last_used_at),
        show.moment(key.revoked_at or key.expires_at),
    ]


def _token(screen: Screen, minted: UserToken) -> None:
    screen.line(minted.token)
    screen.line(f"for {show.clean(minted.user)} until {show.moment(minted.expires_at)} UTC", "ok")


def _audited(screen: Screen, page: Page[AuditEntry]) -> None:
    if not page.items:
        screen.line("nobody asked for anything")
    columns = [
        Column("at (UTC)"), Column("who"), Column("operation"), Column("user", leaves=1), Column("object", leaves=2),
        Column("before", leaves=4), Column("after", leaves=3),
    ]  # fmt: skip
    rows = [
        [
            show.moment(entry.at),
            entry.principal,
            entry.operation,
            show.clean(entry.user or ""),
            show.clean(entry.object),
            entry.before or "",
            entry.after or "",
        ]
        for entry in page.items
    ]
    screen.table(Table(columns=columns, rows=rows))
