"""What both façades have in common: how one is opened, and everything that neither reads nor writes the ledger."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, TypeVar

from callfare.capture.clients import listener_for, wrap_client
from callfare.capture.metered import Function, metered
from callfare.checks import check_user
from callfare.clock import Clock
from callfare.context import current_user
from callfare.engine.engine import Engine
from callfare.engine.metering import Metering
from callfare.engine.requests import Amount
from callfare.errors import Misconfigured
from callfare.estimate.load import WORKFLOWS_VARIABLE, load_workflows, workflow_of
from callfare.payments.packages import for_sale
from callfare.pricing.book import PriceBook
from callfare.pricing.load import load_layer
from callfare.pricing.shipped import accepted_beside, shipped_layers
from callfare.settings import Settings, check_markups
from callfare.spool import Spool
from callfare.spool_place import Place, place_of, secrets_folder
from callfare.store.open import open_store
from callfare.store.protocol import Store
from callfare.store.sqlite import SqliteStore

Client = TypeVar("Client")
Source = Literal["purchase", "promo", "plan", "adjustment"]
Outcome = Literal["completed", "failed", "cancelled"]
Period = Literal["day", "week", "month", "all"]
Markup = int | Decimal | str | dict[datetime, int | Decimal | str]

DEFAULT_URL = "sqlite:///callfare.db"
DEADLINE_S = 10


def open_engine(
    url: str | None,
    books: Iterable[str | Path],
    *,
    seed_prices: bool,
    markup: Markup,
    require_user: bool,
    clock: Clock | None,
    spool: str | Path | None = None,
    api_key: str | None = None,
    deadline_s: int = DEADLINE_S,
    catalogue: str | Path | None = None,
) -> Engine:
    """Return the engine that a façade stands on. Opens no file yet, and asks no server.

    Raises Misconfigured when its spool holds another ledger's calls, PriceBookInvalid for a catalogue that is none.
    """
    address = (os.environ.get("CALLFARE_DATABASE_URL") or DEFAULT_URL) if url is None else url
    if str(address).partition(":")[0].lower() in {"http", "https"}:
        from callfare.remote.opening import open_remote  # noqa: PLC0415 - who has the ledger itself asks no server

        return open_remote(
            address,
            api_key,
            paths_of(books),
            seed_prices=seed_prices,
            markup=markup,
            require_user=require_user,
            clock=clock,
            spool=spool,
            deadline_s=deadline_s,
            catalogue=catalogue,
        )
    if api_key is not None:
        raise Misconfigured("a key is for a server; whoever has the ledger itself needs none", param="api_key")
    layers = [load_layer(path) for path in paths_of(books)]
    sold = for_sale()
    markups = check_markups(markup)
    store = open_store(address, clock)
    # A refusal names the file it can be granted in; a server's address is nobody's business who reads the message.
    shown = address if url is not None and address != DEFAULT_URL and address.startswith("sqlite:") else None
    file = store.file.path if isinstance(store, SqliteStore) else None
    layers += shipped_layers(has_seed=seed_prices, catalogue=catalogue_of(catalogue, file))
    settings = Settings(
        book=PriceBook(layers),
        markups=markups,
        require_user=require_user,
        packages=sold.packages,
        plans=sold.plans,
    )
    state = os.environ.get("XDG_STATE_HOME") or None
    place = place_of(address, file=file, folder=spool or os.environ.get("CALLFARE_SPOOL_DIR") or None, state=state)
    workflows_file = os.environ.get(WORKFLOWS_VARIABLE)
    workflows = load_workflows(Path(workflows_file), settings.book) if workflows_file else ()
    engine = Engine(
        store,
        settings,
        clock,
        address=shown,
        spool=_spool_of(place, store),
        secrets_folder=secrets_folder(address, file=file, state=state),
    )
    for workflow in workflows:
        engine.workflows.declare(workflow)
    return engine


def catalogue_of(catalogue: str | Path | None, file: Path | None) -> str | Path | None:
    """Return the catalogue a ledger prices by: as given, as the environment has it, or as was accepted beside its file.

    None for the one that is shipped.
    """
    given = catalogue or os.environ.get("CALLFARE_CATALOGUE") or None
    if given is not None or file is None:
        return given
    accepted = accepted_beside(file)
    return accepted if accepted.exists() else None


def _spool_of(place: Place | None, store: Store) -> Spool | None:
    """Return the spool of a ledger, None for one in memory and for one that is only read."""
    if place is None or (isinstance(store, SqliteStore) and store.file.is_readonly):
        return None
    spool = Spool(place)
    spool.check()
    return spool


def paths_of(books: object) -> list[Path]:
    """Return the files that price books are in.

    Raises Misconfigured for anything but a list of paths; one text is no list of its letters.
    """
    if not isinstance(books, str | bytes) and isinstance(books, Iterable):
        paths = list(books)
        if all(isinstance(path, str | Path) and "\0" not in str(path) for path in paths):
            return [Path(path) for path in paths]
    raise Misconfigured("books must be a list of paths to TOML files", param="books")


class Facade:
    """The common part of Callfare and AsyncCallfare."""

    def __init__(
        self,
        url: str | None = None,
        *,
        books: Iterable[str | Path] = (),
        seed_prices: bool = True,
        markup: Markup = 1,
        require_user: bool = False,
        clock: Clock | None = None,
        spool: str | Path | None = None,
        api_key: str | None = None,
        deadline_s: int = DEADLINE_S,
        catalogue: str | Path | None = None,
    ) -> None:
        self._engine = open_engine(
            url,
            books,
            seed_prices=seed_prices,
            markup=markup,
            require_user=require_user,
            clock=clock,
            spool=spool,
            api_key=api_key,
            deadline_s=deadline_s,
            catalogue=catalogue,
        )
        self._engine.deliver_left_overs()

    @contextmanager
    def user(self, user: str) -> Iterator[None]:
        """Make a user the one who pays for calls inside that are in no run.

        Raises InvalidUser.
        """
        token = current_user.set(check_user(user))
        try:
            yield
        finally:
            current_user.reset(token)

    def wrap(self, client: Client, user: str | None = None, *, provider: str | None = None) -> Client:
        """Return a client of the same kind, every call through which is metered. The given one stays as it was.

        user: who pays where neither a run nor `fare.user(…)` says so; nobody in particular when None.
        provider: whose prices apply, as price books name it; None for whose address the client calls.

        Raises InvalidInput. Calls raise InsufficientCredit, UnpricedModel, UserRequired and LedgerUnavailable before
        they are made.
        """
        payer = None if user is None else check_user(user)
        return wrap_client(client, Metering(self._engine), user=payer, provider=provider)

    def listener(self, library: str, user: str | None = None) -> Any:  # noqa: ANN401 - what that library takes
        """Return what a library takes to tell of its calls; they are then charged once, to whoever's they are.

        library: "langchain", "litellm", "openai_realtime", "otel" or "pydantic_ai".

        Each call is charged to the run and user in force when it begins; one that a wrapped client metered is not
        charged again. Nothing is refused: the call is the library's. user: who pays where neither is in force.

        Raises InvalidInput.
        """
        return listener_for(library, Metering(self._engine), user=None if user is None else check_user(user))

    def metered(
        self,
        model: str,
        *,
        usage: Callable[[Any], Mapping[str, object]],
        provider: str = "",
        operation: str = "chat",
        at_most: Mapping[str, object] | None = None,
        attributes: Mapping[str, str] | None = None,
        response_id: Callable[[Any], str] | None = None,
    ) -> Callable[[Function], Function]:
        """Return a decorator: every call of the function, sync or async, is metered like a wrapped client's.

        usage: what a reply used, meter → quantity. at_most: the most that a call can use, held before it.
        response_id: the provider's id of a reply; the same one charges once. A call that raises costs nothing.

        Raises InvalidInput. Its calls raise what those of a wrapped client raise.
        """
        return metered(
            Metering(self._engine),
            model,
            usage=usage,
            provider=provider,
            operation=operation,
            at_most=at_most,
            attributes=attributes,
            response_id=response_id,
        )

    def workflow(
        self,
        name: str,
        *,
        low: Amount | None = None,
        high: Amount | None = None,
        parts: Iterable[Mapping[str, Any]] = (),
        on_failure: Literal["charge", "waive"] = "charge",
    ) -> None:
        """Declare a kind of run: its range in credits, or the parts that it follows from at present prices.

        parts: mappings of model, usage, attributes, at_least and at_most calls.

        Raises InvalidAmount, InvalidInput.
        """
        # Without parts no price is asked for, and so no server.
        book = self._engine.settings.book if parts else self._engine.settings.assumed().book
        self._engine.workflows.declare(
            workflow_of(name, low=low, high=high, parts=parts, on_failure=on_failure, book=book)
        )
