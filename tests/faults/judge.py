"""Judges a ledger by what its writers noted: whatever was answered is there, once, and nothing else is."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from callfare.errors import CallfareError
from callfare.ledger import receipts
from callfare.ledger.commands import Command, ExpireDue, GrantCredit, OpenRun, RecordUsage
from callfare.ledger.receipts import ChargeReceipt, OpenReceipt, Receipt
from callfare.ledger.rows import Event, Grant, Key
from callfare.ledger.verify import verify
from callfare.store.protocol import Store
from tests.faults.traffic import Traffic, attempts
from tests.support.audit import faults
from tests.support.commands import account_number

# How much longer than its deadline a call may take, besides the time in which other processes kept it waiting.
_GRACE_S = 1


@dataclass
class Verdict:
    """What was counted, and what was wrong."""

    kills: int = 0
    answered: int = 0
    refused: int = 0
    unheard: int = 0
    failed: int = 0
    reads: int = 0
    longest_s: float = 0.0
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.kills} kills, {self.answered} answered, {self.refused} refused, {self.unheard} unheard,"
            f" {self.failed} failed calls,"
            f" {self.reads} reads, longest call {self.longest_s:.2f} s, {len(self.faults)} faults"
        )


def judge(traffic: Traffic, store: Store) -> Verdict:
    """Send everything again under the same keys, recompute everything, and return what is wrong."""
    verdict = Verdict()
    accepted: dict[str, tuple[Command, Receipt]] = {}
    for writer in range(traffic.writers):
        _hear(traffic, writer, store, verdict, accepted)
    verdict.answered = len(accepted)
    verdict.faults += _keys(store, accepted)
    verdict.faults += _answered_otherwise(store, list(accepted.values()))
    verdict.faults += _sums(traffic, store, accepted)
    verdict.faults += faults(store)
    verdict.faults += [str(fault) for fault in verify(store.scan).faults]
    _readings(traffic, verdict)
    if traffic.url.startswith("postgresql:") and verdict.longest_s > traffic.deadline_s + _GRACE_S:
        verdict.faults.append(f"a call took {verdict.longest_s:.1f} s, with a deadline of {traffic.deadline_s} s")
    return verdict


def _hear(
    traffic: Traffic, writer: int, store: Store, verdict: Verdict, accepted: dict[str, tuple[Command, Receipt]]
) -> None:
    """Take in what a writer was answered, and finish what it did not hear the end of."""
    number = 0
    is_open = False
    for line in attempts(traffic.log(writer)):
        verdict.longest_s = max(verdict.longest_s, line.get("took_s", 0))
        verdict.failed += "failed" in line
        is_open = "answers" not in line
        if not is_open:
            _accept(traffic.batch(writer, number), [_receipt(*told) for told in line["answers"]], verdict, accepted)
            number += 1
    if is_open:
        commands = traffic.batch(writer, number)
        verdict.unheard += 1
        first, second = _asked(store, commands), _asked(store, commands)
        _accept(commands, first, verdict, accepted)
        pairs = [pair for pair in zip(commands, first, strict=True) if isinstance(pair[1], Receipt)]
        repeated = [answer for answer, one in zip(second, first, strict=True) if isinstance(one, Receipt)]
        verdict.faults += _differences(pairs, repeated)


def _receipt(kind: str, text: str) -> Receipt | None:
    """Return an answer as it was noted; None for a refusal."""
    return None if kind == "refused" else msgspec.json.decode(text, type=getattr(receipts, kind))


def _accept(
    commands: list[Command],
    answers: list[Receipt | CallfareError] | list[Receipt | None],
    verdict: Verdict,
    accepted: dict[str, tuple[Command, Receipt]],
) -> None:
    for command, answer in zip(commands, answers, strict=True):
        if isinstance(answer, Receipt):
            if not isinstance(command, ExpireDue):
                accepted[getattr(command, "key", None) or f"run {getattr(command, 'run_id', '')}"] = command, answer
        else:
            verdict.refused += 1


def _asked(store: Store, commands: list[Command]) -> list[Receipt | CallfareError]:
    """Return the answers to commands; a ledger that cannot answer any more answers each with that."""
    try:
        return store.apply(commands)
    except CallfareError as error:
        return [error for _ in commands]


def _answered_otherwise(store: Store, first: list[tuple[Command, Receipt]]) -> list[str]:
    found: list[str] = []
    for start in range(0, len(first), store.max_batch):
        part = first[start : start + store.max_batch]
        found += _differences(part, _asked(store, [command for command, _ in part]))
    return found


def _differences(first: list[tuple[Command, Receipt]], again: list[Receipt | CallfareError]) -> list[str]:
    """Return which repeats are not the first answer. A run that is opened again is answered as it is now."""
    found = []
    for (command, receipt), answer in zip(first, again, strict=True):
        if isinstance(command, OpenRun) and isinstance(answer, OpenReceipt | CallfareError):
            is_same = isinstance(answer, OpenReceipt) or answer.code == "run_closed"
        elif isinstance(command, ExpireDue):
            is_same = isinstance(answer, Receipt)
        else:
            is_same = answer == _as_repeated(receipt)
        if not is_same:
            found.append(f"{command} was answered {receipt}, and then {answer!r}")
    return found


def _as_repeated(receipt: Receipt) -> Receipt:
    if isinstance(receipt, ChargeReceipt):
        # How long the run's hold lives is told once; a repeat renews nothing.
        receipt = msgspec.structs.replace(receipt, run_expires_at_us=0)
    return msgspec.structs.replace(receipt, is_replay=True)


def _keys(store: Store, accepted: dict[str, tuple[Command, Receipt]]) -> Iterator[str]:
    """What was answered is there, what was not is not, and no intent had two effects."""
    events = {row.key for row, _ in store.scan(Event) if row.kind == "usage"}
    others = {row.key for row, _ in store.scan(Key) if row.key.startswith("k-")}
    for key in {key for key, (command, _) in accepted.items() if isinstance(command, RecordUsage)} - events:
        yield f"{key} was answered and is lost"
    for key in {key for key, (command, _) in accepted.items() if isinstance(command, GrantCredit)} - others:
        yield f"{key} was answered and is lost"
    for key in (events | others) - set(accepted):
        yield f"{key} is there, and nobody was told"
    intents = Counter(key.partition("-again")[0] for key in [*events, *others])
    yield from (f"{intent} happened {count} times" for intent, count in intents.items() if count > 1)


def _sums(traffic: Traffic, store: Store, accepted: dict[str, tuple[Command, Receipt]]) -> Iterator[str]:
    """What each account was granted and has used is what its writers were told, to the last nanocredit."""
    told: defaultdict[tuple[str, int], int] = defaultdict(int)
    for command, receipt in accepted.values():
        if isinstance(command, GrantCredit | RecordUsage):
            number = getattr(receipt, "account_id", 0)
            told[type(command).__name__, number] += command.nanocredits
    kept: defaultdict[tuple[str, int], int] = defaultdict(int)
    for grant, _ in store.scan(Grant):
        kept["GrantCredit", grant.account_id] += grant.amount_nanocredits
    for event, _ in store.scan(Event):
        kept["RecordUsage", event.account_id] += event.nanocredits
    for user in traffic.names():
        for kind in ("GrantCredit", "RecordUsage"):
            pair = kind, account_number(user)
            if told[pair] != kept[pair]:
                yield f"{kind} of {user}: {told[pair]} were told, {kept[pair]} are kept"


def _readings(traffic: Traffic, verdict: Verdict) -> None:
    for line in traffic.readings().read_text(encoding="utf-8").splitlines():
        if line.startswith("{"):
            facts = json.loads(line)
            verdict.reads += facts["reads"]
            verdict.longest_s = max(verdict.longest_s, facts["longest_s"])
        else:
            verdict.faults.append(line)


def recovered_s(traffic: Traffic, back_at: float) -> float:
    """Return how long after a moment the last of the writers was answered again; without an end if one was not."""
    waits_s = []
    for writer in range(traffic.writers):
        after = [line["at"] for line in attempts(traffic.log(writer)) if "answers" in line and line["at"] > back_at]
        waits_s.append(min(after, default=math.inf) - back_at)
    return max(waits_s)
