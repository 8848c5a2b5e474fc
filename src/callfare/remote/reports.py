"""Reads, asked of a server: the same questions and answers as of a ledger here, checked in the same way beforehand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Generic, NamedTuple, TypeVar

from callfare.answers import (
    Balance,
    Call,
    Estimate,
    Explanation,
    Package,
    Price,
    RunSummary,
    Transaction,
    UsageReport,
)
from callfare.checks import check_text, check_user, check_whole
from callfare.clock import Clock, event_instant, instant_of
from callfare.engine.reports import PAGE_MAX, PAST_RUNS_MAX, Estimated, Reports
from callfare.engine.usage_report import window_of, zone_of
from callfare.errors import CallfareError, LedgerUnavailable
from callfare.estimate.history import PastRuns, past_of
from callfare.estimate.workflows import Workflows
from callfare.ids import parse_account, parse_charge_id
from callfare.ledger.charges import ESTIMATED
from callfare.pages import Page, refused_cursor
from callfare.remote import told
from callfare.remote.client import Client, part
from callfare.remote.prices import RemoteTerms
from callfare.remote.store import RemoteStore
from callfare.usage.quantities import check_attributes, check_usage, quantity_text

T = TypeVar("T")
Facts = Mapping[str, Any]


class _Kind(NamedTuple, Generic[T]):
    """What a page lists: its name on the wire, and what each of it is here."""

    name: str
    read: Callable[[Facts], T]


class RemoteReports(Reports):
    """Answers questions about the ledger behind a server."""

    def __init__(
        self, client: Client, store: RemoteStore, terms: RemoteTerms, workflows: Workflows, clock: Clock
    ) -> None:
        super().__init__(store, terms, workflows, clock)
        self._client = client
        self._terms = terms

    def balance(self, user: str) -> Balance:
        """Return the balances of a user, all zero for one nobody has heard of."""
        return self._told(told.balance, self._client.get("/balance", {"userId": check_user(user)}))

    def usage(self, user: str, period: str, *, since: datetime | None, until: datetime | None, tz: str) -> UsageReport:
        """Return the usage of a user in a period or a window."""
        window_of(period, since, until, self._clock.now_us())
        zone_of(tz)
        window = {"since": _moment_text(since), "until": _moment_text(until), "timeZone": tz}
        facts = self._client.get("/usage", {"userId": check_user(user), "period": period, **window})
        return self._told(told.usage, facts)

    def history(self, user: str, limit: int, cursor: str | None) -> Page[RunSummary]:
        """Return a page of a user's runs, newest first."""
        return self._page("/runs", _Kind("runs", told.run), limit, cursor, {"userId": check_user(user)})

    def calls(self, run_id: str, user: str | None, limit: int, cursor: str | None) -> Page[Call]:
        """Return a page of a run's calls, in their order."""
        named = {"userId": None if user is None else check_user(user)}
        return self._page(
            f"/runs/{part(check_text(run_id, 'run_id'))}/calls", _Kind("calls", told.call), limit, cursor, named
        )

    def transactions(self, user: str, limit: int, cursor: str | None) -> Page[Transaction]:
        """Return a page of a user's transfers, newest first."""
        named = {"userId": check_user(user)}
        return self._page("/transactions", _Kind("transactions", told.transaction), limit, cursor, named)

    def packages(self) -> tuple[Package, ...]:
        """Return what is for sale there: the packages of credits, then the plans."""
        return self._told(told.for_sale, self._client.get("/packages"))

    def account_of_run(self, run_id: str, user: str | None) -> int:
        """Return the number of a run's account.

        Raises RunNotFound, RunAmbiguous when several users have a run of this id and none is named.
        """
        named = {"userId": None if user is None else check_user(user)}
        facts = self._client.get(f"/runs/{part(check_text(run_id, 'run_id'))}", named)
        account_id = parse_account(self._told(lambda run: str(run["accountId"]), facts))
        if account_id is None:
            raise LedgerUnavailable("the server answers a run without its account")
        return account_id

    def owners_of_runs(self, named: Sequence[tuple[str, str | None]]) -> list[int | CallfareError]:
        """Return whose each run is, or why it cannot be told."""
        return [self._owner(run_id, user) for run_id, user in named]

    def _owner(self, run_id: str, user: str | None) -> int | CallfareError:
        try:
            return self.account_of_run(run_id, user)
        except LedgerUnavailable:
            raise
        except CallfareError as refusal:
            return refusal

    def price(
        self,
        model: str,
        usage: Mapping[str, object],
        attributes: Mapping[str, str] | None,
        at: datetime | None,
        provider: str | None = None,
    ) -> Price:
        """Return what a call would cost.

        Raises UnpricedModel when it has no price, MissingAttribute when one that decides the price is not given.
        """
        check_text(model, "model")
        question = {
            "model": model,
            "usage": {meter: quantity_text(quantity) for meter, quantity in check_usage(usage).items()},
            "attributes": check_attributes(
                {} if attributes is None else attributes, also=self._terms.book.attribute_names
            ),
            "at": _moment_text(at),
            "provider": None if provider is None else check_text(provider, "provider"),
        }
        if at is not None:
            event_instant(at, self._clock.now_us())
        return self._told(told.price, self._client.post("/price", question))

    def estimate(self, name: str, user: str | None) -> Estimate:
        """Return what a run of a workflow is expected to cost, and what runs of the user have cost.

        Raises UnknownWorkflow.
        """
        if self._workflows.is_declared(check_text(name, "workflow")):
            return super().estimate(name, user)
        named = {"workflowType": name, "userId": None if user is None else check_user(user)}
        return self._told(told.estimate, self._client.get("/estimate", named))

    def past(self, workflow: str, user: str | None) -> PastRuns:
        """Return what the user's latest runs of a workflow have cost; nothing where no user is named."""
        runs = () if user is None else self.history(user, PAST_RUNS_MAX, None).items
        return past_of(
            run.charged.nanocredits for run in runs if run.workflow == workflow and run.status == "completed"
        )

    def estimate_of_response(self, user: str, response_key: str) -> Estimated | None:
        """Return the estimate that stands for a provider's response, None where there is none or it was counted."""
        found = self._client.get("/charges", {"userId": check_user(user), "responseKey": response_key})
        return self._told(lambda facts: next(filter(None, map(_estimated, facts["calls"])), None), found)

    def explain(self, charge: str, user: str | None = None) -> Explanation:
        """Return everything behind a charge, of the user where one is named.

        Raises ChargeNotFound.
        """
        named = {"userId": user}
        return self._told(told.explanation, self._client.get(f"/charges/{part(_charge(charge))}", named))

    def _page(self, path: str, read: _Kind[T], limit: int, cursor: str | None, query: dict[str, Any]) -> Page[T]:
        check_whole(limit, "limit", least=1, most=PAGE_MAX)
        if cursor is not None and not isinstance(cursor, str):
            raise refused_cursor()
        facts = self._client.get(path, query | {"limit": limit, "cursor": cursor})
        return self._told(
            lambda page: Page(items=tuple(map(read.read, page[read.name])), next_cursor=page["nextCursor"]), facts
        )

    def _told(self, read: Callable[[Facts], T], facts: Facts) -> T:
        """Return an answer from what a server told."""
        try:
            return read(facts)
        except (KeyError, TypeError, ValueError) as fault:
            shown = self._client.address.shown
            raise LedgerUnavailable(f"{shown} answers what cannot be understood: {fault!r}") from None


def _charge(charge: str) -> str:
    return check_text(charge, "charge", length_max=8192)


def _moment_text(moment: datetime | None) -> str | None:
    if moment is None:
        return None
    instant_of(moment, "at")
    return moment.isoformat()


def _estimated(facts: Facts) -> Estimated | None:
    call = told.call(facts)
    named = parse_charge_id(call.id)
    if named is None or ESTIMATED not in call.flags:
        return None
    at_us = instant_of(call.at, "at")
    return Estimated(account_id=named[0], key=named[1], nanocredits=call.credits.nanocredits, at_us=at_us)
