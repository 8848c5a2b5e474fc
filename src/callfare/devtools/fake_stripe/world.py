"""What the stand-in knows: every object by its id, every event, its time, and what the present request is.

All of it lives in memory and changes only on the event loop's thread, one request at a time, so a handler is a
transaction: it raises before it has changed anything, save that a declined card leaves what Stripe keeps of it.
Nothing survives the process.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final

from callfare.devtools.fake_stripe.checking import violations
from callfare.devtools.fake_stripe.clock import FakeClock
from callfare.devtools.fake_stripe.nulls import NULLS
from callfare.devtools.fake_stripe.refusals import Json, missing
from callfare.devtools.fake_stripe.schema import API_VERSION, Types, kind_in_event
from callfare.ids import base62

_VIOLATIONS_KEPT: Final = 500
_EVENT_DAYS: Final = 30
DAY_S: Final = 86_400

Follower = Callable[[Json], None]


@dataclass(frozen=True, slots=True)
class Origin:
    """The request that is being answered: events name it."""

    id: str | None = None
    idempotency_key: str | None = None


@dataclass
class Settings:
    """What a test may turn.

    account: the id of the account that every key belongs to.
    settle_after_s: when debits are known to have succeeded or failed; None: only when told.
    refund_after_s: when a pending refund has arrived, or one that will fail has failed; None: only when told.
    tax_percent: what is added where automatic tax is on.
    draft_s: how long a renewal's invoice stays a draft before it is tried.
    dunning_days: how long after each failure a renewal is tried again; dunning_end: the status after the last one.
    """

    account: str = "acct_1FakeStripe00000"
    settle_after_s: int | None = 5
    refund_after_s: int | None = 5
    tax_percent: int = 0
    draft_s: int = 3_600
    dunning_days: tuple[int, ...] = (3, 5, 7)
    dunning_end: str = "canceled"


@dataclass
class World:
    """One account at the stand-in."""

    base_url: str
    clock: FakeClock
    seed: str
    livemode: bool = False
    types: Types = field(default_factory=Types)
    objects: dict[str, Json] = field(default_factory=dict)
    notes: defaultdict[str, Json] = field(default_factory=lambda: defaultdict(dict))
    events: dict[str, Json] = field(default_factory=dict)
    followers: defaultdict[str, list[Follower]] = field(default_factory=lambda: defaultdict(list))
    on_event: list[Callable[[Json], None]] = field(default_factory=list)
    origin: Origin = Origin()
    settings: Settings = field(default_factory=Settings)
    violations: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    _made: Counter[str] = field(default_factory=Counter)
    _of_kind: defaultdict[str, dict[str, None]] = field(default_factory=lambda: defaultdict(dict))

    # Objects

    def new_id(self, prefix: str, width: int = 24) -> str:
        """Return an id that this world has not used: the same ones in the same order for the same seed."""
        self._made[prefix] += 1
        told = f"{self.seed}:{prefix}:{self._made[prefix]}".encode()
        return f"{prefix}_{base62(int.from_bytes(blake2b(told, digest_size=48).digest(), 'big'), width)}"

    def new(self, kind: str, prefix: str, *, id_width: int = 24, **fields: object) -> Json:
        """Return a new object that is kept: its nulls, its identity, then the given fields."""
        made: Json = {"id": self.new_id(prefix, id_width), "object": kind}
        made |= dict.fromkeys(NULLS.get(kind, "").split())
        if "livemode" in self.types.resolve(self.types.of_object(kind))["properties"]:
            made["livemode"] = self.livemode
        if "created" in self.types.resolve(self.types.of_object(kind))["properties"]:
            made["created"] = self.now_s
        made |= fields
        self.keep(made)
        return made

    def keep(self, made: Json) -> None:
        """Keep an object under its id."""
        self.objects[made["id"]] = made
        self._of_kind[made["object"]][made["id"]] = None

    def find(self, kind: str, id: str, *, param: str | None = None, or_deleted: bool = False) -> Json:
        """Return an object of a kind by its id; of one that was deleted, what is left, where that is wanted.

        Raises Refusal when there is none.
        """
        found = self.objects.get(id)
        if found is None or found["object"] != kind or (found.get("deleted") and not or_deleted):
            raise missing(kind, id, param=param)
        return found

    def all(self, kind: str) -> Iterator[Json]:
        """Yield the objects of a kind that are not deleted, the newest first."""
        for each in reversed(list(self._of_kind[kind])):
            if not self.objects[each].get("deleted"):
                yield self.objects[each]

    def delete(self, found: Json) -> Json:
        """Leave of an object only that it was deleted."""
        gone = {"id": found["id"], "object": found["object"], "deleted": True}
        self.objects[found["id"]] = gone
        return gone

    def rename(self, found: Json, id: str) -> None:
        """Give a new object the id that its maker wants."""
        del self.objects[found["id"]], self._of_kind[found["object"]][found["id"]]
        found["id"] = id
        self.keep(found)

    @property
    def now_s(self) -> int:
        """The present second of this world."""
        return self.clock.now_s()

    # What follows

    def follow(self, id: str, follower: Follower) -> None:
        """Have someone told each time an intent has a new state."""
        self.followers[id].append(follower)

    def tell(self, found: Json) -> None:
        """Tell whoever follows an intent that its state is new."""
        for follower in list(self.followers.get(found["id"], ())):
            follower(found)

    # Events

    def emit(self, type: str, found: Json, previous: Json | None = None) -> Json:
        """Keep an event with the object as it is now, check it, and hand it to the deliveries.

        previous: the former values of what an update changed.
        """
        told: Json = {"object": deepcopy(found)}
        if previous is not None:
            told["previous_attributes"] = previous
        event: Json = {
            "id": self.new_id("evt"),
            "object": "event",
            "api_version": API_VERSION,
            "created": self.now_s,
            "data": told,
            "livemode": self.livemode,
            "pending_webhooks": 0,
            "request": {"id": self.origin.id, "idempotency_key": self.origin.idempotency_key},
            "type": type,
        }
        self.check(event, f"event {type}")
        kind = kind_in_event(type)
        if found["object"] != kind:
            self.violated(f"event {type}: carries a {found['object']}, not a {kind or 'known object'}")
        self.check(told["object"], f"event {type}.data.object")
        self.events[event["id"]] = event
        self.counts[type] += 1
        for listener in self.on_event:
            listener(event)
        return event

    def recent_events(self) -> Iterator[Json]:
        """Yield the events of the last thirty days, the newest first."""
        oldest = self.now_s - _EVENT_DAYS * DAY_S
        return (event for event in reversed(list(self.events.values())) if event["created"] >= oldest)

    # Keeping to the types

    def check(self, found: Json, place: str) -> None:
        """Record every difference between an object and the SDK's type of it."""
        kind = found.get("object", "")
        if found.get("deleted") is True:
            schema: Json = _DELETED
        elif kind == "list":
            for each in found["data"]:
                self.check(each, place)
            return
        else:
            schema = self.types.of_object(kind)
        for told in violations(self.types, schema, found, kind):
            self.violated(f"{place}: {told}")

    def violated(self, told: str) -> None:
        """Record something that Stripe would not have said."""
        self.counts["violations"] += 1
        if len(self.violations) < _VIOLATIONS_KEPT:
            self.violations.append(told)


