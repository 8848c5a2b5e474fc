"""What a truth is made of: a reply, the quantities it tells, and what they cost, line by line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from typing import Any

NOON = "2026-11-22T12:00:00+00:00"


@dataclass(frozen=True, kw_only=True)
class Case:
    """A reply in each form it comes in, plain and as the last event of its stream.

    lines: meter, quantity, dollars and for how many: what is billed, by hand.
    totals: what the provider itself says in all, by root of the tree of meters; empty where it says nothing.
    reader: how the provider counts; None for the shapes of OpenAI's API. fixed: what the request fixed.
    """

    name: str
    provider: str
    operation: str
    model: str
    replies: Sequence[object]
    lines: Sequence[tuple[str, int | Fraction, str, int]]
    totals: Mapping[str, int]
    reader: Any = None
    fixed: Mapping[str, int] = field(default_factory=dict)
    asked: Mapping[str, str] = field(default_factory=dict)
    at: str = NOON

    @property
    def cost_usd(self) -> Fraction:
        """What it costs, exactly."""
        return sum((Fraction(usd) * quantity / per for _, quantity, usd, per in self.lines), Fraction(0))

    @property
    def at_us(self) -> int:
        """When it was made."""
        return int(datetime.fromisoformat(self.at).timestamp()) * 1_000_000
