"""Payments and what they bought: granted once, taken back by the share that was paid back, withheld in a dispute.

Everything is brought to what the processor says now, so it does not matter in which order its messages come.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from msgspec.structs import replace

from callfare.errors import InvalidAmount
from callfare.ids import made_key
from callfare.ledger import grants, holds
from callfare.ledger.accounts import SALES
from callfare.ledger.expiry import expire_due
from callfare.ledger.inbox import mark_done, resolve
from callfare.ledger.keys import again, remember
from callfare.ledger.orders import find_order, known_user, put_order
from callfare.ledger.receipts import GrantReceipt, SaleReceipt
from callfare.ledger.rows import digest_of
from callfare.ledger.sale_rows import Sale

if TYPE_CHECKING:
    from callfare.ledger.receipts import RefundReceipt, ReinstateReceipt
    from callfare.ledger.sale_commands import SettleSale
    from callfare.ledger.sale_rows import Order
    from callfare.ledger.state import Draft


DISPUTED = "open"
# Parts the key of a grant from the number of what was taken or given back.
REVERSAL = ":reversal:"


@lru_cache(maxsize=1024)
def grant_key_of(sale_id: str) -> str:
    """Return the key under which a payment's credits are granted: nothing else can grant them."""
    return made_key("sale", sale_id)


def reversal_key_of(sale_id: str, version: int) -> str:
    """Return the key of what was taken or given back when a sale stood at a version."""
    return f"{grant_key_of(sale_id)}{REVERSAL}{version}"


def dispute_hold(sale_id: str) -> str:
    """Return the name of what a dispute withholds; run ids hold no control characters."""
    return f"dispute\x1f{sale_id}"


