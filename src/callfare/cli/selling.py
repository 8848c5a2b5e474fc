"""Commands about selling credits: set Stripe up, look whether it fits, bring in what was missed, see to the rest."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from callfare.checks import check_choice
from callfare.cli.session import Session
from callfare.cli.show import clean
from callfare.clock import moment_of
from callfare.errors import InvalidInput, Misconfigured, PaymentsNotConfigured

if TYPE_CHECKING:
    from callfare.engine.engine import Engine
    from callfare.payments.till import Till

T = TypeVar("T")

_ACTIONS = ("setup", "doctor", "reconcile", "quarantine", "claim")
_FAULTS = 1


def stripe(
    session: Session,
    action: Annotated[
        str, typer.Argument(metavar="ACTION", help="setup, doctor, reconcile, quarantine or claim.", show_default=False)
    ],
    item: Annotated[
        str | None, typer.Argument(metavar="[ITEM]", help="With claim: what `quarantine` lists it as.")
    ] = None,
    *,
    url: Annotated[
        str | None, typer.Option("--url", metavar="URL", help="The server's public address; else CALLFARE_PUBLIC_URL.")
    ] = None,
    grant: Annotated[bool, typer.Option("--grant", help="With claim: grant what its order was quoted.")] = False,
    by: Annotated[str, typer.Option("--by", metavar="NAME", help="With claim: who claims it.")] = "operator",
) -> None:
    """Set Stripe up, look whether all fits, bring in what messages should have told, and see to what was put aside.

    The key is read from STRIPE_SECRET_KEY; `.env.local` may hold it.
    """
    from callfare import wiring
    from callfare.payments.opening import open_till
    from callfare.payments.packages import offered

    action = check_choice(action, "action", _ACTIONS)
    address = wiring.value_of("CALLFARE_PUBLIC_URL", url) or None
    if action == "claim" and item is None:
        raise InvalidInput("claim what? `callfare stripe quarantine` lists it", param="item")
    with session.engine() as engine:
        engine.create()
        till = open_till(engine, offered(engine.settings), address)
        if till is None:
            raise PaymentsNotConfigured("set STRIPE_SECRET_KEY, here or in .env.local")
        if action == "setup":
            _set_up(session, till, address)
        elif action == "doctor":
            _examine(session, till, address)
        elif action == "reconcile":
            done = _run(till, till.reconciler.run)
            session.answer(done, lambda screen: screen.pairs(_counts(done)))
        elif action == "quarantine":
            _list(session, till)
        else:
            _claim(session, till, item or "", by, is_granted=grant)


def checked_till(engine: Engine, public_url: str) -> Till | None:
    """Return payments as the environment sets them up, None where they are not, once key and ledger belong together.

    Raises Misconfigured.
    """
    from callfare.payments.opening import open_till
    from callfare.payments.packages import offered

    sold = offered(engine.settings)
    till = open_till(engine, sold, public_url)
    if till is None:
        return None
    _run(till, till.desk.instance)
    # Another one: connections stay with the loop that they were made on.
    return open_till(engine, sold, public_url)


@contextmanager
def stand_in(engine: Engine, server_url: str) -> Iterator[Till]:
    """Start a stand-in for Stripe in a process of its own, and give payments that go through it, until the block ends.

    Raises Misconfigured, as for a ledger that has seen a live key.
    """
    from callfare.payments.config import stand_in_config
    from callfare.payments.events import WANTED
    from callfare.payments.opening import open_till
    from callfare.payments.overseeing import webhook_of
    from callfare.payments.packages import offered

    sold = offered(engine.settings)
    # It reads from a pipe whose other end is ours alone, so that it ends with this process, however that ends.
    command = [sys.executable, "-m", "callfare.devtools.fake_stripe", "--port", "0", "--while-read"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own module
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        if "listens at " not in said:
            raise Misconfigured("the stand-in for Stripe did not start: pip install 'callfare[server]'")
        config = stand_in_config(said.split("listens at ")[1].split(";")[0], server_url)
        before = open_till(engine, sold, config=config)
        assert before is not None, config
        endpoint = _run(before, lambda: before.desk.gateway.make_endpoint(webhook_of(server_url), WANTED))
        till = open_till(engine, sold, config=replace(config, webhook_secrets=(endpoint.secret or "",)))
        assert till is not None, config
        yield till
    finally:
        process.terminate()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()


def _run(till: Till, work: Callable[[], Awaitable[T]]) -> T:
    async def run() -> T:
        try:
            await till.desk.open()
            return await work()
        finally:
            await till.stop()

    return asyncio.run(run())


def _set_up(session: Session, till: Till, address: str | None) -> None:
    from callfare.payments.overseeing import set_up

    if address is None:
        raise InvalidInput("say where Stripe reaches the server: --url https://billing.example.com", param="url")
    endpoint = _run(till, lambda: set_up(till.desk, address))
    answer = {"id": endpoint.id, "url": endpoint.url, "api_version": endpoint.api_version, "secret": endpoint.secret}

    def tell(screen: Any) -> None:  # noqa: ANN401 - a screen
        screen.line(f"Stripe sends {len(endpoint.events)} kinds of events to {endpoint.url}", "ok")
        if endpoint.secret is not None:
            screen.line("its secret, told this once; put it into .env.local beside the key:")
            screen.line(f"STRIPE_WEBHOOK_SECRET={endpoint.secret}")

    session.answer(answer, tell)


def _examine(session: Session, till: Till, address: str | None) -> None:
    from callfare.payments.overseeing import examine

    async def look() -> list[Any]:
        try:
            return list(await examine(till.desk, address))
        finally:
            await till.stop()

    checks = asyncio.run(look())
    told = [{"check": one.name, "is_right": one.is_right, "message": one.message} for one in checks]

    def tell(screen: Any) -> None:  # noqa: ANN401 - a screen
        for one in checks:
            screen.line(f"{one.name}: {clean(one.message)}", "ok" if one.is_right else "warn")

    session.answer(told, tell)
    if not all(one.is_right for one in checks):
        raise typer.Exit(_FAULTS)


def _counts(done: Any) -> dict[str, str]:  # noqa: ANN401 - what a run of the reconciler has seen
    return {
        "events listed": str(done.events),
        "messages worked on": str(done.messages),
        "orders asked about": str(done.orders),
        "plans asked about": str(done.plans),
        "payments compared": str(done.payments),
        "granted only now": str(done.granted),
        "paid and not granted": ", ".join(done.unmatched) or "none",
    }


def _list(session: Session, till: Till) -> None:
    from callfare.payments.overseeing import quarantined

    items = _run(till, lambda: quarantined(till.desk))
    told = [
        {
            "item": one.item_id,
            "reason": one.reason,
            "since": moment_of(one.created_at_us),
            "claimed_by": one.claimed_by,
            "resolution": one.resolution,
        }
        for one in items
    ]

    def tell(screen: Any) -> None:  # noqa: ANN401 - a screen
        for one in items:
            state = f"{one.resolution} by {one.claimed_by}" if one.claimed_by else "waits"
            screen.line(clean(f"{one.item_id}  {one.reason}  {state}"))
        if not items:
            screen.line("nothing is in quarantine", "ok")

    session.answer(told, tell)


def _claim(session: Session, till: Till, item: str, by: str, *, is_granted: bool) -> None:
    from callfare.money import Credits
    from callfare.payments.overseeing import dismiss, grant_anyway

    if is_granted:
        granted = Credits.of_units(_run(till, lambda: grant_anyway(till.desk, item, by=by)))
        answer = {"item": item, "granted": granted}
        session.answer(answer, lambda screen: screen.line(f"{clean(item)} is granted: {granted} credits", "ok"))
        return
    _run(till, lambda: dismiss(till.desk, item, by=by))
    said = f"{clean(item)} is out of quarantine, and nothing was granted"
    session.answer({"item": item, "granted": None}, lambda screen: screen.line(said, "ok"))