_DELETED: Json = {
    "type": "object",
    "properties": {"id": {"type": "string"}, "object": {"type": "string"}, "deleted": {"enum": [True]}},
    "required": ["id", "object", "deleted"],
    "additionalProperties": False,
}


def updated(world: World, found: Json, type: str | None, **fields: Any) -> Json:  # any field
    """Change an object, and emit the event that says so with the former values, when anything did change."""
    changed = {name: value for name, value in fields.items() if name not in found or found[name] != value}
    previous = {name: deepcopy(found.get(name)) for name in changed}
    found |= changed
    if type is not None and changed:
        world.emit(type, found, previous)
    return found


def taken(params: Json, *names: str) -> Json:
    """Return those of some parameters that a request gives; an empty text takes a value away."""
    return {name: cleaned(params[name]) for name in names if name in params}


def cleaned(value: Any) -> Any:  # noqa: ANN401  # any part of a request
    """Return a part of a request with null where it has an empty text, however deep."""
    if isinstance(value, dict):
        return {name: cleaned(inner) for name, inner in value.items()}
    return None if value == "" else value


def merged_metadata(found: Json, params: Json) -> Json:
    """Return an object's metadata with those of a request put over it; an empty text removes one."""
    told = params.get("metadata")
    if told == "":
        return {}
    merged = {**found.get("metadata", {}), **(told or {})}
    return {name: text for name, text in merged.items() if text != ""}
