"""Stripe, behind `gateway`. The only file that knows the SDK: which fields have moved, and what each error means.

It hands out our own values, never the SDK's, and never a message that quotes a key.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeVar, cast

import stripe
from stripe import HTTPXClient, StripeClient, WebhookSignature

from callfare.payments.gateway import (
    UNPERMITTED,
    Endpoint,
    GoneCustomer,
    Happening,
    Invoice,
    InvoiceLine,
    ObjectGone,
    Payment,
    ProcessorAway,
    ProcessorRefused,
    Session,
    SessionLine,
    Stamped,
    Subscribed,
)

API_VERSION: Final = "2026-10-28.endive"
_RETRIES: Final = 2
_TIMEOUT_S: Final = 20
_PAGE: Final = 100
_OPEN_DISPUTES: Final = frozenset({"needs_response", "under_review", "warning_needs_response", "warning_under_review"})
_OVER: Final = frozenset({"requires_payment_method", "canceled"})

F = TypeVar("F", bound=Callable[..., Awaitable[Any]])


def is_signed(body: bytes, header: str | None, secrets: Sequence[str]) -> bool:
    """Tell whether one of the secrets has signed exactly these bytes. How old the stamp is, is not looked at."""
    for secret in secrets:
        try:
            WebhookSignature.verify_header(body, header, secret, None)
        except Exception:  # noqa: BLE001, S112 - whatever it raises on hostile bytes, they are not signed
            continue
        return True
    return False


def _ours(function: F) -> F:
    """Turn the SDK's errors into ours."""

    @functools.wraps(function)
    async def asked(*args: Any, **named: Any) -> Any:  # noqa: ANN401 - whatever the method returns
        try:
            return await function(*args, **named)
        except stripe.StripeError as error:
            raise _fault_of(error) from None

    return cast("F", asked)


def _fault_of(error: stripe.StripeError) -> ProcessorAway | ProcessorRefused:
    if isinstance(error, stripe.APIConnectionError | stripe.RateLimitError) or (error.http_status or 0) >= 500:  # noqa: PLR2004 - what HTTP calls a server's fault
        return ProcessorAway("Stripe does not answer now; repeat with the same key")
    if isinstance(error, stripe.PermissionError):
        return ProcessorRefused("STRIPE_SECRET_KEY is a restricted key that may not do this", reason=UNPERMITTED)
    if isinstance(error, stripe.AuthenticationError):
        return ProcessorRefused("Stripe does not take the key STRIPE_SECRET_KEY", reason="authentication")
    param, reason = str(getattr(error, "param", None) or ""), error.code or ""
    if isinstance(error, stripe.IdempotencyError) or error.http_status == 409:  # noqa: PLR2004 - in use elsewhere
        return ProcessorAway("the same request is under way at Stripe; repeat with the same key")
    if reason == "resource_missing":
        kind = GoneCustomer if param == "customer" else ObjectGone
        return kind(f"Stripe does not know {param or 'that'}", reason=reason, param=param)
    return ProcessorRefused(f"Stripe refused it ({reason or type(error).__name__})", reason=reason, param=param)


