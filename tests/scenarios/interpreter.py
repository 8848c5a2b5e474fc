"""Reads scenario files: a line is a verb, then words, then what is expected. README.md lists the verbs.

A line that ends in `!code` must be refused with that code, without a trace. Calls without a name get one of their own.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from callfare.errors import CallfareError
from callfare.ledger.commands import Command
from callfare.ledger.rows import Event, Grant, Hold, Job, Run
from callfare.ledger.sale_rows import Order, Sale
from callfare.ledger.verify import verify
from tests.support import commands as make
from tests.support import sale_commands as sales
from tests.support.audit import faults
from tests.support.books import Books, shown

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(\d+)([smhd])")


class StoryError(AssertionError):
    """A scenario went another way than it says; names the file and the line."""


@dataclass(frozen=True)
class Line:
    """One line of a story."""

    place: str
    verb: str
    words: tuple[str, ...]
    refusal: str | None

    def named(self, start: int) -> dict[str, str]:
        """Return the words from a place on as pairs: hold 40 ttl 2h."""
        rest = self.words[start:]
        if len(rest) % 2:
            raise StoryError(f"{self.place}: {' '.join(rest)} are not pairs of a name and a value")
        return dict(zip(rest[::2], rest[1::2], strict=True))


def read(path: Path) -> list[Line]:
    """Return the lines of a story that say something."""
    lines = []
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        said = text.partition("#")[0].split()
        if said:
            refusal = said.pop()[1:] if said[-1].startswith("!") else None
            lines.append(Line(f"{path.name}:{number}", said[0], tuple(said[1:]), refusal))
    return lines


def duration_s(text: str) -> int:
    """Return 90s, 30m, 2h or 40d in seconds."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise StoryError(f"{text} is no duration such as 2h")
    return int(match[1]) * SECONDS[match[2]]


