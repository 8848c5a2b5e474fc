"""What past runs cost, as a second opinion beside an estimate. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from callfare.ledger.rows import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class PastRuns:
    """How many runs of a workflow have completed, and the median and the highest that one was charged."""

    count: int
    median_nanocredits: int | None
    highest_nanocredits: int | None


def past_runs(runs: Iterable[Run], workflow: str) -> PastRuns:
    """Return what the completed runs of a workflow were charged."""
    return past_of(run.charged_nanocredits for run in runs if run.workflow == workflow and run.status == "completed")


def past_of(charges: Iterable[int]) -> PastRuns:
    """Return what completed runs were charged, from the nanocredits of each."""
    charged = sorted(charges)
    if not charged:
        return PastRuns(count=0, median_nanocredits=None, highest_nanocredits=None)
    return PastRuns(
        count=len(charged), median_nanocredits=charged[(len(charged) - 1) // 2], highest_nanocredits=charged[-1]
    )
