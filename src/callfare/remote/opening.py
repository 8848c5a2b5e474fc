"""Opens the engine of a server's address. Asks the server nothing yet."""

from __future__ import annotations

import os
from pathlib import Path

from callfare.clock import Clock
from callfare.remote.address import KEY_VARIABLE, address_of
from callfare.remote.engine import RemoteEngine, check_deadline, refuse_settings
from callfare.spool import Spool
from callfare.spool_place import place_of


def open_remote(
    url: str,
    key: str | None,
    books: list[Path],
    *,
    seed_prices: bool,
    markup: object,
    require_user: bool,
    clock: Clock | None,
    spool: str | Path | None,
    deadline_s: int,
    catalogue: str | Path | None = None,
) -> RemoteEngine:
    """Return the engine of a ledger behind a server.

    key: CALLFARE_API_KEY when None.

    Raises Misconfigured for what is no address, for a key that is missing or none, for what is the server's to say, and
    when the spool holds another ledger's calls; InvalidInput for a deadline that is none.
    """
    address = address_of(url, os.environ.get(KEY_VARIABLE) if key is None else key)
    refuse_settings(
        books=tuple(books), seed_prices=seed_prices, markup=markup, require_user=require_user, catalogue=catalogue
    )
    place = place_of(
        address.shown,
        file=None,
        folder=spool or os.environ.get("CALLFARE_SPOOL_DIR") or None,
        state=os.environ.get("XDG_STATE_HOME") or None,
    )
    kept = None if place is None else Spool(place)
    if kept is not None:
        kept.check()
    return RemoteEngine(address, clock=clock, spool=kept, deadline_s=check_deadline(deadline_s))
