"""What callers may write, and what they may not. Type-checked only: an `ignore` that is not needed is an error too."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any, assert_type

from openai import AsyncOpenAI, OpenAI

from callfare import (
    AsyncCallfare,
    AsyncRun,
    Balance,
    Call,
    Callfare,
    CarryingExecutor,
    Charge,
    Credits,
    Estimate,
    Explanation,
    GrantReceipt,
    HoldReceipt,
    InsufficientCredit,
    Package,
    Page,
    Price,
    Repriced,
    Run,
    RunReceipt,
    RunSummary,
    Share,
    Transaction,
    UsageReport,
    Usd,
    Verification,
    carry,
    plain,
)

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def writing(fare: Callfare) -> None:
    """What is written returns receipts, and amounts are int, Decimal, text or Credits."""
    assert_type(fare.grant("u", 2000, key="k"), GrantReceipt)
    fare.grant("u", "18.5", key="k", source="purchase", expires_at=NOW)
    fare.grant("u", Decimal("18.5"), key="k")
    fare.grant("u", Credits("18.5"), key="k")
    with fare.run("story", user="u", run_id="r", hold="high", ttl_s=60, input={"topic": "cats"}) as run:
        assert_type(run, Run)
        assert_type(run.record("gpt-5-mini", {"input_tokens": 1}), Charge)
        run.record("m", {"audio_seconds": 8.47, "characters": "12", "images": Fraction(1)}, attributes={"size": "1x1"})
        run.record("m", {"images": 1}, step="s", response_id="x", metadata={"a": [1]}, at=NOW, operation="image")
        assert_type(run.extend(5), HoldReceipt)
        assert_type(run.touch(), HoldReceipt)
        assert_type(run.left, Credits)
        with run.step("draft"), run.active():
            pass
    assert_type(fare.open_run("story", user="u"), Run)
    assert_type(fare.close_run("r", "failed", user="u", key="k"), RunReceipt)
    assert_type(run.close("cancelled"), RunReceipt)
    assert_type(fare.record("m", {"images": 1}, user="u", key="k"), Charge)
    assert_type(fare.reprice(), Repriced)
    fare.workflow("opera", low=1, high="2.5", on_failure="waive")
    fare.workflow("talk", parts=[{"model": "m", "usage": {"images": 1}, "at_most": 3}])


def progress(table: str, count: int) -> None:
    """Hear how far a verification is."""
    print(table, count)


def reading(fare: Callfare) -> None:
    """What is read returns answers with money as Credits and Usd."""
    assert_type(fare.balance("u"), Balance)
    assert_type(fare.balance("u").available, Credits)
    assert_type(fare.price("m", {"images": 1}, attributes={"size": "1x1"}, at=NOW), Price)
    assert_type(fare.price("m", {"images": 1}).cost, Usd)
    assert_type(fare.estimate("story", user="u"), Estimate)
    assert_type(fare.usage("u", "day", since=NOW, until=NOW, tz="Europe/Vienna"), UsageReport)
    assert_type(fare.usage("u").by_day, tuple[Share, ...])
    assert_type(fare.history("u", 10, None), Page[RunSummary])
    assert_type(fare.calls("r", user="u", limit=5), Page[Call])
    assert_type(fare.transactions("u"), Page[Transaction])
    assert_type(fare.packages(), tuple[Package, ...])
    assert_type(fare.checkout("u", "credits_500", email="a@example.com", key="k"), str)
    assert_type(fare.portal("u", email=None), str)
    assert_type(fare.explain("chg_x"), Explanation)
    assert_type(fare.explain(fare.calls("r").items[0]), Explanation)
    assert_type(fare.verify(progress), Verification)
    charge = fare.record("m", {"images": 1})
    assert_type(fare.explain(charge).call.metadata, Mapping[str, Any] | None)
    with fare.open_run("story", user="u") as run:
        assert_type(fare.calls(run), Page[Call])


async def waiting(fare: AsyncCallfare) -> None:
    """The async façade says the same, awaited."""
    assert_type(await fare.grant("u", 2000, key="k"), GrantReceipt)
    async with fare.run("story", user="u") as run:
        assert_type(run, AsyncRun)
        assert_type(await run.record("gpt-5-mini", {"input_tokens": 1}), Charge)
        assert_type(await run.extend(5), HoldReceipt)
        assert_type(run.left, Credits)
    assert_type(await fare.open_run("story", user="u"), AsyncRun)
    assert_type(await run.close(), RunReceipt)
    assert_type(await fare.balance("u"), Balance)
    assert_type(await fare.usage("u"), UsageReport)
    assert_type(await fare.calls(run), Page[Call])
    assert_type(await fare.packages(), tuple[Package, ...])
    assert_type(await fare.checkout("u", "credits_500"), str)
    assert_type(await fare.portal("u"), str)
    with fare.user("u"):
        await fare.record("m", {"images": 1})
    fare.workflow("opera", low=1, high=2)
    async with AsyncCallfare("memory://") as other:
        assert_type(other, AsyncCallfare)


def opening() -> None:
    """A façade is opened by an address and settings, and closed by a block."""
    with Callfare() as fare:
        assert_type(fare, Callfare)
    Callfare("memory://", books=["prices.toml"], seed_prices=False, catalogue="none", markup="1.3", require_user=True)
    Callfare("memory://", markup={NOW: "1.5"})
    Callfare("memory://", markup={NOW: Decimal("1.3")})
    Callfare("memory://", markup=1.5)  # type: ignore[arg-type]


def wrapping(fare: Callfare) -> None:
    """A wrapped client is of the kind it was."""
    assert_type(fare.wrap(OpenAI()), OpenAI)
    assert_type(fare.wrap(AsyncOpenAI(), user="u"), AsyncOpenAI)


def carrying(number: int, *, name: str) -> str:
    """A carried function takes and returns what it did."""
    assert_type(carry(carrying)(1, name="x"), str)
    carry(carrying)("1", name="x")  # type: ignore[arg-type]
    with CarryingExecutor(max_workers=2) as pool:
        assert_type(pool.submit(carrying, 1, name="x").result(), str)
    return name * number


def amounts(refusal: InsufficientCredit) -> None:
    """Amounts add up with their own kind only."""
    assert_type(Credits(1) + Credits("0.5"), Credits)
    assert_type(Credits(1).usd, Usd)
    assert_type(refusal.shortfall, Credits)
    assert_type(str(refusal.needed - refusal.available), str)
    assert_type(plain(Credits(1)), Any)
    assert Credits(1) < Credits(2)
    Credits(1) + Usd(1)  # type: ignore[operator]
    Credits(1) + 1  # type: ignore[operator]
    Credits(18.5)  # type: ignore[arg-type]
    assert Credits(1) < 2  # type: ignore[operator]


def refused(fare: Callfare, run: Run) -> None:
    """What the type checker keeps callers from."""
    fare.grant("u", 18.5, key="k")  # type: ignore[arg-type]
    fare.grant("u", 2000)  # type: ignore[call-arg]
    fare.grant("u", 2000, "k")  # type: ignore[call-arg]
    fare.grant("u", 2000, key="k", source="gift")  # type: ignore[arg-type]
    fare.grant("u", 2000, key="k", expires_at="2027-01-01")  # type: ignore[arg-type]
    fare.run("story")  # type: ignore[call-arg]
    fare.run("story", user="u", hold=1.5)  # type: ignore[arg-type]
    fare.close_run("r", "expired")  # type: ignore[arg-type]
    fare.usage("u", "year")  # type: ignore[arg-type]
    fare.workflow("opera", low=1, high=2, on_failure="shrug")  # type: ignore[arg-type]
    run.record("m", {"images": 1}, user="u")  # type: ignore[call-arg]
    run.record("m", {"images": 1}, attributes={"size": 1})  # type: ignore[dict-item]
    run.left = Credits(1)  # type: ignore[misc]
    fare.balance("u").available = Credits(1)  # type: ignore[misc]
