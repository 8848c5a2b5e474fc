"""Orders, payments and plans: each payment compared with its order, its lot and what was taken back and withheld."""

from __future__ import annotations

from collections import defaultdict

from callfare.ledger.receipts import GrantReceipt, OrderReceipt
from callfare.ledger.rows import HOUSE, Key
from callfare.ledger.sale_rows import Customer, Delivery, Installation, Order, Quarantined, Sale, Subscription
from callfare.ledger.sales import DISPUTED, dispute_hold, grant_key_of, share_taken_back
from callfare.ledger.verify.access import Sealed
from callfare.ledger.verify.findings import Findings, Stream, sealed
from callfare.ledger.verify.holders import Holders, decoded

# What is fixed when an order is opened.
_QUOTED = ("product", "nanocredits", "currency", "subtotal", "edition", "mode")
SALE_PREFIX = grant_key_of("")
HOLD_PREFIX = dispute_hold("")


class Sales:
    """What one account has bought."""

    def __init__(self, account_id: int, findings: Findings) -> None:
        self._account_id = account_id
        self._findings = findings
        self._orders: dict[str, Order] = {}
        self._sales: dict[str, Sale] = {}
        self._withheld: defaultdict[str, int] = defaultdict(int)
        self._granted: dict[str, int] = {}
        self._told: dict[str, OrderReceipt] = {}

    def read(
        self,
        orders: Stream[Order],
        sales: Stream[Sale],
        subscriptions: Stream[Subscription],
        customers: Stream[Customer],
    ) -> None:
        """Take in the rows of the account."""
        self._orders = {row.order_id: row for row in orders.of(self._account_id)}
        self._sales = {row.sale_id: row for row in sales.of(self._account_id)}
        for plan in subscriptions.of(self._account_id):
            order = self._orders.get(plan.order_id)
            if order is None or order.kind != "plan":
                self._findings.wrong(plan, "order_id", f"there is no order {plan.order_id} of a plan")
        for customer in customers.of(self._account_id):
            if customer.attempt < 1:
                self._findings.wrong(customer, "attempt", "attempts are counted from 1 on")

    def withhold(self, hold_id: str, nanocredits: int) -> bool:
        """Take in what a hold reserves for a dispute; return whether it does that."""
        if not hold_id.startswith(HOLD_PREFIX):
            return False
        self._withheld[hold_id.removeprefix(HOLD_PREFIX)] += nanocredits
        return True

    def answered(self, key: Key) -> None:
        """Take in a remembered answer that tells of an order, or of what was granted for a payment."""
        if key.kind == "order":
            receipt = decoded(key.receipt, OrderReceipt)
            if receipt is None or receipt.order_id not in self._orders:
                self._findings.wrong(key, "receipt", "it is not the receipt of an order that is there")
            else:
                self._told[receipt.order_id] = receipt
        elif key.kind == "grant" and key.key.startswith(SALE_PREFIX):
            grant = decoded(key.receipt, GrantReceipt)
            self._granted[key.key] = grant.grant_id if grant else 0

    def close(self, holders: Holders) -> None:
        """Compare orders and payments with what history tells of them."""
        for sale in self._sales.values():
            self._check(sale, holders)
        for order in self._orders.values():
            self._check_order(order)
        for grant_key, grant_id in self._granted.items():
            what = "a payment was granted for it, and it is missing"
            self._findings.fault(Sale, (self._account_id, f"{grant_key}, lot {grant_id}"), None, what)
        for sale_id in self._withheld:
            self._findings.fault(Sale, (self._account_id, sale_id), None, "a hold is for it, and it is missing")

    def _check(self, sale: Sale, holders: Holders) -> None:
        wrong = self._findings.wrong
        order = self._orders.get(sale.order_id)
        if order is None:
            wrong(sale, "order_id", f"there is no order {sale.order_id}")
        elif (sale.mode, sale.currency) != (order.mode, order.currency):
            wrong(sale, "mode", "its mode and currency are not those of its order")
        elif sale.source == "purchase" and sale.nanocredits not in {0, order.nanocredits}:
            wrong(sale, "nanocredits", f"it is {sale.nanocredits}, its order says {order.nanocredits}")
        due = share_taken_back(sale.nanocredits, reversed_units=sale.reversed, captured_units=sale.captured)
        if sale.taken_back_nanocredits != due:
            wrong(sale, "taken_back_nanocredits", f"it is {sale.taken_back_nanocredits}, the share is {due}")
        withheld = self._withheld.pop(sale.sale_id, 0)
        if sale.withheld_nanocredits != withheld:
            wrong(sale, "withheld_nanocredits", f"it is {sale.withheld_nanocredits}, its holds come to {withheld}")
        if withheld and sale.dispute != DISPUTED:
            wrong(sale, "dispute", "credit is withheld, and no dispute is open")
        if self._granted.pop(grant_key_of(sale.sale_id), None) != sale.grant_id:
            wrong(sale, "grant_id", "its lot is not the one that was granted for it")
        elif sale.grant_id is not None:
            self._check_lot(sale, holders)

    def _check_lot(self, sale: Sale, holders: Holders) -> None:
        lot = holders.lot(sale.grant_id or 0)
        if lot is None:
            return
        said = sale.nanocredits, sale.source, sale.taken_back_nanocredits
        found = lot.granted, lot.source, lot.taken_back
        if said != found:
            self._findings.wrong(sale, "nanocredits", f"it says {said}, lot {sale.grant_id} is {found}")

    def _check_order(self, order: Order) -> None:
        wrong = self._findings.wrong
        sale = self._sales.get(order.order_id)
        has_lot = sale is not None and sale.grant_id is not None
        if order.kind == "package" and (order.state == "paid") != has_lot:
            wrong(order, "state", f"it is {order.state}, and {'credit' if has_lot else 'nothing'} was granted for it")
        told = self._told.get(order.order_id)
        if told is None:
            wrong(order, None, "no answer tells that it was opened")
            return
        for column in _QUOTED:
            if getattr(order, column) != getattr(told, column):
                wrong(order, column, f"it is {getattr(order, column)!r}, and was quoted as {getattr(told, column)!r}")


def check_house(
    messages: Sealed[Delivery], quarantine: Sealed[Quarantined], facts: Sealed[Installation], findings: Findings
) -> None:
    """Check what belongs to no account: messages, what is in quarantine, and facts of the installation."""
    for message in sealed(Delivery, messages, findings):
        if (message.state == "waiting") != (message.settled_at_us is None):
            findings.wrong(message, "state", f"it is {message.state}, and settled at {message.settled_at_us}")
        if message.account_id != HOUSE:
            findings.wrong(message, "account_id", "messages belong to the house")
    for item in sealed(Quarantined, quarantine, findings):
        if (item.claimed_at_us is None) != (item.claimed_by is None) or item.account_id != HOUSE:
            findings.wrong(item, "claimed_at_us", "who claimed it and when do not stand together")
    for fact in sealed(Installation, facts, findings):
        if fact.account_id != HOUSE:
            findings.wrong(fact, "account_id", "facts belong to the house")
