"""Commands for the server: start it, and show how it is set up."""

from __future__ import annotations

import shlex
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from callfare.cli.session import Session
from callfare.errors import InvalidInput, Misconfigured

if TYPE_CHECKING:
    from collections.abc import Sequence
    from socket import socket

    from callfare.cli.screen import Screen
    from callfare.engine.engine import Engine
    from callfare.payments.till import Till
    from callfare.server.first_start import FirstKey
    from callfare.server.serving import Listening

_PORT_MAX = 65535

HostOption = Annotated[
    str | None, typer.Option("--host", metavar="ADDRESS", help="Where to listen; 127.0.0.1 if not given.")
]
PortOption = Annotated[
    int | None, typer.Option("--port", metavar="PORT", min=0, max=_PORT_MAX, help="The port; 8787 if not given.")
]
PublicOption = Annotated[
    str | None, typer.Option("--public-url", metavar="URL", help="The address that people reach it under.")
]
CertificateOption = Annotated[
    str | None, typer.Option("--tls-certificate", metavar="FILE", help="The certificate, for TLS.")
]
KeyOption = Annotated[str | None, typer.Option("--tls-key", metavar="FILE", help="The certificate's key.")]
BehindOption = Annotated[bool, typer.Option("--behind-proxy", help="A proxy stands before it and does the TLS.")]
ProxyOption = Annotated[
    list[str] | None, typer.Option("--trusted-proxy", metavar="ADDRESS", help="A proxy's address; may be repeated.")
]
IssuerOption = Annotated[
    list[str] | None,
    typer.Option("--authorization-server", metavar="URL", help="Where users log in for a token; may be repeated."),
]
FakeOption = Annotated[
    bool, typer.Option("--fake-stripe", help="Start a stand-in for Stripe beside it; for ledgers without live keys.")
]


def serve(
    session: Session,
    *,
    host: HostOption = None,
    port: PortOption = None,
    public_url: PublicOption = None,
    tls_certificate: CertificateOption = None,
    tls_key: KeyOption = None,
    behind_proxy: BehindOption = False,
    trusted_proxy: ProxyOption = None,
    authorization_server: IssuerOption = None,
    fake_stripe: FakeOption = False,
) -> None:
    """Answer over HTTP until stopped. Makes the ledger if there is none.

    Only this machine can reach it, unless --host names another address; then a key, a public address and TLS have to be
    there. SIGTERM ends it once what it has accepted is answered.
    """
    from callfare import wiring

    proxies = trusted_proxy or _parts("CALLFARE_TRUSTED_PROXIES")
    try:
        from callfare.server.serving import Listening
    except ModuleNotFoundError as error:
        raise Misconfigured(f"the server needs more packages: pip install 'callfare[server]' ({error.name})") from None
    listening = Listening(
        host=wiring.value_of("CALLFARE_HOST", host),
        port=_port(wiring.value_of("CALLFARE_PORT", None if port is None else str(port))),
        public_url=wiring.value_of("CALLFARE_PUBLIC_URL", public_url).rstrip("/") or None,
        certificate=_file(wiring.value_of("CALLFARE_TLS_CERTIFICATE", tls_certificate)),
        certificate_key=_file(wiring.value_of("CALLFARE_TLS_KEY", tls_key)),
        is_behind_proxy=wiring.value_of("CALLFARE_BEHIND_PROXY", "1" if behind_proxy else None) == "1",
        trusted_proxies=tuple(proxies),
        authorization_servers=tuple(authorization_server or _parts("CALLFARE_AUTHORIZATION_SERVERS")),
    )
    with session.engine() as engine:
        _serve(session, engine, listening, is_faked=fake_stripe)


def _serve(session: Session, engine: Engine, listening: Listening, *, is_faked: bool) -> None:
    from dataclasses import replace

    from callfare.cli.selling import checked_till, stand_in
    from callfare.server import first_start, log, serving
    from callfare.server.app import make_app

    engine.create()
    has_key = first_start.has_admin_key(engine)
    listening.check(has_admin_key=has_key)
    listener = serving.bound(listening)
    listening = replace(listening, port=listener.getsockname()[1])
    made = None if has_key else first_start.make_admin_key(engine)
    log.speak()
    # Refusals travel: where this machine keeps its ledger is nobody's business who reads one.
    engine.address = None
    with stand_in(engine, listening.url) if is_faked else nullcontext(checked_till(engine, listening.url)) as till:
        app = make_app(
            engine,
            audience=listening.url,
            public_url=listening.public_url,
            is_local=listening.is_local,
            till=till,
            authorization_servers=listening.authorization_servers,
            peers=listening.peers,
        )
        selling = [] if till is None else _selling(engine, till)
        _answer_until_stopped(session, app, listening, listener, made=made, selling=selling)


def _answer_until_stopped(
    session: Session,
    app: Any,  # noqa: ANN401 - ASGI is a shape, not a class
    listening: Listening,
    listener: socket,
    *,
    made: FirstKey | None,
    selling: Sequence[str],
) -> None:
    from callfare.server import serving

    answer = {"url": listening.url, "key_file": None if made is None or made.file is None else str(made.file)}
    answer |= {} if made is None else {"key": made.key}

    def ready() -> None:
        session.answer(answer, lambda screen: _ready(screen, listening, made, selling))
        session.screen.flush()

    if not serving.serve(app, listening, listener, ready):
        raise Misconfigured("the server did not start; its log says why")


def _selling(engine: Engine, till: Till) -> list[str]:
    """Return how credits are sold, and what is sold below cost."""
    from callfare.engine.doctor import prices_of_sale

    config = till.desk.config
    where = f"at {config.api_url}, a stand-in" if config.api_url else "of Stripe"
    lines = [f"credits are sold in {config.mode} mode, through the API {where}"]
    prices = prices_of_sale(engine)
    return lines if prices.status == "ok" else [*lines, f"{prices.message}; {prices.next_step}"]


def _ready(screen: Screen, listening: Listening, made: FirstKey | None, selling: Sequence[str]) -> None:
    screen.line(f"callfare answers at {listening.url}")
    for line in selling:
        screen.line(line)
    if made is None:
        return
    # What is no terminal is often a log, which more people read than may do everything.
    if screen.is_terminal or made.file is None:
        screen.line(f"key, told this once, that may do everything: {made.key}")
    shown = made.key
    if made.file is not None:
        shown = f"$(cat {shlex.quote(str(made.file))})"
        screen.line(f"the key of this ledger that may do everything is kept in {made.file}, which only you may read")
    url = f"{listening.url}/api/billing/usage?userId=user_123&period=month"
    screen.line(f"try: curl -H \"Authorization: Bearer {shown}\" '{url}'")


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > _PORT_MAX:
        raise InvalidInput(f"CALLFARE_PORT has to be a number up to {_PORT_MAX}", param="port")
    return int(text)


def _parts(variable: str) -> list[str]:
    from callfare import wiring

    return [part.strip() for part in wiring.value_of(variable).split(",") if part.strip()]


def _file(text: str) -> Path | None:
    return Path(text) if text else None


def config(session: Session) -> None:
    """Show every setting, its value without secrets, and where that comes from."""
    from callfare import wiring

    asked = session.options.server if session.options.db is None else session.options.db
    found = wiring.settings_found({"CALLFARE_DATABASE_URL": asked})
    answer = {one.variable: {"value": one.value, "source": one.source} for one in found}
    session.answer(
        answer, lambda screen: screen.pairs({one.variable: f"{one.value or '-'}  ({one.source})" for one in found})
    )
