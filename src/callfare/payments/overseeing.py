"""The operator's side of payments: setting Stripe up, looking whether all fits, and taking things out of quarantine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import msgspec

from callfare.errors import InvalidInput, Misconfigured, NotFound, PaymentsUnavailable
from callfare.ids import order_owner
from callfare.ledger.receipts import QuarantineReceipt, SaleReceipt
from callfare.ledger.sale_commands import ClaimQuarantined, SettleSale
from callfare.ledger.sale_rows import Quarantined, Sale
from callfare.payments.desk import Desk, by_stripe
from callfare.payments.events import WANTED
from callfare.payments.gateway import Endpoint
from callfare.payments.packages import PICOUSD_PER_CENT
from callfare.store.protocol import QuarantineAfter, SaleNamed

WEBHOOK = "/api/billing/webhook"
_PAGE = 200
DISMISSED = "dismissed"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. is_right: nothing has to be done about it."""

    name: str
    is_right: bool
    message: str


def webhook_of(url: str) -> str:
    """Return where events are to be sent for a server's public address.

    Raises InvalidInput.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.netloc or parts.path.rstrip("/"):
        raise InvalidInput("name the server's public address, such as https://billing.example.com", param="url")
    return f"{url.rstrip('/')}{WEBHOOK}"


async def set_up(desk: Desk, url: str) -> Endpoint:
    """Have Stripe send its events to a server; one that is there already takes the events that it lacks.

    Raises InvalidInput, Misconfigured for one that sends another version, PaymentsUnavailable.
    """
    await desk.open()
    wanted = webhook_of(url)
    for endpoint in await desk.gateway.endpoints():
        if endpoint.url != wanted:
            continue
        if endpoint.api_version != desk.gateway.api_version:
            raise Misconfigured(
                f"Stripe sends {wanted} version {endpoint.api_version}, which cannot be changed; delete that endpoint "
                "in Stripe's dashboard, then set it up again"
            )
        return await desk.gateway.change_endpoint(endpoint.id, WANTED)
    return await desk.gateway.make_endpoint(wanted, WANTED)


async def examine(desk: Desk, url: str | None) -> list[Check]:
    """Return everything about the set-up that was looked at, what is wrong with its next step."""
    checks = [Check("secret", *_secret(desk)), *await _keys(desk, url)]
    waiting = [item for item in await quarantined(desk) if item.claimed_at_us is None]
    said = f"{len(waiting)} payments wait in quarantine; `callfare stripe quarantine` lists them"
    checks.append(Check("quarantine", not waiting, said if waiting else "nothing waits in quarantine"))
    return checks


async def _keys(desk: Desk, url: str | None) -> list[Check]:
    """Return whether the key is one for this ledger, and what Stripe sends. A key of the other mode is not tried."""
    try:
        await desk.agree_on_mode()
    except Misconfigured as fault:
        return [Check("mode", is_right=False, message=fault.message)]
    said = f"this ledger and the key are both of {desk.config.mode} mode"
    checks = [Check("mode", is_right=True, message=said)]
    try:
        await desk.confirm()
        checks.append(Check("key", is_right=True, message="Stripe takes the key, which is of this ledger's account"))
        checks.append(_endpoint(desk, url, await desk.gateway.endpoints()))
    except (Misconfigured, PaymentsUnavailable) as fault:
        checks.append(Check("key", is_right=False, message=fault.message))
    return checks


def _secret(desk: Desk) -> tuple[bool, str]:
    if desk.config.webhook_secrets:
        return True, f"{len(desk.config.webhook_secrets)} webhook secrets are set"
    return False, "STRIPE_WEBHOOK_SECRET is not set, so the webhook is off; `callfare stripe setup` tells one"


def _endpoint(desk: Desk, url: str | None, endpoints: Sequence[Endpoint]) -> Check:
    wanted = None if url is None else webhook_of(url)
    ours = [one for one in endpoints if (one.url == wanted if wanted else one.url.endswith(WEBHOOK))]
    if not ours:
        return Check(
            "endpoint", is_right=False, message="Stripe sends no events here; `callfare stripe setup --url ADDRESS`"
        )
    found = ours[0]
    missing = [] if "*" in found.events else [name for name in WANTED if name not in found.events]
    if not found.is_enabled:
        return Check(
            "endpoint", is_right=False, message=f"{found.url} is disabled; `callfare stripe setup --url ADDRESS`"
        )
    if found.api_version != desk.gateway.api_version:
        message = f"{found.url} is sent version {found.api_version}, and {desk.gateway.api_version} is understood"
        return Check("endpoint", is_right=False, message=message)
    if missing:
        return Check(
            "endpoint", is_right=False, message=f"{found.url} is not sent {', '.join(missing)}; set it up again"
        )
    return Check(
        "endpoint", is_right=True, message=f"{found.url} is sent what is needed, in version {found.api_version}"
    )


async def quarantined(desk: Desk) -> list[Quarantined]:
    """Return what is or was in quarantine."""
    found: list[Quarantined] = []
    while True:
        after = found[-1].item_id if found else ""
        page = await desk.select(QuarantineAfter(after_item_id=after, limit=_PAGE), Quarantined)
        found += page
        if len(page) < _PAGE:
            return found


async def dismiss(desk: Desk, item_id: str, *, by: str) -> None:
    """Take something out of quarantine without granting anything, as when it was refunded at Stripe.

    Raises NotFound, Conflict when somebody has claimed it.
    """
    await desk.commit(ClaimQuarantined(item_id=item_id, by=by, resolution=DISMISSED), QuarantineReceipt)


async def grant_anyway(desk: Desk, item_id: str, *, by: str) -> int:
    """Grant what an order in quarantine was quoted, and return its nanocredits; once, whoever asks.

    Raises NotFound, Conflict when somebody has claimed it.
    """
    item = next((one for one in await quarantined(desk) if one.item_id == item_id), None)
    if item is None:
        raise NotFound(f"there is nothing under {item_id!r} in quarantine", param="item_id")
    facts = msgspec.json.decode(item.facts, type=dict[str, object])
    order_id = str(facts.get("order"))
    if order_owner(order_id) is None:
        raise NotFound(f"{item_id} is for no order, so there is nothing to grant", param="item_id")
    bought = await desk.must_find(order_id)
    order = bought.order
    sale_id = order_id if item_id.startswith("order:") else item_id.removeprefix("line:")
    sale = await desk.one(SaleNamed(account_id=order.account_id, sale_id=sale_id), Sale)
    command = SettleSale(
        audit=by_stripe("claim"),
        user=bought.user,
        order_id=order_id,
        sale_id=sale_id,
        seen_version=sale.version if sale else 0,
        seen_order_version=order.version,
        source="plan" if order.kind == "plan" else "purchase",
        mode=order.mode,
        currency=order.currency,
        nanocredits=order.nanocredits,
        paid_picousd=order.subtotal * PICOUSD_PER_CENT,
        expires_at_us=None,
        invoice=None,
        payment=None,
        captured=0,
        reversed=0,
        dispute=None,
        order_state="paid" if order.kind == "package" else None,
        claims=item_id,
        claimed_by=by,
    )
    receipt = await desk.commit(command, SaleReceipt)
    return 0 if receipt.is_stale else receipt.nanocredits
