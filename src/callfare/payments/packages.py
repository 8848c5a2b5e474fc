"""Credit packages as data. Selling them is for whoever talks to a payment processor."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

from callfare.answers import Package
from callfare.money import CREDITS_PER_USD, PICOUSD_PER_USD, Credits, Usd, picousd_of

# seed/billing.md, Credit Packages; checked 2026-11-22.
_SEED = (
    ("credits_500", "Starter", 500, "5.00"),
    ("credits_2000", "Creator", 2000, "18.00"),
    ("credits_5000", "Pro", 5000, "40.00"),
    ("credits_15000", "Studio", 15000, "100.00"),
)


def seed_packages() -> tuple[Package, ...]:
    """Return the four packages of the specification."""
    return tuple(_package(package_id, name, amount, price) for package_id, name, amount, price in _SEED)


def _package(package_id: str, name: str, credits: int, price: str) -> Package:
    usd = Usd(price)
    return Package(
        id=package_id,
        name=name,
        credits=Credits(credits),
        price=usd,
        credits_per_usd=int(Fraction(credits) * PICOUSD_PER_USD / usd.picousd),
    )


def cost_of(package: Package, markup: Fraction) -> Usd:
    """Return the list cost of the calls that a package's credits pay for at a markup."""
    return Usd.of_units(picousd_of(Fraction(package.credits.decimal) / CREDITS_PER_USD / markup))


def below_cost(packages: Iterable[Package], markup: Fraction) -> tuple[Package, ...]:
    """Return the packages that are sold for less than what their credits pay for costs at a markup."""
    return tuple(package for package in packages if package.price < cost_of(package, markup))
