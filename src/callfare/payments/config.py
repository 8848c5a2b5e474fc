"""How payments are set up: keys, secrets, addresses. Read from the environment; shows no secret, and keeps no state."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from callfare.errors import Misconfigured

KEY_VARIABLE = "STRIPE_SECRET_KEY"
SECRET_VARIABLE = "STRIPE_WEBHOOK_SECRET"  # noqa: S105 - the name of a variable
API_VARIABLE = "CALLFARE_STRIPE_API_URL"
SUCCESS_VARIABLE = "CALLFARE_CHECKOUT_SUCCESS_URL"
CANCEL_VARIABLE = "CALLFARE_CHECKOUT_CANCEL_URL"
RETURN_VARIABLE = "CALLFARE_PORTAL_RETURN_URL"
METHODS_VARIABLE = "CALLFARE_STRIPE_METHODS"
TAX_VARIABLE = "CALLFARE_STRIPE_TAX"
RECEIVED = "/api/billing/checkout/done"
# Stripe puts the checkout's id in its place.
SESSION_PLACE = "{CHECKOUT_SESSION_ID}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentConfig:
    """One installation's payments. webhook_secrets: several while one is rolled; none turns the webhook off.

    api_url: where Stripe is, None for Stripe itself. has_tax: Stripe works out taxes.
    methods: how payers may pay, such as card; none leaves that to Stripe's dashboard.
    """

    secret_key: str = field(repr=False)
    mode: str
    webhook_secrets: tuple[str, ...] = field(default=(), repr=False)
    success_url: str
    cancel_url: str
    return_url: str
    api_url: str | None = None
    has_tax: bool = False
    methods: tuple[str, ...] = ()


def read_config(public_url: str, environ: Mapping[str, str] | None = None) -> PaymentConfig | None:
    """Return how payments are set up, None where there is no key.

    public_url: the address of this server, for the pages that a payer comes back to.

    Raises Misconfigured, and never quotes a secret.
    """
    environ = os.environ if environ is None else environ
    key = environ.get(KEY_VARIABLE, "").strip()
    if not key:
        return None
    mode = mode_of(key)
    if mode is None:
        raise Misconfigured(f"{KEY_VARIABLE} is no secret key of Stripe's: it begins with sk_test_ or sk_live_")
    here = public_url.rstrip("/")
    return PaymentConfig(
        secret_key=key,
        mode=mode,
        webhook_secrets=_secrets(environ.get(SECRET_VARIABLE, "")),
        success_url=_address(environ, SUCCESS_VARIABLE, f"{here}{RECEIVED}?sessionId={SESSION_PLACE}"),
        cancel_url=_address(environ, CANCEL_VARIABLE, f"{here}{RECEIVED}?cancelled=true"),
        return_url=_address(environ, RETURN_VARIABLE, f"{here}{RECEIVED}"),
        api_url=_api(environ.get(API_VARIABLE, "").strip(), mode),
        methods=_methods(environ.get(METHODS_VARIABLE, "")),
        has_tax=environ.get(TAX_VARIABLE, "").strip().lower() in {"1", "on", "true", "yes"},
    )


def stand_in_config(api_url: str, public_url: str) -> PaymentConfig:
    """Return payments that go through a stand-in for Stripe, under a key that only it takes."""
    methods = "card,us_bank_account"
    environ = {KEY_VARIABLE: "sk_test_of_the_stand_in", API_VARIABLE: api_url, METHODS_VARIABLE: methods}
    config = read_config(public_url, environ)
    assert config is not None, environ
    return config


def mode_of(key: str) -> str | None:
    """Return the mode of a secret key, None for what is none."""
    for prefix in ("sk", "rk"):
        for mode in ("test", "live"):
            if key.startswith(f"{prefix}_{mode}_"):
                return mode
    return None


def _secrets(text: str) -> tuple[str, ...]:
    return tuple(part for part in (piece.strip() for piece in text.split(",")) if part)


def _methods(text: str) -> tuple[str, ...]:
    methods = _secrets(text)
    if not all(method.replace("_", "").isalnum() and method.isascii() for method in methods):
        raise Misconfigured(f"{METHODS_VARIABLE} names payment methods, such as card,us_bank_account")
    return methods


def _address(environ: Mapping[str, str], variable: str, default: str) -> str:
    address = environ.get(variable, "").strip() or default
    parts = urlsplit(address)
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise Misconfigured(f"{variable} is no address that begins with https://")
    return address


def _api(address: str, mode: str) -> str | None:
    """Return where Stripe is. A live key goes to Stripe alone."""
    if not address:
        return None
    parts = urlsplit(address)
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise Misconfigured(f"{API_VARIABLE} is no address that begins with https://")
    if mode == "live":
        raise Misconfigured(f"{API_VARIABLE} is for tests: a live key is shown to Stripe alone; unset one of them")
    return address.rstrip("/")
