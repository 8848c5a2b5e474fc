"""What a test has the API do wrong: errors before or after the work, late answers, cut connections, too many requests.

Whether the work was done is the point: `before` refuses it, `after` does it and loses the answer, so that the same
idempotency key later finds the true one, and `kept` does it and keeps the error as the key's answer.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any, Literal

When = Literal["before", "after", "kept"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What goes wrong with the next requests that match, `times` times.

    method and path: which requests, as patterns. status: what is answered; 0 cuts the connection instead.
    late_s: how long the answer is kept back at most, with the key in use meanwhile: until the faults are cleared.
    Status None then leaves it as it is.
    retry: what `Stripe-Should-Retry` says, nothing when None. code: the error's code.
    """

    method: str = "*"
    path: str = "*"
    times: int = 1
    when: When = "before"
    status: int | None = 500
    late_s: float = 0
    retry: bool | None = None
    code: str | None = None

    def error(self) -> dict[str, Any]:
        """Return the body that goes with the status."""
        if self.status == 429:  # noqa: PLR2004  # the status of too many requests
            told = {"type": "invalid_request_error", "code": self.code or "rate_limit", "message": "Too many requests."}
        else:
            told = {"type": "api_error", "message": "An unknown error occurred. (A fault of the stand-in's.)"}
            told |= {"code": self.code} if self.code else {}
        return {"error": told}


class Faults:
    """The faults that wait for their requests."""

    def __init__(self) -> None:
        self.waiting: list[Fault] = []
        self._cleared = asyncio.Event()

    def clear(self) -> None:
        """Have nothing more go wrong, and let go what is kept back."""
        self.waiting.clear()
        self._cleared.set()
        self._cleared = asyncio.Event()

    async def keep_back(self, seconds: float) -> None:
        """Return after so many seconds, or when the faults are cleared."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._cleared.wait(), seconds)

    def take(self, method: str, path: str) -> Fault | None:
        """Return the first fault that matches a request, and count it."""
        for place, fault in enumerate(self.waiting):
            if fnmatchcase(method, fault.method) and fnmatchcase(path, fault.path):
                left = replace(fault, times=fault.times - 1)
                self.waiting[place : place + 1] = [left] if left.times else []
                return fault
        return None