class Story:
    """Plays lines on a ledger."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._runs: dict[str, str] = {}
        self._orders: dict[str, tuple[str, int]] = {}
        self._count = 0
        self._last: Command | None = None

    def play(self, line: Line) -> None:
        """Do what a line says and compare what it expects."""
        asked: Callable[[Line], None] | None = getattr(self, f"_ask_{line.verb}", None)
        told: Callable[[Line], Command] | None = getattr(self, f"_tell_{line.verb}", None)
        if asked is not None:
            asked(line)
        elif told is not None:
            self._do(line, told(line))
        else:
            raise StoryError(f"{line.place}: there is no verb {line.verb}")

    def _do(self, line: Line, command: Command) -> None:
        before = self._books.all_rows() if line.refusal else None
        self._last = command
        try:
            self._books.do(command)
        except CallfareError as error:
            if error.code != line.refusal:
                raise StoryError(f"{line.place}: it was refused: {error.code}: {error.message}") from None
            _expect(line, "rows", self._books.all_rows() == before, expected=True)
        else:
            _expect(line, "refusal", None, line.refusal)

    def _name(self, said: dict[str, str], verb: str) -> str:
        self._count += 1
        return said.get("as", f"{verb}-{self._count}")

    def _whom(self, name: str) -> dict[str, str]:
        """Return a run's name as a run, anything else as a user."""
        return {"run_id": name} if name in self._runs else {"user": name}

    # What is told

    def _tell_grant(self, line: Line) -> Command:
        user, amount = line.words[:2]
        said = line.named(2)
        day = said.get("expires")
        expires_at = None
        if day is not None:
            expires_at = datetime.combine(date.fromisoformat(day), datetime.min.time(), UTC)
        return make.grant(
            user, amount, key=self._name(said, "grant"), source=said.get("source", "purchase"), expires_at=expires_at
        )

    def _tell_open(self, line: Line) -> Command:
        run_id, user = line.words[:2]
        said = line.named(2)
        self._runs[run_id] = user
        return make.open_run(
            run_id,
            user,
            hold=said.get("hold", "0"),
            workflow=said.get("workflow", "story"),
            on_failure=said.get("failing", "charge"),
            ttl_s=duration_s(said.get("ttl", "1h")),
            parent=said.get("out-of"),
            from_parent=said.get("up-to", "0"),
        )

    def _tell_claim(self, line: Line) -> Command:
        batch_id, name = line.words[:2]
        said = line.named(2)
        ttl_s = duration_s(said["ttl"]) if "ttl" in said else None
        run_id = name if name in self._runs else None
        return make.claim(batch_id, user=self._runs.get(name, name), run_id=run_id, ttl_s=ttl_s)

    def _tell_extend(self, line: Line) -> Command:
        said = line.named(2)
        return make.extend(line.words[0], line.words[1], key=self._name(said, "extend"))

    def _tell_touch(self, line: Line) -> Command:
        return make.touch(line.words[0])

    def _tell_close(self, line: Line) -> Command:
        return make.close(line.words[0], line.words[1])

    def _tell_record(self, line: Line) -> Command:
        name, amount = line.words[:2]
        is_unpriced, is_estimated = amount == "unpriced", line.words[-1] == "estimated"
        said = line.named(2) if not is_estimated else {}
        return make.record(
            "0" if is_unpriced else amount,
            key=self._name(said, "call") if not is_estimated else line.words[3],
            is_unpriced=is_unpriced,
            is_estimated=is_estimated,
            **self._whom(name),  # type: ignore[arg-type]
        )

    def _tell_hear(self, line: Line) -> Command:
        name, response_id, amount = line.words[:3]
        said = line.named(3)
        usage = f'{{"input_tokens":"{said.get("tokens", "1000")}"}}'
        return make.heard(amount, response_id, usage=usage, **self._whom(name))

    def _tell_step(self, line: Line) -> Command:
        run_id, name, response_id, amount = line.words
        return make.step(amount, name, response_id, run_id=run_id)

    def _tell_pend(self, line: Line) -> Command:
        name, job_id, amount = line.words[:3]
        said = line.named(3)
        return make.pend(amount, job_id=job_id, ttl_s=duration_s(said.get("ttl", "24h")), **self._whom(name))

    def _tell_settle(self, line: Line) -> Command:
        job_id, outcome, *rest = line.words
        charge = make.record(rest[0], key=job_id, user="unattributed") if rest else None
        return make.settle(job_id, outcome, charge)

    def _tell_correct(self, line: Line) -> Command:
        user, key, amount = line.words
        return make.adjust(amount, key=key, user=user)

    def _tell_reprice(self, line: Line) -> Command:
        user, key, amount = line.words
        return make.adjust(amount, key=key, user=user, kind="reprice")

    def _tell_refund(self, line: Line) -> Command:
        user, grant_key, amount = line.words[:3]
        return make.refund(amount, user=user, grant_key=grant_key, key=self._name(line.named(3), "refund"))

    def _tell_order(self, line: Line) -> Command:
        name, user, amount, cents, *kind = line.words
        self._orders[name] = (user, len(self._orders) + 1)
        return sales.open_order(
            user, self._orders[name][1], credits=amount, subtotal=int(cents), kind=kind[0] if kind else "package"
        )

    def _tell_paid(self, line: Line) -> Command:
        """An order, or a line of a plan's invoice, is settled as Stripe tells of it now."""
        name = line.words[0]
        user, number = self._orders[name]
        said = line.named(1)
        order = next(row for row in self._books.rows(Order) if row.order_id == sales.order_name(user, number))
        sale_id = said.get("line", order.order_id)
        known = next((row for row in self._books.rows(Sale) if row.sale_id == sale_id), None)
        is_plan = order.kind == "plan"
        return sales.settle_sale(
            known.version if known else 0,
            order_version=order.version,
            user=user,
            number=number,
            sale=sale_id,
            source="plan" if is_plan else "purchase",
            credits=said.get("credits", shown(order.nanocredits)),
            captured=order.subtotal,
            paid_back=int(said.get("back", "0")),
            dispute=said.get("dispute"),
            state=None if is_plan or said.get("credits") == "0" else "paid",
            expires_at_us=make.START_US + duration_s(said["until"]) * 1_000_000 if "until" in said else None,
        )

    def _tell_expire(self, line: Line) -> Command:
        return make.expire(line.words[0])

    # What is asked

    def _ask_again(self, line: Line) -> None:
        """The last line is said once more: it is answered as before, and nothing is written."""
        if self._last is None:
            raise StoryError(f"{line.place}: nothing was said yet")
        before = self._books.all_rows()
        _expect(line, "is_replay", self._books.do(self._last).is_replay, expected=True)
        _expect(line, "rows", self._books.all_rows() == before, expected=True)

    def _ask_advance(self, line: Line) -> None:
        self._books.advance(seconds=duration_s(line.words[0]))

    def _ask_balance(self, line: Line) -> None:
        balance = self._books.balance(line.words[0])
        for name, expected in line.named(1).items():
            _expect(line, name, getattr(balance, name), expected)

    def _ask_run(self, line: Line) -> None:
        run: Run = self._books.run(line.words[0], self._runs[line.words[0]])
        found = {
            "status": run.status,
            "held": shown(run.held_nanocredits),
            "used": shown(run.used_nanocredits),
            "charged": shown(run.charged_nanocredits),
            "calls": str(run.calls),
            "unpriced": str(run.unpriced_calls),
        }
        for name, expected in line.named(1).items():
            _expect(line, name, found[name], expected)

    def _ask_call(self, line: Line) -> None:
        event: Event = self._books.event(line.words[1], line.words[0])
        found = {
            "charged": shown(event.nanocredits),
            "debt": shown(event.debt_nanocredits),
            "flags": event.flags.replace(" ", "+") or "none",
            "status": event.status,
        }
        for name, expected in line.named(2).items():
            _expect(line, name, found[name], expected)

    def _ask_job(self, line: Line) -> None:
        job = next(job for job in self._books.rows(Job) if job.job_id == line.words[0])
        found = {"status": job.status, "held": shown(job.held_nanocredits)}
        for name, expected in line.named(1).items():
            _expect(line, name, found[name], expected)

    def _ask_lots(self, line: Line) -> None:
        _expect(line, "lots", self._books.lots(line.words[0]), list(line.words[1:]))

    def _ask_holds(self, line: Line) -> None:
        lots = {row.grant_id for row in self._books.rows(Grant)}
        held = [shown(row.amount_nanocredits) for row in self._books.rows(Hold) if row.grant_id in lots]
        _expect(line, "holds", held, list(line.words))

    def _ask_house(self, line: Line) -> None:
        sums = self._books.sums(line.words[0])
        for name, expected in line.named(1).items():
            _expect(line, name, sums.get(name, "0"), expected)

    def _ask_books(self, line: Line) -> None:
        _expect(line, "books", line.words, ("balanced",))
        _expect(line, "faults", faults(self._books.store), [])
        _expect(line, "verify", verify(self._books.store.scan).faults, ())


def _expect(line: Line, what: str, found: object, expected: object) -> None:
    if found != expected:
        raise StoryError(f"{line.place}: {what} is {found}, not {expected}")
