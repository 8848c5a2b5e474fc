"""The stand-in for Stripe in tests: a process of its own, stopped by its pid, and a client for its control routes.

with running_fake_stripe() as fake:
    client = fake.client()
    fake.act("pay_session", session=session.id, number="4242424242424242")
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from stripe import StripeClient

from tests.support.processes import ROOT, environment

_START_S_MAX = 60
# How long it waits for a webhook of a test to answer: Stripe's own ten seconds say how busy this machine is.
_PATIENCE_S = 60
TEST_KEY = "sk_test_51FakeStripe0000000000"


@dataclass
class FakeStripe:
    """A running stand-in."""

    base_url: str
    process: subprocess.Popen[str]
    http: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=60, trust_env=False))

    def client(self, key: str = TEST_KEY, *, retries: int = 0) -> StripeClient:
        """Return a client of the real SDK that talks to it."""
        return StripeClient(key, base_addresses={"api": self.base_url}, max_network_retries=retries)

    def get(self, path: str, **query: str) -> Any:
        """Return what a control route shows."""
        return self._answered(self.http.get(f"{self.base_url}/_control/{path}", params=query))

    def post(self, path: str, told: dict[str, Any]) -> Any:
        """Return what a control route does."""
        return self._answered(self.http.post(f"{self.base_url}/_control/{path}", json=told))

    @staticmethod
    def _answered(answer: httpx.Response) -> Any:
        told = answer.json()
        if answer.status_code != 200:
            raise FakeStripeRefused(told["error"])
        return told

    def reset(self, seed: str | None = None) -> None:
        """Make it as new."""
        self.post("reset", {"seed": seed} if seed else {})
        self.post("state", {"timeout_s": _PATIENCE_S})

    def act(self, name: str, **told: Any) -> dict[str, Any]:
        """Have a payer, a bank or the dashboard do something; see `acts`."""
        acted: dict[str, Any] = self.post(f"acts/{name}", told)
        return acted

    def settings(self, **told: Any) -> None:
        """Turn what a test may turn."""
        self.post("state", {"settings": told})

    def advance(self, seconds: int) -> int:
        """Make it later, do all that is due on the way, and return the new second."""
        now_s: int = self.post("clock", {"advance_s": seconds})["now_s"]
        return now_s

    def fault(self, **told: Any) -> None:
        """Let something go wrong with the next requests; see `faults`."""
        self.post("faults", told)

    def spoil(self, **told: Any) -> None:
        """Let something go wrong with the next deliveries; see `deliveries`."""
        self.post("deliveries/spoil", told)

    def settled(self) -> None:
        """Return when all that is due has been delivered or has failed for now."""
        self.post("deliveries/idle", {})

    def deliveries(self, **wanted: str) -> list[dict[str, Any]]:
        """Return every delivery with its attempts, the oldest first."""
        found: list[dict[str, Any]] = self.get("deliveries", **wanted)
        return found

    def events(self, type: str | None = None) -> list[dict[str, Any]]:
        """Return every event, the oldest first."""
        found: list[dict[str, Any]] = self.get("events", **({"type": type} if type else {}))
        return found

    def event_types(self) -> list[str]:
        """Return the types of all events, the oldest first."""
        return [each["type"] for each in self.events()]

    def violations(self) -> list[str]:
        """Return what the stand-in said that the SDK's types do not allow."""
        found: list[str] = self.get("violations")["violations"]
        return found


class FakeStripeRefused(Exception):
    """A control route that refused: `error` is what it said."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(f"{error.get('code')}: {error.get('message')}")
        self.error = error


@contextmanager
def running_fake_stripe(*arguments: str) -> Iterator[FakeStripe]:
    """Yield a stand-in in a process of its own, on a free port, and stop it by its pid."""
    process = subprocess.Popen(
        [sys.executable, "-m", "callfare.devtools.fake_stripe", "--port", "0", "--while-read", *arguments],
        # It ends with this process, whatever ends that.
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
        cwd=ROOT,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        said = process.stdout.readline()
        assert "listens at " in said, f"it did not start: {said!r}"
        fake = FakeStripe(said.split("listens at ")[1].split(";")[0], process)
        with fake.http:
            yield fake
    finally:
        process.terminate()
        process.wait(_START_S_MAX)
        for stream in (process.stdin, process.stdout):
            stream.close()
