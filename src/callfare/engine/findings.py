"""What a doctor finds: one thing that was looked at, with its figures and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at. `figures` are the numbers in the message, exact; `next_step` is None when ok."""

    check: str
    status: Status
    message: str
    next_step: str | None = None
    figures: Mapping[str, Any] = field(default_factory=dict)
