"""What is for sale, as data: packages of credit, and plans with credit each month. Selling is for others.

Changing what is for sale never touches a balance: an order keeps what it was quoted.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from hashlib import blake2b
from pathlib import Path
from typing import Any

from callfare.answers import Package, Plan
from callfare.errors import CallfareError, Misconfigured
from callfare.money import CREDITS_PER_USD, PICOUSD_PER_USD, Credits, Usd, picousd_of
from callfare.settings import Terms

FILE_VARIABLE = "CALLFARE_PACKAGES_FILE"
CURRENCY = "usd"
PICOUSD_PER_CENT = PICOUSD_PER_USD // 100

# seed/billing.md, Credit Packages; checked 2026-11-22.
_SEED = (
    ("credits_500", "Starter", 500, "5.00"),
    ("credits_2000", "Creator", 2000, "18.00"),
    ("credits_5000", "Pro", 5000, "40.00"),
    ("credits_15000", "Studio", 15000, "100.00"),
)
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NAME_MAX = 100
_FIELDS = {"package": {"id", "name", "credits", "price"}, "plan": {"id", "name", "credits", "price", "rolls_over"}}


@dataclass(frozen=True, slots=True)
class ForSale:
    """Everything that can be bought."""

    packages: tuple[Package, ...]
    plans: tuple[Plan, ...] = ()

    @property
    def products(self) -> tuple[Package, ...]:
        """Packages, then plans."""
        return (*self.packages, *self.plans)

    def find(self, product_id: str) -> Package | None:
        """Return the package or the plan of an id, None when there is none."""
        return next((one for one in self.products if one.id == product_id), None)


def seed_packages() -> tuple[Package, ...]:
    """Return the four packages of the specification."""
    return tuple(_package(package_id, name, Credits(amount), Usd(price)) for package_id, name, amount, price in _SEED)


def for_sale(file: str | None = None) -> ForSale:
    """Return what is for sale: what a file says, else what CALLFARE_PACKAGES_FILE says, else the seed's packages.

    Raises Misconfigured.
    """
    path = os.environ.get(FILE_VARIABLE, "") if file is None else file
    return load_for_sale(Path(path)) if path else ForSale(seed_packages())


def offered(terms: Terms) -> ForSale:
    """Return what an open ledger sells, without asking a server that it may be behind."""
    settings = terms.assumed()
    if settings.packages or settings.plans:
        return ForSale(settings.packages, settings.plans)
    return ForSale(seed_packages())


def load_for_sale(path: Path) -> ForSale:
    """Return what a TOML file offers: [[package]] and [[plan]] with id, name, credits and price in dollars.

    Raises Misconfigured, naming the entry that cannot be sold.
    """
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise Misconfigured(f"{path} cannot be read as a file of packages: {error}") from None
    unknown = told.keys() - _FIELDS.keys()
    if unknown:
        raise Misconfigured(f"{path}: {min(unknown)!r} is neither [[package]] nor [[plan]]")
    packages = tuple(_read(path, "package", entry) for entry in _entries(path, told, "package"))
    plans = tuple(_read(path, "plan", entry) for entry in _entries(path, told, "plan"))
    ids = [one.id for one in (*packages, *plans)]
    repeated = {one for one in ids if ids.count(one) > 1}
    if repeated or not ids:
        raise Misconfigured(f"{path}: {f'{min(repeated)!r} is there twice' if repeated else 'nothing is for sale'}")
    return ForSale(tuple(packages), tuple(one for one in plans if isinstance(one, Plan)))


def _entries(path: Path, told: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    entries = told.get(kind, [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise Misconfigured(f"{path}: write each {kind} as [[{kind}]]")
    return entries


def _read(path: Path, kind: str, entry: dict[str, Any]) -> Package:
    product_id, name = entry.get("id"), entry.get("name")
    where = f"{path}: {kind} {product_id!r}"
    unknown = entry.keys() - _FIELDS[kind]
    if unknown:
        raise Misconfigured(f"{where} has no {min(unknown)!r}")
    if not isinstance(product_id, str) or not _ID.fullmatch(product_id):
        raise Misconfigured(f"{where}: an id has letters, digits, - and _ alone")
    if not isinstance(name, str) or not name.strip() or len(name) > _NAME_MAX or not name.isprintable():
        raise Misconfigured(f"{where}: a name of up to {_NAME_MAX} characters is missing")
    rolls_over = entry.get("rolls_over", False)
    if not isinstance(rolls_over, bool):
        raise Misconfigured(f"{where}: rolls_over is true or false")
    try:
        amount, price = Credits(_exact(entry.get("credits"))), Usd(_exact(entry.get("price")))
    except CallfareError as error:
        raise Misconfigured(f"{where}: {error.message}") from None
    if amount.nanocredits <= 0 or price.picousd <= 0 or price.picousd % PICOUSD_PER_CENT:
        raise Misconfigured(f"{where}: credits and price lie above 0, and a price is whole cents")
    if kind == "package":
        return _package(product_id, name, amount, price)
    return Plan(
        id=product_id,
        name=name,
        credits=amount,
        price=price,
        credits_per_usd=_per_usd(amount, price),
        rolls_over=rolls_over,
    )


def _exact(told: object) -> int | str:
    """Return an amount as it is exact; a number with a point in it has to be in quotes."""
    return told if isinstance(told, int | str) and not isinstance(told, bool) else "not in quotes"


def _package(package_id: str, name: str, amount: Credits, price: Usd) -> Package:
    return Package(id=package_id, name=name, credits=amount, price=price, credits_per_usd=_per_usd(amount, price))


def _per_usd(amount: Credits, price: Usd) -> int:
    return int(Fraction(amount.decimal) * PICOUSD_PER_USD / price.picousd)


def cents_of(price: Usd) -> int:
    """Return a price in whole cents, the smallest unit of what is sold."""
    cents, rest = divmod(price.picousd, PICOUSD_PER_CENT)
    assert not rest, price
    return cents


def edition_of(product: Package) -> str:
    """Return a digest of what is sold and at which price, so that an order tells which it was."""
    facts = (product.id, product.name, str(Decimal(product.credits.decimal)), product.price.picousd, CURRENCY)
    lasting = product.rolls_over if isinstance(product, Plan) else None
    return blake2b(repr((*facts, lasting)).encode(), digest_size=8).hexdigest()


def cost_of(product: Package, markup: Fraction) -> Usd:
    """Return the list cost of the calls that a product's credits pay for at a markup."""
    return Usd.of_units(picousd_of(Fraction(product.credits.decimal) / CREDITS_PER_USD / markup))


def below_cost(products: Iterable[Package], markup: Fraction) -> tuple[Package, ...]:
    """Return what is sold for less than what its credits pay for costs at a markup."""
    return tuple(product for product in products if product.price < cost_of(product, markup))