def share_taken_back(nanocredits: int, *, reversed_units: int, captured_units: int) -> int:
    """Return which part of the credits goes with the part of the money that was paid back, rounded up."""
    return -(-nanocredits * reversed_units // captured_units) if captured_units else 0


def settle_sale(draft: Draft, command: SettleSale, now_us: int) -> SaleReceipt:
    """Bring a payment and its credits to what the processor says, unless they have moved since it was asked.

    Raises NotFound, InvalidAmount, InvalidTime, Conflict for a step that no order takes.
    """
    account_id = known_user(draft, command.user).account_id
    order = find_order(draft, account_id, command.order_id)
    known = draft.row(Sale, account_id, command.sale_id)
    if (known.version if known else 0, order.version) != (command.seen_version, command.seen_order_version):
        return receipt_of(known or _blank(command, account_id, now_us), is_stale=True)
    if not 0 <= command.reversed <= command.captured:
        raise InvalidAmount(f"{command.reversed} of {command.captured} paid back cannot be", param="reversed")
    expire_due(draft, account_id, now_us)
    before = known or _blank(command, account_id, now_us)
    after = _withheld(draft, _reversed(draft, _granted(draft, _told(before, command), command, now_us), now_us), now_us)
    after = replace(after, moved_at_us=before.moved_at_us)
    is_same = known is not None and after == known
    if not is_same:
        after = replace(after, version=before.version + 1, moved_at_us=now_us)
        draft.put(after)
    has_moved = _move_order(draft, order, command, now_us)
    if command.claims is not None:
        resolve(draft, command.claims, by=command.claimed_by or "", resolution="granted", now_us=now_us)
    mark_done(draft, command.message_id, now_us)
    receipt = receipt_of(after)
    return again(receipt) if is_same and not has_moved else receipt


def _blank(command: SettleSale, account_id: int, now_us: int) -> Sale:
    return Sale(
        account_id=account_id,
        sale_id=command.sale_id,
        order_id=command.order_id,
        source=command.source,
        mode=command.mode,
        currency=command.currency,
        invoice=command.invoice,
        payment=None,
        captured=0,
        reversed=0,
        dispute=None,
        nanocredits=0,
        taken_back_nanocredits=0,
        withheld_nanocredits=0,
        grant_id=None,
        version=0,
        created_at_us=now_us,
        moved_at_us=now_us,
    )


def _told(sale: Sale, command: SettleSale) -> Sale:
    """Return a sale with what the processor says of the money; what it does not say stays as it was."""
    sale = replace(sale, payment=command.payment or sale.payment)
    if not command.captured:
        return sale
    return replace(sale, captured=command.captured, reversed=command.reversed, dispute=command.dispute)


def _granted(draft: Draft, sale: Sale, command: SettleSale, now_us: int) -> Sale:
    """Grant what a payment bought, the first time that it is seen to be made."""
    if sale.grant_id is not None or not command.nanocredits:
        return sale
    key, account_id = grant_key_of(sale.sale_id), sale.account_id
    assert draft.key(account_id, key) is None, f"sale {sale.sale_id} has a grant and does not say so"
    grant_id = grants.add_lot(
        draft,
        account_id,
        command.nanocredits,
        kind="grant",
        source=command.source,
        house=SALES,
        now_us=now_us,
        paid_picousd=command.paid_picousd,
        reference=key,
        expires_at_us=command.expires_at_us,
    )
    repaid = grants.repay(draft, account_id, now_us)
    receipt = GrantReceipt(
        account_id=account_id,
        key=key,
        grant_id=grant_id,
        source=command.source,
        nanocredits=command.nanocredits,
        paid_picousd=command.paid_picousd,
        repaid_nanocredits=repaid,
        available_nanocredits=draft.account(account_id).available_nanocredits,
        expires_at_us=command.expires_at_us,
    )
    remember(draft, account_id, key, receipt, kind="grant", fingerprint=digest_of(key.encode()), now_us=now_us)
    # A plan's credit that was paid for after its month was over is over as well.
    grants.expire_lots(draft, account_id, now_us)
    return replace(sale, nanocredits=command.nanocredits, grant_id=grant_id)


def _reversed(draft: Draft, sale: Sale, now_us: int) -> Sale:
    """Take back, or give back, the difference between what was taken and what the share of the money asks for."""
    target = share_taken_back(sale.nanocredits, reversed_units=sale.reversed, captured_units=sale.captured)
    difference = target - sale.taken_back_nanocredits
    if not difference or sale.grant_id is None:
        return sale
    sale = _let_go(draft, sale)
    lot = draft.grant(sale.account_id, _grant_id(sale))
    key, grant_key = reversal_key_of(sale.sale_id, sale.version), grant_key_of(sale.sale_id)
    if difference > 0:
        taken = grants.take_back(draft, lot, difference, key=key, grant_key=grant_key, now_us=now_us)
        _remember(draft, sale, key, taken, kind="refund", now_us=now_us)
    else:
        given = grants.give_back(draft, lot, -difference, key=key, grant_key=grant_key, now_us=now_us)
        _remember(draft, sale, key, given, kind="reinstate", now_us=now_us)
    return replace(sale, taken_back_nanocredits=target)


def _remember(
    draft: Draft, sale: Sale, key: str, receipt: RefundReceipt | ReinstateReceipt, *, kind: str, now_us: int
) -> None:
    remember(draft, sale.account_id, key, receipt, kind=kind, fingerprint=digest_of(key.encode()), now_us=now_us)


def _withheld(draft: Draft, sale: Sale, now_us: int) -> Sale:
    """Withhold what is left of a lot while its payment is disputed, and let go of it when that has ended."""
    is_disputed = sale.dispute == DISPUTED
    if is_disputed and sale.grant_id is not None and not sale.withheld_nanocredits:
        lot = draft.grant(sale.account_id, sale.grant_id)
        return replace(sale, withheld_nanocredits=holds.withhold(draft, lot, dispute_hold(sale.sale_id)))
    if not is_disputed and sale.withheld_nanocredits:
        sale = _let_go(draft, sale)
        grants.repay(draft, sale.account_id, now_us)
        grants.expire_lots(draft, sale.account_id, now_us)
    return sale


def _let_go(draft: Draft, sale: Sale) -> Sale:
    if sale.withheld_nanocredits:
        holds.void(draft, sale.account_id, dispute_hold(sale.sale_id))
    return replace(sale, withheld_nanocredits=0)


def _grant_id(sale: Sale) -> int:
    assert sale.grant_id is not None, sale
    return sale.grant_id


def _move_order(draft: Draft, order: Order, command: SettleSale, now_us: int) -> bool:
    state = order.state if command.order_state is None else command.order_state
    session = order.session or command.session
    if (state, session) == (order.state, order.session):
        return False
    put_order(draft, order, replace(order, state=state, session=session, reason=None), now_us)
    return True


def receipt_of(sale: Sale, *, is_stale: bool = False) -> SaleReceipt:
    """Return the answer about a sale."""
    return SaleReceipt(
        account_id=sale.account_id,
        order_id=sale.order_id,
        sale_id=sale.sale_id,
        nanocredits=sale.nanocredits,
        taken_back_nanocredits=sale.taken_back_nanocredits,
        withheld_nanocredits=sale.withheld_nanocredits,
        version=sale.version,
        grant_id=sale.grant_id,
        is_stale=is_stale,
        is_replay=is_stale,
    )
