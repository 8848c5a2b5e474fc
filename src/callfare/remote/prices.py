"""A server's prices, known here: what a call may cost at the most is worked out before it is made, asking nobody.

The server prices what is charged. This copy is asked for again from time to time, and as soon as a charge shows an
edition that it does not have.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from functools import cache
from typing import Any
from urllib.parse import quote

from callfare.clock import elapsed_s, instant_of
from callfare.errors import CallfareError, Misconfigured
from callfare.pricing.book import PriceBook
from callfare.pricing.edition import Catalogue, Unsaved, shipped_catalogue
from callfare.pricing.layer import Layer
from callfare.pricing.rates import Adjustment, ModelPrices, Rate
from callfare.remote.client import Client
from callfare.settings import Settings

_log = logging.getLogger("callfare")

_FRESH_S = 60.0
Facts = Mapping[str, Any]


class RemoteTerms:
    """How the ledger behind a server prices and whom it serves. Safe to share between threads."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._start_afresh()
        self._found: Settings | None = None
        self._etag: str | None = None
        self._asked_at_s = 0.0

    def _start_afresh(self) -> None:
        self._pid = os.getpid()
        self._asking = threading.RLock()

    @property
    def book(self) -> PriceBook:
        """The price book in force. Raises LedgerUnavailable where it was never told."""
        return self._known().book

    @property
    def require_user(self) -> bool:
        """Whether a call that names no user is refused. Where the server does not tell, it decides later."""
        self.look()
        return self.assumed().require_user

    def markup_at(self, instant_us: int) -> Fraction:
        """Return the markup in force at an instant."""
        return self._known().markup_at(instant_us)

    def assumed(self) -> Settings:
        """Return what finished calls are rated by until the server does it: its prices, else those shipped."""
        return self._found or _shipped()

    @property
    def is_due(self) -> bool:
        """Whether the prices are to be asked for, again or for the first time."""
        return self._found is None or elapsed_s() - self._asked_at_s >= _FRESH_S

    def doubt(self, edition: str) -> None:
        """Have the prices asked for again when a charge was priced by an edition that is not known here."""
        found = self._found
        if found is None or not edition:
            return
        known = {layer.edition for layer in found.book.layers}
        if not known.issuperset(edition.split(",")):
            self._asked_at_s = -_FRESH_S

    def _known(self) -> Settings:
        if self._found is None:
            self._ask_first()
        elif self.is_due:
            self._ask_beside()
        assert self._found is not None
        return self._found

    def _after_fork(self) -> None:
        if os.getpid() != self._pid:
            self._start_afresh()

    def _ask_first(self) -> None:
        """Ask for the prices when none are known. Raises LedgerUnavailable and refusals."""
        self._after_fork()
        with self._asking:
            if self._found is None:
                self._ask()

    def _ask_beside(self) -> None:
        """Have the prices asked for again by a thread: nobody who has some waits for others.

        What was in force a minute ago says enough about what to hold; the charge itself is the server's.
        """
        self._asked_at_s = elapsed_s()
        with suppress(RuntimeError):
            threading.Thread(target=self._ask_again, name="callfare-prices", daemon=True).start()

    def _ask_again(self) -> None:
        try:
            self._ask()
        except CallfareError as error:
            _log.warning("the prices could not be asked for again: %s", error)

    def _ask(self) -> None:
        known = self._catalogue()
        told = self._client.get_unless(f"/prices?catalogue={quote(known.edition)}", self._etag)
        if told is not None:
            facts, etag = told
            self._found = settings_of(facts, known)
            # Only now, for what could not be read must be asked for again, and not be taken for known.
            self._etag = etag
        self._asked_at_s = elapsed_s()

    def _catalogue(self) -> Catalogue:
        """Return the catalogue that is known here: the server's as it was told last, else the one that is shipped."""
        layers = () if self._found is None else self._found.book.layers
        return next((layer for layer in layers if isinstance(layer, Catalogue)), shipped_catalogue())

    def look(self) -> None:
        """Ask for the prices if they are due. Never raises."""
        if self.is_due:
            with suppress(CallfareError):
                self._known()


@cache
def _shipped() -> Settings:
    return Settings()


def settings_of(facts: Facts, known: Catalogue) -> Settings:
    """Return the settings that a server tells of. known: the catalogue that it was told of.

    Raises Misconfigured for what cannot be read, or does not have the edition that it says.
    """
    try:
        found = Settings(
            book=PriceBook([*(_layer(layer) for layer in facts["layers"]), *_catalogue_of(facts["catalogue"], known)]),
            markups=tuple((_instant(one["since"]), Fraction(one["factor"])) for one in facts["markups"]),
            require_user=bool(facts["requireUser"]),
        )
    except (KeyError, TypeError, ValueError, ArithmeticError) as fault:
        raise Misconfigured(f"the server's prices cannot be read: {fault!r}; is it of another version?") from None
    if found.book.edition != facts["edition"]:
        raise Misconfigured(
            f"the server's prices are of edition {facts['edition']} and read as {found.book.edition}; "
            "is it of another version?"
        )
    return found


def _catalogue_of(facts: Facts | None, known: Catalogue) -> list[Layer]:
    if facts is None:
        return []
    return [known] if facts["text"] is None else [Catalogue(Unsaved(facts["text"].encode()))]


def _layer(facts: Facts) -> Layer:
    adjustments = [_adjustment(one) for one in facts.get("adjustments", ())]
    return Layer(facts["name"], [_model(model) for model in facts["models"]], adjustments)


def _adjustment(facts: Facts) -> Adjustment:
    return Adjustment(
        provider=facts["provider"],
        percent=Decimal(facts["percent"]),
        source=facts["source"],
        checked=date.fromisoformat(facts["checked"]),
        from_us=None if facts["since"] is None else _instant(facts["since"]),
        until_us=None if facts["until"] is None else _instant(facts["until"]),
    )


def _model(facts: Facts) -> ModelPrices:
    return ModelPrices(
        provider=facts["provider"],
        model=facts["model"],
        names=tuple(facts["names"]),
        basis=tuple(facts["basis"]),
        otherwise=tuple(tuple(basis) for basis in facts["otherwise"]),
        ordinary={name: tuple(values) for name, values in facts["ordinary"].items()},
        rates=tuple(
            Rate(
                meter=rate["meter"],
                usd=Decimal(rate["usd"]),
                per=rate["per"],
                attributes=rate["attributes"],
                from_us=None if rate["since"] is None else _instant(rate["since"]),
                until_us=None if rate["until"] is None else _instant(rate["until"]),
                above=rate["aboveInputTokens"],
                daily=None if rate["daily"] is None else (rate["daily"][0], rate["daily"][1]),
                minimum=rate.get("minimum"),
            )
            for rate in facts["rates"]
        ),
        source=facts["source"],
        checked=date.fromisoformat(facts["checked"]),
        derived={one["attribute"]: (one["source"], one["values"]) for one in facts["derived"]},
    )


def _instant(text: str) -> int:
    return instant_of(datetime.fromisoformat(text), "since")
