"""What happens in the demo, one value for each thing: the page shows them to people, `--json` prints them for machines.

Amounts are exact everywhere. Ids, addresses and the ledger's place differ from run to run, nothing else does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeAlias

from callfare.answers import plain
from callfare.money import Credits, Usd


@dataclass(frozen=True, slots=True, kw_only=True)
class _Event:
    """Something that happened. `event` names its kind in JSON."""

    event: ClassVar[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun(_Event):
    """The ledger and the stand-in are there. `edition` is the price book's."""

    event: ClassVar[str] = "begun"
    ledger: str
    stand_in: str
    sdk: str
    edition: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chapter(_Event):
    """Another part of the demo begins. People need to be told, machines do not."""

    event: ClassVar[str] = "chapter"
    title: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted(_Event):
    """A user got credits; `package` and `paid` where they were bought."""

    event: ClassVar[str] = "grant"
    user: str
    credits: Credits
    source: str
    package: str | None
    paid: Usd | None
    available: Credits


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOpened(_Event):
    """A run began under its hold, beside its estimate."""

    event: ClassVar[str] = "run"
    run_id: str
    workflow: str
    user: str
    low: Credits
    high: Credits
    hold: Credits
    available: Credits


@dataclass(frozen=True, slots=True, kw_only=True)
class CallCharged(_Event):
    """A call of a run stands in the ledger.

    so_far: what its run has been charged with it, beside the run's estimate from `low` to `high`.
    left: what the user has after it and all calls shown before it.
    """

    event: ClassVar[str] = "call"
    charge: str
    run_id: str
    workflow: str
    operation: str
    model: str
    units: Mapping[str, str]
    attributes: Mapping[str, str]
    arithmetic: tuple[str, ...]
    cost: Usd
    credits: Credits
    so_far: Credits
    low: Credits
    high: Credits
    left: Credits
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnded(_Event):
    """A run was settled: charged, given back, and where that lies in the estimate (0 is its low end, 1 its high)."""

    event: ClassVar[str] = "run_end"
    run_id: str
    workflow: str
    outcome: str
    calls: int
    cost: Usd
    charged: Credits
    given_back: Credits
    low: Credits
    high: Credits
    left: Credits


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal(_Event):
    """Something was refused. `requests` counts what had arrived at the stand-in before it and after."""

    event: ClassVar[str] = "refusal"
    what: str
    code: str
    message: str
    requests_before: int
    requests_after: int
    left_before: Credits
    left_after: Credits


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat(_Event):
    """Something was done a second time. `left` is what the user had before the second time and after."""

    event: ClassVar[str] = "replay"
    what: str
    answer: str
    left_before: Credits
    left_after: Credits


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified(_Event):
    """The whole ledger was recomputed from its history."""

    event: ClassVar[str] = "verify"
    is_clean: bool
    rows: int
    faults: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelTotal:
    """What one model was used for, in all."""

    model: str
    calls: int
    units: Mapping[str, str]
    cost: Usd
    credits: Credits


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary(_Event):
    """How it all adds up. `by_hand` is what was charged, worked out again from the table; `faults` should be empty.

    cost: what the calls cost; `uncharged` of it are second attempts, which nobody was charged for.
    """

    event: ClassVar[str] = "summary"
    user: str
    granted: Credits
    charged: Credits
    cost: Usd
    uncharged: Usd
    by_hand: str
    left: Credits
    requests: int
    calls: int
    by_model: tuple[ModelTotal, ...]
    faults: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready(_Event):
    """The demo stays: the ledger, the stand-in and the server can be used from elsewhere.

    server: None where the demo has none. key_file: where its key is kept.
    """

    event: ClassVar[str] = "ready"
    ledger: str
    stand_in: str
    commands: tuple[str, ...]
    server: str | None = None
    key_file: str | None = None


Event: TypeAlias = (
    Begun | Chapter | Granted | RunOpened | CallCharged | RunEnded | Refusal | Repeat | Verified | Summary | Ready
)


class Show(Protocol):
    """Where events go."""

    def __call__(self, event: Event) -> None:
        """Show an event."""
        ...


def as_json(event: Event) -> dict[str, Any]:
    """Return an event as JSON values: its kind, then its fields, amounts as exact decimal strings."""
    return {"event": event.event, **plain(event)}
