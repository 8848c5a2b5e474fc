"""What buying credits needs of a payment processor, in words of our own. Knows no SDK.

Amounts are whole numbers in the currency's smallest unit. Every object tells its mode and the stamp that says which
installation made it; both are hints until they are compared with the order.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from callfare.errors import PaymentsUnavailable

# What an object of ours is stamped with.
INSTANCE = "callfare_instance"
ORDER = "callfare_order"
ACCOUNT = "callfare_account"
# Why a restricted key was refused.
UNPERMITTED = "permission"


class ProcessorAway(PaymentsUnavailable):
    """The processor did not answer, or not in time: it is not known whether it did what was asked."""


class ProcessorRefused(PaymentsUnavailable):
    """The processor refused what was asked. `reason` is its own code for that."""

    def __init__(self, message: str, *, reason: str = "", param: str | None = None) -> None:
        super().__init__(message, param=param)
        self.reason = reason


class GoneCustomer(ProcessorRefused):
    """The processor no longer knows a customer."""


class ObjectGone(ProcessorRefused):
    """The processor does not know what was asked about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamped:
    """What every object of the processor tells. stamp: the metadata that it was made with."""

    id: str
    mode: str
    stamp: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLine:
    """One line of a checkout."""

    quantity: int
    subtotal: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Session(Stamped):
    """A checkout. status: open, complete or expired. payment_status: paid, unpaid or no_payment_required."""

    status: str
    payment_status: str
    kind: str
    reference: str | None
    customer: str | None
    currency: str | None
    subtotal: int | None
    lines: tuple[SessionLine, ...]
    payment: str | None
    subscription: str | None
    invoice: str | None
    url: str | None
    expires_at_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment(Stamped):
    """A payment as it stands. reversed: refunds that succeeded and disputes whose money was withdrawn, in total.

    dispute: open, won or lost; None without one. has_failed: nothing more comes of it.
    """

    captured: int
    reversed: int
    currency: str
    dispute: str | None
    has_failed: bool
    customer: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoiceLine:
    """A line of an invoice. is_proration: it changes a month that has begun, and is no month of its own."""

    id: str
    amount: int
    quantity: int
    is_proration: bool
    is_plan: bool
    ends_at_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Invoice(Stamped):
    """An invoice. reason: why it was made. payment: what it was paid with, None as long as it was not."""

    is_paid: bool
    reason: str
    customer: str | None
    currency: str
    subscription: str | None
    payment: str | None
    paid_at_s: int | None
    lines: tuple[InvoiceLine, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscribed(Stamped):
    """A subscription as it stands."""

    customer: str
    status: str
    is_ending: bool
    starts_at_s: int | None
    ends_at_s: int | None
    ended_at_s: int | None
    created_at_s: int
    latest_invoice: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """An event as the processor lists it; `body` is how it would have been delivered."""

    id: str
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where the processor sends events. secret: told only when it is made."""

    id: str
    url: str
    api_version: str | None
    events: tuple[str, ...]
    is_enabled: bool
    secret: str | None = field(default=None, repr=False)


class Answering(Protocol):
    """Whoever answers how things stand. Every method raises ProcessorAway and ProcessorRefused."""

    async def session(self, session: str) -> Session:
        """Return a checkout with its lines. Raises ObjectGone."""
        ...

    async def payment(self, payment: str) -> Payment:
        """Return a payment with what became of its money. Raises ObjectGone."""
        ...

    async def invoice(self, invoice: str) -> Invoice:
        """Return an invoice with its lines. Raises ObjectGone."""
        ...

    async def invoice_paid_by(self, payment: str) -> str | None:
        """Return the invoice that a payment was for, None when it was for none."""
        ...

    async def plan(self, subscription: str) -> Subscribed:
        """Return a subscription as it stands. Raises ObjectGone."""
        ...


class PaymentGateway(Answering, Protocol):
    """A payment processor. Every method raises ProcessorAway and ProcessorRefused."""

    api_version: str

    async def account(self) -> str:
        """Return the id of the account that the key belongs to."""
        ...

    async def make_customer(self, stamp: Mapping[str, str], *, key: str) -> str:
        """Make a customer, and return their id; a repeat under the same key returns the same one."""
        ...

    async def note_email(self, customer: str, email: str) -> None:
        """Tell the processor a customer's address. Raises GoneCustomer."""
        ...

    async def make_session(self, request: Mapping[str, object], *, key: str) -> Session:
        """Begin a checkout by its exact parameters, once under a key. Raises GoneCustomer."""
        ...

    async def portal(self, customer: str, return_url: str) -> str:
        """Return the address under which a customer sees their payments. Raises GoneCustomer."""
        ...

    async def invoices_of(self, subscription: str, *, limit: int) -> Sequence[str]:
        """Return the latest invoices of a plan."""
        ...

    def happenings(self, types: Sequence[str], *, since_s: int) -> AsyncIterator[Happening]:
        """Yield what has happened since a time, of some types, at most 20 of them."""
        ...

    def payments_since(self, since_s: int) -> AsyncIterator[Stamped]:
        """Yield every payment that was taken since a time."""
        ...

    async def endpoints(self) -> Sequence[Endpoint]:
        """Return where events are sent."""
        ...

    async def make_endpoint(self, url: str, events: Sequence[str]) -> Endpoint:
        """Have events sent to an address, in the pinned version; its secret is told this once."""
        ...

    async def change_endpoint(self, endpoint: str, events: Sequence[str]) -> Endpoint:
        """Have an endpoint take these events."""
        ...

    async def close(self) -> None:
        """End all connections."""
        ...