class StripeGateway:
    """Stripe's API under one secret key. api_url: where it is, None for Stripe itself."""

    api_version = API_VERSION

    def __init__(self, secret_key: str, *, api_url: str | None = None, timeout_s: float = _TIMEOUT_S) -> None:
        bases: Any = {"api": api_url} if api_url else None
        self._http = HTTPXClient(timeout=timeout_s)
        # Without a number of its own the client never tries again.
        self._client = StripeClient(
            secret_key,
            base_addresses=bases,
            max_network_retries=_RETRIES,
            stripe_version=API_VERSION,
            http_client=self._http,
        )
        self._v1 = self._client.v1

    def __repr__(self) -> str:
        return "StripeGateway(…)"

    @_ours
    async def account(self) -> str:
        """Return the id of the account that the key belongs to."""
        return (await self._v1.accounts.retrieve_current_async()).id

    @_ours
    async def make_customer(self, stamp: Mapping[str, str], *, key: str) -> str:
        """Make a customer, and return their id; a repeat under the same key returns the same one."""
        params: Any = {"metadata": dict(stamp)}
        return (await self._v1.customers.create_async(params, {"idempotency_key": key})).id

    async def note_email(self, customer: str, email: str) -> None:
        """Tell Stripe a customer's address."""
        try:
            await self._v1.customers.update_async(customer, {"email": email})
        except stripe.StripeError as error:
            fault = _fault_of(error)
            if isinstance(fault, ObjectGone):
                raise GoneCustomer("Stripe does not know the customer", reason=fault.reason) from None
            raise fault from None

    @_ours
    async def make_session(self, request: Mapping[str, object], *, key: str) -> Session:
        """Begin a checkout by its exact parameters; a repeat under the same key returns the same."""
        params: Any = {**request, "expand": ["line_items"]}
        return _session(await self._v1.checkout.sessions.create_async(params, {"idempotency_key": key}))

    @_ours
    async def session(self, session: str) -> Session:
        """Return a checkout with its lines."""
        return _session(await self._v1.checkout.sessions.retrieve_async(session, {"expand": ["line_items"]}))

    @_ours
    async def portal(self, customer: str, return_url: str) -> str:
        """Return the address under which a customer sees their payments."""
        params: Any = {"customer": customer, "return_url": return_url}
        return (await self._v1.billing_portal.sessions.create_async(params)).url

    @_ours
    async def payment(self, payment: str) -> Payment:
        """Return a payment with what became of its money."""
        found = await self._v1.payment_intents.retrieve_async(payment, {"expand": ["latest_charge"]})
        charge: Any = found.latest_charge
        captured = charge.amount_captured if charge is not None and charge.paid else 0
        back, dispute = 0, None
        if captured:
            refunds = await self._v1.refunds.list_async({"payment_intent": payment, "limit": _PAGE})
            back = sum([one.amount async for one in refunds.auto_paging_iter() if one.status == "succeeded"])
            disputes = await self._v1.disputes.list_async({"payment_intent": payment, "limit": _PAGE})
            disputed = [one async for one in disputes.auto_paging_iter()]
            back += sum(one.amount for one in disputed if _is_withdrawn(one))
            dispute = _standing([one.status for one in disputed])
        return Payment(
            id=found.id,
            mode=_mode(found),
            stamp=_stamp(found.metadata),
            captured=captured,
            reversed=min(back, captured),
            currency=found.currency,
            dispute=dispute,
            has_failed=found.status in _OVER,
            customer=_id(found.customer),
        )

    @_ours
    async def invoice(self, invoice: str) -> Invoice:
        """Return an invoice with its lines."""
        found = await self._v1.invoices.retrieve_async(invoice, {"expand": ["payments"]})
        lines = await self._v1.invoices.line_items.list_async(invoice, {"limit": _PAGE})
        details = found.parent.subscription_details if found.parent is not None else None
        return Invoice(
            id=found.id or invoice,
            mode=_mode(found),
            stamp=_stamp(details.metadata if details is not None else found.metadata),
            is_paid=found.status == "paid",
            reason=found.billing_reason or "",
            customer=_id(found.customer),
            currency=found.currency,
            subscription=_id(details.subscription) if details is not None else None,
            payment=_payment_of(found),
            paid_at_s=found.status_transitions.paid_at,
            lines=tuple([_line(one) async for one in lines.auto_paging_iter()]),
        )

    @_ours
    async def invoice_paid_by(self, payment: str) -> str | None:
        """Return the invoice that a payment was for, None when it was for none."""
        params: Any = {"payment": {"type": "payment_intent", "payment_intent": payment}, "limit": 1}
        found = (await self._v1.invoice_payments.list_async(params)).data
        return _id(found[0].invoice) if found else None

    @_ours
    async def invoices_of(self, subscription: str, *, limit: int) -> Sequence[str]:
        """Return the latest invoices of a plan."""
        found = await self._v1.invoices.list_async({"subscription": subscription, "limit": limit})
        return [one.id for one in found.data if one.id]

    @_ours
    async def plan(self, subscription: str) -> Subscribed:
        """Return a subscription as it stands."""
        found = await self._v1.subscriptions.retrieve_async(subscription)
        items = found.items.data
        return Subscribed(
            id=found.id,
            mode=_mode(found),
            stamp=_stamp(found.metadata),
            customer=_id(found.customer) or "",
            status=str(found.status),
            is_ending=bool(found.cancel_at_period_end or found.cancel_at),
            # Since 2025 a period stands on the items, not on the subscription.
            starts_at_s=min((one.current_period_start for one in items), default=None),
            ends_at_s=max((one.current_period_end for one in items), default=None),
            ended_at_s=found.ended_at,
            created_at_s=found.created,
            latest_invoice=_id(found.latest_invoice),
        )

    async def happenings(self, types: Sequence[str], *, since_s: int) -> AsyncIterator[Happening]:
        """Yield what has happened since a time, of some types."""
        params: Any = {"types": list(types), "created": {"gte": since_s}, "limit": _PAGE}
        try:
            async for one in (await self._v1.events.list_async(params)).auto_paging_iter():
                yield Happening(id=one.id, body=str(one).encode())
        except stripe.StripeError as error:
            raise _fault_of(error) from None

    async def payments_since(self, since_s: int) -> AsyncIterator[Stamped]:
        """Yield every payment that was taken since a time."""
        params: Any = {"created": {"gte": since_s}, "limit": _PAGE}
        try:
            async for one in (await self._v1.charges.list_async(params)).auto_paging_iter():
                payment = _id(one.payment_intent)
                if one.paid and one.amount_captured and payment is not None:
                    yield Stamped(id=payment, mode=_mode(one), stamp=_stamp(one.metadata))
        except stripe.StripeError as error:
            raise _fault_of(error) from None

    @_ours
    async def endpoints(self) -> Sequence[Endpoint]:
        """Return where events are sent."""
        found = await self._v1.webhook_endpoints.list_async({"limit": _PAGE})
        return [_endpoint(one) async for one in found.auto_paging_iter()]

    @_ours
    async def make_endpoint(self, url: str, events: Sequence[str]) -> Endpoint:
        """Have events sent to an address, in the pinned version; its secret is told this once."""
        params: Any = {"url": url, "enabled_events": list(events), "api_version": API_VERSION}
        return _endpoint(await self._v1.webhook_endpoints.create_async(params))

    @_ours
    async def change_endpoint(self, endpoint: str, events: Sequence[str]) -> Endpoint:
        """Have an endpoint take these events."""
        params: Any = {"enabled_events": list(events), "disabled": False}
        return _endpoint(await self._v1.webhook_endpoints.update_async(endpoint, params))

    async def close(self) -> None:
        """End all connections."""
        await self._http.close_async()  # type: ignore[no-untyped-call]  # the SDK has no type for it


