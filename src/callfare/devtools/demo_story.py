"""What the demo does, in order, and the facts it holds itself to. It speaks to callfare as any app would.

Every fact is checked where it happens: a check that fails is told at the end, and the demo exits with 1. Refuses a
ledger that has seen the demo's user before, since its figures would be others.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, field
from fractions import Fraction
from io import StringIO

import openai
from openai import AsyncOpenAI, OpenAI

from callfare.aio import AsyncCallfare, AsyncRun
from callfare.answers import Call, RunReceipt
from callfare.callfare import Callfare, Run
from callfare.devtools import demo_workflows as workflows
from callfare.devtools.demo_arithmetic import differences, exactly
from callfare.devtools.demo_events import (
    Begun,
    CallCharged,
    Chapter,
    Granted,
    ModelTotal,
    Refusal,
    Repeat,
    RunEnded,
    RunOpened,
    Show,
    Summary,
    Verified,
)
from callfare.devtools.demo_shop import Shop
from callfare.devtools.fake_openai import FakeOpenAI
from callfare.errors import CallfareError, InsufficientCredit, InvalidInput, KeyConflict, LedgerNotFound, UnpricedModel
from callfare.money import Credits
from callfare.store.open import without_password
from callfare.usage.quantities import quantity_text

USER = "user_123"
POOR = "user_456"
PACKAGE = "credits_2000"
ORDER = "order:1001"
UNPRICED = "gpt-6-preview"
_POLL_S = 0.005
_CHUNKS_READ = 6


@dataclass(slots=True)
class Playing:
    """A run on its way: its task, and how many of its calls have been shown."""

    run: Run | AsyncRun
    task: asyncio.Task[RunReceipt]
    shown: int = 0


@dataclass(slots=True)
class Story:
    """One telling of the demo, on one ledger and one stand-in."""

    fare: Callfare
    url: str
    fake: FakeOpenAI
    show: Show
    shop: Shop | None = None
    client: OpenAI = field(init=False)
    left: Credits = field(default_factory=Credits, init=False)
    charged: dict[str, Credits] = field(default_factory=dict, init=False)
    faults: list[str] = field(default_factory=list, init=False)
    image_charge: str = field(default="", init=False)

    def __post_init__(self) -> None:
        self.client = self.fare.wrap(OpenAI(base_url=self.fake.base_url, api_key="none", max_retries=0))

    def tell(self) -> list[str]:
        """Do everything, and return what was not as it should be."""
        self.begin()
        self.buy()
        asyncio.run(self.play_in_threads())
        asyncio.run(self.play_in_a_loop())
        self.refuse()
        self.repeat()
        self.retry_a_step()
        self.leave_a_stream()
        self.add_up()
        return self.faults

    def claim(self, what: str, *, holds: bool) -> None:
        """Note a fact that does not hold."""
        if not holds:
            self.faults.append(what)

    # The parts

    def begin(self) -> None:
        """Say what is here, on a ledger that has not seen the demo's users."""
        self.show(
            Begun(
                ledger=without_password(self.url),
                stand_in=self.fake.base_url,
                sdk=f"openai {openai.__version__}",
                edition=self.fare.price("sora-2", {"video_seconds": 1}, attributes={"size": "1280x720"}).edition,
            )
        )
        try:
            is_new = not any(self.fare.transactions(user).items for user in (USER, POOR))
        except LedgerNotFound:
            is_new = True
        if not is_new:
            shown = without_password(self.url)
            raise InvalidInput(f"the ledger {shown} knows {USER} already; give the demo a new one", param="db")

    def buy(self) -> None:
        """Give the user the credits of a package, as a shop does once it has been paid."""
        self.show(Chapter(title="Credits"))
        package = next(package for package in self.fare.packages() if package.id == PACKAGE)
        self.left = self._bought(package.credits)
        self.show(
            Granted(
                user=USER,
                credits=package.credits,
                source="purchase",
                package=package.name,
                paid=package.price,
                available=self.left,
            )
        )

    def _bought(self, credits: Credits) -> Credits:
        """Return what the user has once the package is paid: through Stripe's stand-in, where the demo has a shop."""
        if self.shop is not None:
            self.shop.pay(self.shop.checkout(USER, PACKAGE, key=ORDER))
            return self.shop.wait_for(self.fare, USER, credits)
        # A new ledger says where it is on standard error; the page has said that already.
        with redirect_stderr(StringIO()):
            return self.fare.grant(USER, credits, key=ORDER, source="purchase").available

    async def play_in_threads(self) -> None:
        """Run two workflows at once, each in a thread, with the sync façade and the sync client."""
        self.show(Chapter(title="A tweet and a thread at the same time", note="two threads, OpenAI()"))
        playing = []
        for work in (workflows.tweet, workflows.thread):
            run = self.fare.run(work.__name__, user=USER)
            run.open()
            self._opened(run)
            playing.append((run, asyncio.to_thread(self._work, run, work)))
        await self._follow([Playing(run, asyncio.ensure_future(task)) for run, task in playing])

    def _work(self, run: Run, work: Callable[[OpenAI], None]) -> RunReceipt:
        with run:
            work(self.client)
        return self.fare.close_run(run.id)

    async def play_in_a_loop(self) -> None:
        """Run three workflows at once in one event loop, with the async façade and the async client."""
        self.show(
            Chapter(title="A carousel, a story and a video at the same time", note="one event loop, AsyncOpenAI()")
        )
        async with (
            AsyncCallfare(self.url) as fare,
            AsyncOpenAI(base_url=self.fake.base_url, api_key="none", max_retries=0) as plain,
        ):
            client = fare.wrap(plain)

            async def work_at(run: AsyncRun, work: Callable[[AsyncOpenAI], Awaitable[None]]) -> RunReceipt:
                async with run:
                    await work(client)
                return await fare.close_run(run.id)

            playing = []
            for work, hold in ((workflows.carousel, "high"), (workflows.story, "high"), (workflows.video, "low")):
                run = fare.run(work.__name__, user=USER, hold=hold)
                await run.open()
                self._opened(run)
                playing.append((run, work_at(run, work)))
            await self._follow([Playing(run, asyncio.ensure_future(task)) for run, task in playing])

    def refuse(self) -> None:
        """Try what must be refused: a run that cannot be paid for, and a model without a price."""
        self.show(Chapter(title="What is refused, is refused before any call", note="the stand-in counts its requests"))
        receipt = self.fare.grant(POOR, 3, key=f"welcome:{POOR}", source="promo")
        self.show(
            Granted(
                user=POOR,
                credits=receipt.credits,
                source="promo",
                package=None,
                paid=None,
                available=receipt.available,
            )
        )

        def too_dear() -> None:
            with self.fare.run("story", user=POOR):
                self.client.responses.create(model=workflows.TEXT, input="Once upon a time")

        def without_a_price() -> None:
            with self.fare.run("tweet", user=USER):
                self.client.responses.create(model=UNPRICED, input="Once upon a time")

        self._refused("a story for 3 credits", POOR, too_dear, InsufficientCredit)
        self._refused(f"a call of {UNPRICED}", USER, without_a_price, UnpricedModel)

    def repeat(self) -> None:
        """Do things twice that must count once."""
        self.show(Chapter(title="Once, however often it is said"))
        self._repeated("the same purchase, with the same key", self._buy_again)

        def buy_otherwise() -> None:
            if self.shop is not None:
                self.shop.checkout(USER, "credits_15000", key=ORDER)
            else:
                self.fare.grant(USER, 15_000, key=ORDER, source="purchase")

        self._refused("the same key for 15,000 credits", USER, buy_otherwise, KeyConflict)

    def _buy_again(self) -> str:
        if self.shop is not None:
            before = self.fare.balance(USER)
            again = self.shop.checkout(USER, PACKAGE, key=ORDER)
            self.claim("a repeated purchase is the same", holds=again == self.shop.checkout(USER, PACKAGE, key=ORDER))
            self.claim("a repeated purchase grants nothing", holds=self.fare.balance(USER) == before)
            return "the first checkout again"
        receipt = self.fare.grant(USER, 2000, key=ORDER, source="purchase")
        self.claim("a repeated grant is a replay", holds=receipt.is_replay)
        return "the first receipt again"

    def retry_a_step(self) -> None:
        """Have a worker die after its call: the runner starts the step again, under the same run id."""
        self.show(Chapter(title="A worker dies after a call, and another one retries the step"))
        run_id = "thread:7781"
        crashed = self.fare.open_run("thread", user=USER, run_id=run_id)
        self._opened(crashed)
        with crashed.active():
            self._outline(crashed)
        self._show_calls(run_id)
        self._repeated("the same step of the same run, by the other worker", lambda: self._second_attempt(run_id))
        self._repeated("the same reply, reported by hand", lambda: self._report_again(run_id))
        self._ended(self.fare.close_run(run_id), "thread")

    def _outline(self, run: Run) -> None:
        with run.step("outline"):
            self.client.responses.create(model=workflows.TEXT, input="Outline a thread on lighthouses")

    def _second_attempt(self, run_id: str) -> str:
        again = self.fare.open_run("thread", user=USER, run_id=run_id)
        with again.active():
            self._outline(again)
        attempt = self.fare.calls(run_id).items[-1]
        self.claim("a second attempt is kept, uncharged", holds="attempt" in attempt.flags and not attempt.credits)
        return f"an attempt that cost ${attempt.cost}, charged 0"

    def _report_again(self, run_id: str) -> str:
        call = self.fare.calls(run_id).items[0]
        run = self.fare.open_run("thread", user=USER, run_id=run_id)
        charge = run.record(
            call.model,
            call.usage,
            operation=call.operation,
            attributes=call.attributes,
            step=call.step,
            response_id=call.response_id,
        )
        self.claim("a reply that is reported again is a replay", holds=charge.is_replay and charge.id == call.id)
        return "the first charge again"

    def leave_a_stream(self) -> None:
        """Break off a stream: what was received is charged, and flagged as estimated."""
        self.show(Chapter(title="A stream that nobody finished", note=f"left after {_CHUNKS_READ} chunks"))
        with self.fare.run("tweet", user=USER) as run:
            self._opened(run)
            with self.client.chat.completions.create(
                model=workflows.TEXT,
                messages=[{"role": "user", "content": "A tweet about a lighthouse, as long as you like"}],
                stream=True,
            ) as stream:
                for _ in range(_CHUNKS_READ):
                    next(stream)
        calls = self._show_calls(run.id)
        self.claim("a stream that was left is charged as estimated", holds=[c.flags for c in calls] == [("estimated",)])
        self._ended(self.fare.close_run(run.id), "tweet")

    def add_up(self) -> None:
        """Recompute the ledger, and every charge by hand."""
        self.show(Chapter(title="The books"))
        found = self.fare.verify()
        self.show(
            Verified(
                is_clean=found.is_clean,
                rows=sum(found.counted.values()),
                faults=tuple(str(fault) for fault in found.faults),
            )
        )
        self.claim("verify finds nothing wrong", holds=found.is_clean)
        calls = [call for run_id in self.charged for call in self.fare.calls(run_id).items]
        by_hand, faults = differences(calls)
        self.faults.extend(faults)
        usage = self.fare.usage(USER)
        granted = Credits(2000)
        posts = sum(count for name, count in self.fake.counts.items() if name.startswith("POST"))
        self.claim("every request for a reply is a call in the ledger", holds=posts == len(calls) == usage.calls)
        self.claim("usage is what was charged by hand", holds=exactly(usage.credits) == by_hand)
        self.claim("granted = charged + left", holds=granted == usage.credits + self.fare.balance(USER).posted)
        self._check_left()
        self.show(
            Summary(
                user=USER,
                granted=granted,
                charged=usage.credits,
                cost=usage.cost,
                uncharged=usage.cost - usage.credits.usd,
                by_hand=_decimal_text(by_hand),
                left=self.fare.balance(USER).available,
                requests=self.fake.count,
                calls=len(calls),
                by_model=tuple(
                    ModelTotal(
                        model=share.name,
                        calls=share.calls,
                        units={meter: quantity_text(quantity) for meter, quantity in share.units.items()},
                        cost=share.cost,
                        credits=share.credits,
                    )
                    for share in usage.by_model
                ),
                faults=tuple(self.faults),
            )
        )

    # What the parts share

    def _opened(self, run: Run | AsyncRun) -> None:
        self.charged[run.id] = Credits()
        estimate = self.fare.estimate(run.workflow)
        self.show(
            RunOpened(
                run_id=run.id,
                workflow=run.workflow,
                user=run.user,
                low=estimate.low,
                high=estimate.high,
                hold=run.left,
                available=self.fare.balance(run.user).available,
            )
        )

    async def _follow(self, playing: Sequence[Playing]) -> None:
        """Show the calls of runs as they come into the ledger, one of each run in turn, then how the runs ended."""
        waiting = deque(playing)
        try:
            while waiting:
                call = await self._next_call(waiting[0])
                if call is None:
                    waiting.popleft()
                else:
                    self._called(call)
                    waiting.rotate(-1)
        finally:
            # When interrupted, the runs end before the ledger is closed beneath them.
            for interrupted in waiting:
                interrupted.task.cancel()
            await asyncio.wait([each.task for each in playing])
        for ended in playing:
            self._ended(ended.task.result(), ended.run.workflow)
        self._check_left()

    async def _next_call(self, playing: Playing) -> Call | None:
        """Return the next call of a run once it is in the ledger, or None when the run has ended without another."""
        while True:
            has_ended = playing.task.done()
            calls = self.fare.calls(playing.run).items
            if len(calls) > playing.shown:
                playing.shown += 1
                return calls[playing.shown - 1]
            if has_ended:
                playing.task.result()
                return None
            await asyncio.sleep(_POLL_S)

    def _show_calls(self, run_id: str) -> tuple[Call, ...]:
        calls = self.fare.calls(run_id).items
        for call in calls:
            self._called(call)
        return calls

    def _called(self, call: Call) -> None:
        self.left -= call.credits
        if call.operation == "image":
            self.image_charge = call.id
        assert call.run_id is not None, call
        self.charged[call.run_id] += call.credits
        estimate = self.fare.estimate(call.workflow)
        self.show(
            CallCharged(
                charge=call.id,
                run_id=call.run_id,
                workflow=call.workflow,
                operation=call.operation,
                model=call.model,
                units={meter: quantity_text(quantity) for meter, quantity in call.usage.items()},
                attributes=call.attributes,
                arithmetic=self.fare.explain(call).arithmetic,
                cost=call.cost,
                credits=call.credits,
                so_far=self.charged[call.run_id],
                low=estimate.low,
                high=estimate.high,
                left=self.left,
                flags=call.flags,
            )
        )

    def _ended(self, receipt: RunReceipt, workflow: str) -> None:
        estimate = self.fare.estimate(workflow)
        self.show(
            RunEnded(
                run_id=receipt.run_id,
                workflow=workflow,
                outcome=receipt.outcome,
                calls=receipt.calls,
                cost=receipt.cost,
                charged=receipt.charged,
                given_back=receipt.given_back,
                low=estimate.low,
                high=estimate.high,
                left=self.left,
            )
        )
        calls = self.fare.calls(receipt.run_id).items
        by_hand, _ = differences(calls)
        self.claim(f"{workflow} was charged what its calls come to", holds=exactly(receipt.charged) == by_hand)
        self.claim(f"{workflow} has completed", holds=receipt.outcome == "completed")

    def _refused(self, what: str, user: str, attempt: Callable[[], None], error_type: type[CallfareError]) -> None:
        requests, left = self.fake.count, self.fare.balance(user).available
        try:
            attempt()
        except error_type as error:
            event = Refusal(
                what=what,
                code=error.code,
                message=error.message,
                requests_before=requests,
                requests_after=self.fake.count,
                left_before=left,
                left_after=self.fare.balance(user).available,
            )
            self.show(event)
            self.claim(f"{what} reaches no provider", holds=event.requests_before == event.requests_after)
            self.claim(f"{what} costs nothing", holds=event.left_before == event.left_after)
            return
        self.claim(f"{what} is refused", holds=False)

    def _repeated(self, what: str, attempt: Callable[[], str]) -> None:
        before = self._spendable()
        answer = attempt()
        event = Repeat(what=what, answer=answer, left_before=before, left_after=self._spendable())
        self.show(event)
        self.claim(f"{what} changes nothing", holds=event.left_before == event.left_after)

    def _spendable(self) -> Credits:
        """Return what the user would have if every open run ended now."""
        balance = self.fare.balance(USER)
        return balance.posted - balance.spent

    def _check_left(self) -> None:
        self.claim("what is shown as left is what the ledger says", holds=self._spendable() == self.left)


def _decimal_text(amount: Fraction) -> str:
    """Return a fraction of credits as a decimal where it is one, and as a fraction where it is not."""
    nanocredits = amount * 1_000_000_000
    return str(Credits.of_units(int(nanocredits))) if nanocredits.denominator == 1 else str(amount)
