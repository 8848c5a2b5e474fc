"""The process or the ledger dies between any two steps: what is paid is granted once, by whoever comes after."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest

from callfare.errors import CallfareError, LedgerUnavailable
from callfare.payments.desk import Desk
from callfare.payments.stripe import StripeGateway
from callfare.payments.till import Till
from tests.support.shop import FOR_SALE, config_of


class Died(BaseException):
    """The end of a process, which no handler of errors catches."""


class DyingLedger:
    """A ledger whose process dies, or whose database goes away, at one of its writes: before or after it stands."""

    def __init__(self, engine, *, at: int, fault: type[BaseException], is_after: bool) -> None:
        self.store, self.clock = engine.store, engine.clock
        self._engine = engine
        self._left = at
        self._fault = fault
        self._is_after = is_after

    async def commit_async(self, command, kind):
        self._left -= 1
        if self._left == 0 and not self._is_after:
            raise self._fault("now")
        receipt = await self._engine.commit_async(command, kind)
        if self._left == 0:
            raise self._fault("now")
        return receipt

    async def glance_async(self, read):
        return await self._engine.glance_async(read)

    @property
    def has_failed(self) -> bool:
        return self._left <= 0


def dying_till(shop, **how) -> tuple[Till, DyingLedger]:
    ledger = DyingLedger(shop.engine, **how)
    config = config_of(shop.fake)
    return Till(Desk(ledger, StripeGateway(config.secret_key, api_url=config.api_url), config, FOR_SALE)), ledger


@pytest.mark.parametrize("is_after", [False, True], ids=["before it stands", "after it stands"])
@pytest.mark.parametrize("fault", [Died, LedgerUnavailable], ids=["process", "database"])
@pytest.mark.parametrize("at", range(1, 8))
async def test_a_checkout_that_was_cut_off_goes_on_under_the_same_key(fake, open_shop, at, fault, is_after):
    async with open_shop() as shop:
        till, ledger = dying_till(shop, at=at, fault=fault, is_after=is_after)
        try:
            await till.orders.checkout("alice", "alice@example.com", "credits_2000", key="key:once")
        except (Died, CallfareError):
            assert ledger.has_failed
        await till.desk.gateway.close()

        session = await shop.checkout(key="key:once")
        fake.act("pay_session", session=session)
        await shop.tell_all()

        assert shop.balance().available == "2000"
        assert [order.state for order in shop.orders()] == ["paid"]
        assert len(fake.client().v1.checkout.sessions.list().data) == 1


@pytest.mark.parametrize("is_after", [False, True], ids=["before it stands", "after it stands"])
@pytest.mark.parametrize("fault", [Died, LedgerUnavailable], ids=["process", "database"])
@pytest.mark.parametrize("product", ["credits_2000", "plan_creator"])
@pytest.mark.parametrize("at", range(1, 5))
async def test_a_message_that_was_cut_off_is_worked_on_by_whoever_comes_after(open_shop, product, at, fault, is_after):
    async with open_shop() as shop:
        await shop.bought(product)
        till, ledger = dying_till(shop, at=at, fault=fault, is_after=is_after)
        for event in shop.events("checkout.session.completed", "invoice.paid"):
            try:
                message = await till.inbox.keep(json.dumps(event).encode())
                if message is not None:
                    await till.inbox.work(message)
            except (Died, CallfareError):
                assert ledger.has_failed
        await till.desk.gateway.close()

        # Stripe sends again what was not answered, and a claim that nobody holds any more has ended.
        shop.clock.advance(7200)
        await shop.tell_all("checkout.session.completed", "invoice.paid")
        await shop.till.work_due()

        assert shop.balance().available == ("2000" if product == "credits_2000" else "300")
        assert "waiting" not in shop.messages().values()


@pytest.mark.parametrize("at", range(1, 9))
async def test_a_reconciliation_that_was_cut_off_is_made_up_for_by_the_next(open_shop, at):
    async with open_shop() as shop:
        await shop.bought()
        shop.advance(300)
        till, _ = dying_till(shop, at=at, fault=Died, is_after=True)
        with suppress(Died):
            await till.reconciler.run()
        await till.desk.gateway.close()

        shop.clock.advance(7200)
        done = await shop.till.reconciler.run()

        assert (shop.balance().available, done.unmatched) == ("2000", [])


@pytest.mark.parametrize("path", ["/v1/checkout/sessions/*", "/v1/payment_intents/*", "/v1/refunds", "/v1/disputes"])
async def test_stripe_goes_away_in_the_middle_and_the_message_waits(fake, open_shop, path):
    async with open_shop() as shop:
        await shop.bought()
        fake.fault(path=path, method="GET", times=3, status=503)

        await shop.tell_all("checkout.session.completed")
        before = (shop.balance().available, shop.messages())
        shop.clock.advance(3600)
        await shop.till.work_due()

        assert before == ("0", {"checkout.session.completed": "waiting"})
        assert (shop.balance().available, shop.messages()) == ("2000", {"checkout.session.completed": "done"})
