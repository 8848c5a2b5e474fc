"""Roll-ups, folded again from events: by quarter of an hour as they are read, by day from the quarters."""

from __future__ import annotations

from callfare.ledger.rollups import DAY_US, QUARTER_US, unpriced_change
from callfare.ledger.rows import Event, Rollup
from callfare.ledger.verify.arithmetic import Number, Wrong, number, quantities
from callfare.ledger.verify.findings import Findings, Stream

_Name = tuple[int, str, str, str, str]


class _Total:
    """The sums of one quarter or day."""

    __slots__ = ("calls", "nanocredits", "picousd", "units", "unpriced_calls")

    def __init__(self) -> None:
        self.calls = self.unpriced_calls = self.nanocredits = self.picousd = 0
        self.units: dict[str, Number] = {}

    def add_units(self, units: dict[str, Number]) -> None:
        own = self.units
        for meter, quantity in units.items():
            own[meter] = own.get(meter, 0) + quantity

    def add(self, other: _Total) -> None:
        self.calls += other.calls
        self.unpriced_calls += other.unpriced_calls
        self.nanocredits += other.nanocredits
        self.picousd += other.picousd
        self.add_units(other.units)


class Totals:
    """The roll-ups that the events of one account make."""

    def __init__(self, account_id: int, findings: Findings) -> None:
        self._account_id = account_id
        self._findings = findings
        self._quarters: dict[_Name, _Total] = {}

    def add(self, event: Event, units: dict[str, Number]) -> None:
        """Count an event with the units it adds."""
        start_us = event.at_us // QUARTER_US * QUARTER_US
        name = (start_us, event.workflow, event.provider, event.model, event.operation)
        total = self._quarters.get(name)
        if total is None:
            total = self._quarters[name] = _Total()
        total.calls += event.kind == "usage"
        total.unpriced_calls += unpriced_change(event)
        total.nanocredits += event.nanocredits
        total.picousd += event.picousd
        total.add_units(units)

    def compare(self, rollups: Stream[Rollup]) -> None:
        """Note every roll-up that is not what the events make, and every one that is missing."""
        expected = {"day": self._days(), "quarter": self._quarters}
        for row in rollups.of(self._account_id):
            name = (row.start_us, row.workflow, row.provider, row.model, row.operation)
            total = expected.get(row.grain, {}).pop(name, None)
            if total is None:
                self._findings.wrong(row, None, "no event is counted here")
            else:
                self._compare(row, total)
        for grain, totals in expected.items():
            for name in totals:
                self._findings.fault(
                    Rollup, (self._account_id, grain, *name), None, "events belong here, it is missing"
                )

    def _days(self) -> dict[_Name, _Total]:
        days: dict[_Name, _Total] = {}
        for name, total in self._quarters.items():
            day = (name[0] // DAY_US * DAY_US, *name[1:])
            if day not in days:
                days[day] = _Total()
            days[day].add(total)
        return days

    def _compare(self, row: Rollup, total: _Total) -> None:
        wrong = self._findings.wrong
        for column in ("calls", "unpriced_calls", "nanocredits"):
            if getattr(row, column) != getattr(total, column):
                wrong(row, column, f"it is {getattr(row, column)}, its events come to {getattr(total, column)}")
        try:
            if number(row.picousd) != total.picousd:
                wrong(row, "picousd", f"it is {row.picousd}, its events come to {total.picousd}")
            # A roll-up of a single event has its units as they were written, zeros included.
            said = {meter: quantity for meter, quantity in quantities(row.units).items() if quantity}
            found = {meter: quantity for meter, quantity in total.units.items() if quantity}
            if said != found:
                meters = ", ".join(sorted(meter for meter in said | found if said.get(meter) != found.get(meter)))
                wrong(row, "units", f"{meters} is not what its events come to")
        except Wrong as reason:
            wrong(row, "units", str(reason))