def _id(told: Any) -> str | None:  # noqa: ANN401 - an id, or the object where it was expanded
    return told if told is None or isinstance(told, str) else str(told.id)


def _mode(told: Any) -> str:  # noqa: ANN401 - any object of the SDK
    return "live" if told.livemode else "test"


def _stamp(metadata: Any) -> dict[str, str]:  # noqa: ANN401 - an object of the SDK, or None
    return {} if metadata is None else dict(metadata.to_dict())


def _session(told: Any) -> Session:  # noqa: ANN401 - a session of the SDK
    items = told.line_items.data if told.line_items is not None else []
    return Session(
        id=told.id,
        mode=_mode(told),
        stamp=_stamp(told.metadata),
        status=told.status or "open",
        payment_status=str(told.payment_status),
        kind=str(told.mode),
        reference=told.client_reference_id,
        customer=_id(told.customer),
        currency=told.currency,
        subtotal=told.amount_subtotal,
        lines=tuple(SessionLine(quantity=one.quantity or 0, subtotal=one.amount_subtotal) for one in items),
        payment=_id(told.payment_intent),
        subscription=_id(told.subscription),
        invoice=_id(told.invoice),
        url=told.url,
        expires_at_s=told.expires_at,
    )


def _is_withdrawn(dispute: Any) -> bool:  # noqa: ANN401 - a dispute of the SDK
    """Tell whether a dispute has taken its money, and not given it back. Inquiries move none."""
    return bool(sum(one.amount for one in dispute.balance_transactions) < 0)


def _standing(statuses: Sequence[str]) -> str | None:
    if any(status in _OPEN_DISPUTES for status in statuses):
        return "open"
    if "lost" in statuses:
        return "lost"
    return "won" if statuses else None


def _payment_of(invoice: Any) -> str | None:  # noqa: ANN401 - an invoice of the SDK
    for one in invoice.payments.data if invoice.payments is not None else ():
        if one.status == "paid" and one.payment.type == "payment_intent":
            return _id(one.payment.payment_intent)
    return None


def _line(told: Any) -> InvoiceLine:  # noqa: ANN401 - a line of the SDK
    parent = told.parent
    details = parent.subscription_item_details if parent is not None else None
    return InvoiceLine(
        id=told.id,
        amount=told.amount,
        quantity=told.quantity or 0,
        is_proration=bool(details.proration) if details is not None else False,
        is_plan=details is not None,
        ends_at_s=told.period.end,
    )


def _endpoint(told: Any) -> Endpoint:  # noqa: ANN401 - an endpoint of the SDK
    secret = getattr(told, "secret", None)
    return Endpoint(
        id=told.id,
        url=told.url,
        api_version=told.api_version,
        events=tuple(told.enabled_events),
        is_enabled=told.status == "enabled",
        secret=secret,
    )
