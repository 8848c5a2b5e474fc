"""The test cards and accounts that Stripe documents, and what happens to a payment with each.

Source: Stripe's page "Test card numbers" (Testing), read for what each number does, and the ids of test payment methods
in the scripts of Stripe's command-line tool. A number that is not listed is refused, as a real one is in test mode.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """A card or a bank account as a payment sees it.

    decline: (code, decline code, message) when charges fail; attaches: whether it can be saved nevertheless.
    authenticates: when the payer must confirm: "never", "unless_set_up" or "always"; `decline` then applies after it.
    dispute: what comes of a charge: "", "dispute", "inquiry" or "warning" (early fraud); its reason stands beside it.
    refund: how refunds go: "succeeds", "pending" first, or "fails" after it seemed to succeed.
    settles: for debits, whether they succeed in the end.
    """

    number: str
    brand: str = "visa"
    kind: str = "card"
    decline: tuple[str, str, str] | None = None
    attaches: bool = True
    authenticates: str = "never"
    dispute: str = ""
    dispute_reason: str = "fraudulent"
    refund: str = "succeeds"
    settles: bool = True

    @property
    def last4(self) -> str:
        """The digits that are shown."""
        return self.number[-4:]

    @property
    def is_delayed(self) -> bool:
        """Whether its payments take days to be known."""
        return self.kind != "card"


def _decline(number: str, code: str, decline_code: str, message: str, *, attaches: bool = False) -> Instrument:
    return Instrument(number=number, decline=(code, decline_code, message), attaches=attaches)


_DECLINED = "Your card was declined."
_FUNDS = "Your card has insufficient funds."
_SEPA, _ACH = "sepa_debit", "us_bank_account"

INSTRUMENTS: Final = {
    each.number: each
    for each in (
        Instrument(number="4242424242424242"),
        Instrument(number="4000056655665556"),
        Instrument(number="5555555555554444", brand="mastercard"),
        Instrument(number="378282246310005", brand="amex"),
        _decline("4000000000000002", "card_declined", "generic_decline", _DECLINED),
        _decline("4000000000009995", "card_declined", "insufficient_funds", _FUNDS),
        _decline("4000000000009987", "card_declined", "lost_card", _DECLINED),
        _decline("4000000000009979", "card_declined", "stolen_card", _DECLINED),
        _decline("4100000000000019", "card_declined", "fraudulent", _DECLINED),
        _decline("4000000000000069", "expired_card", "expired_card", "Your card has expired."),
        _decline("4000000000000127", "incorrect_cvc", "incorrect_cvc", "Your card's security code is incorrect."),
        _decline(
            "4000000000000119",
            "processing_error",
            "processing_error",
            "An error occurred while processing your card. Try again in a little bit.",
        ),
        _decline("4000000000000341", "card_declined", "generic_decline", _DECLINED, attaches=True),
        Instrument(number="4000000000003220", authenticates="always"),
        Instrument(number="4000002760003184", authenticates="always"),
        Instrument(number="4000002500003155", authenticates="unless_set_up"),
        Instrument(
            number="4000008400001629",
            authenticates="always",
            decline=("card_declined", "generic_decline", _DECLINED),
            attaches=True,
        ),
        Instrument(number="4000000000000259", dispute="dispute"),
        Instrument(number="4000000000002685", dispute="dispute", dispute_reason="product_not_received"),
        Instrument(number="4000000000001976", dispute="inquiry"),
        Instrument(number="4000000000005423", dispute="warning"),
        Instrument(number="4000000000007726", refund="pending"),
        Instrument(number="4000000000005126", refund="fails"),
        Instrument(number="AT611904300234573201", kind=_SEPA, brand=_SEPA),
        Instrument(number="AT321904300235473204", kind=_SEPA, brand=_SEPA),
        Instrument(number="DE89370400440532013000", kind=_SEPA, brand=_SEPA),
        Instrument(number="IT40S0542811101000000123456", kind=_SEPA, brand=_SEPA),
        Instrument(number="AT861904300235473202", kind=_SEPA, brand=_SEPA, settles=False),
        Instrument(number="DE62370400440532013001", kind=_SEPA, brand=_SEPA, settles=False),
        Instrument(number="IT60X0542811101000000123456", kind=_SEPA, brand=_SEPA, settles=False),
        Instrument(number="000123456789", kind=_ACH, brand=_ACH),
        Instrument(number="000111111116", kind=_ACH, brand=_ACH, settles=False),
        Instrument(number="000222222227", kind=_ACH, brand=_ACH, settles=False),
    )
}

# What can stand for a number in a request: test payment methods (`pm_card_…`) and tokens (`tok_…`).
NAMED: Final = {
    "visa": "4242424242424242",
    "mastercard": "5555555555554444",
    "amex": "378282246310005",
    "chargeDeclined": "4000000000000002",
    "visa_chargeDeclined": "4000000000000002",
    "chargeDeclinedInsufficientFunds": "4000000000009995",
    "visa_chargeDeclinedInsufficientFunds": "4000000000009995",
    "chargeDeclinedLostCard": "4000000000009987",
    "chargeDeclinedStolenCard": "4000000000009979",
    "chargeDeclinedExpiredCard": "4000000000000069",
    "chargeDeclinedIncorrectCvc": "4000000000000127",
    "chargeDeclinedProcessingError": "4000000000000119",
    "chargeCustomerFail": "4000000000000341",
    "threeDSecure2Required": "4000000000003220",
    "authenticationRequired": "4000002760003184",
    "authenticationRequiredOnSetup": "4000002500003155",
    "authenticationRequiredChargeDeclinedInsufficientFunds": "4000008400001629",
    "createDispute": "4000000000000259",
    "createDisputeProductNotReceived": "4000000000002685",
    "createDisputeInquiry": "4000000000001976",
    "createIssuerFraudRecord": "4000000000005423",
    "pendingRefund": "4000000000007726",
    "refundFail": "4000000000005126",
}


def instrument(number: str) -> Instrument | None:
    """Return what a number stands for, None when it is no test number."""
    return INSTRUMENTS.get("".join(number.split()))


def named(id: str) -> Instrument | None:
    """Return what a test payment method or a token stands for, None when it is neither."""
    for prefix in ("pm_card_", "tok_"):
        if id.startswith(prefix) and id.removeprefix(prefix) in NAMED:
            return INSTRUMENTS[NAMED[id.removeprefix(prefix)]]
    return None
