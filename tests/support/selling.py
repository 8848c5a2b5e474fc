"""The product's own server in a process of its own, as `callfare serve --fake-stripe` starts it, for tests that buy."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import httpx2

from callfare.facade import open_engine
from callfare.ledger.rows import Row
from tests.support.books import Books
from tests.support.fake_stripe import FakeStripe
from tests.support.processes import environment

API = "/api/billing"
PACKAGES = """
[[package]]
id = "credits_2000"
name = "Creator"
credits = 2000
price = "18.00"

[[plan]]
id = "plan_creator"
name = "Creator monthly"
credits = 300
price = "9.00"
"""
_STOP_S_MAX = 60


@dataclass
class Seller:
    """A running server that sells, its ledger, and the stand-in beside it."""

    folder: Path
    process: subprocess.Popen[str]
    url: str
    client: httpx2.Client
    fake: FakeStripe = field(init=False)

    def __post_init__(self) -> None:
        parts = urlsplit(self.checkout("nobody", "credits_2000"))
        self.fake = FakeStripe(f"{parts.scheme}://{parts.netloc}", self.process)

    @property
    def database(self) -> str:
        """The ledger's address."""
        return f"sqlite:///{self.folder}/callfare.db"

    def checkout(self, user: str, package: str = "credits_2000") -> str:
        """Return the address at which a user pays."""
        return self._address("checkout", userId=user, email=f"{user}@example.com", packageId=package)

    def portal(self, user: str) -> str:
        """Return the address of a user's portal."""
        return self._address("portal", userId=user, email=f"{user}@example.com")

    def _address(self, route: str, **body: str) -> str:
        answer = self.client.post(f"{API}/{route}", json=body)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["url"])

    def available(self, user: str) -> str:
        """Return what a user may spend, asked for over HTTP."""
        answer = self.client.get(f"{API}/balance", params={"userId": user})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["availableCredits"])

    def rows(self, table: type[Row]) -> list[Any]:
        """Return the rows of a table, read from the ledger beside the server."""
        engine = open_engine(self.database, (), seed_prices=True, markup=1, require_user=False, clock=None)
        try:
            return Books(engine.store, engine.clock).rows(table)
        finally:
            engine.close()

    def verify(self) -> subprocess.CompletedProcess[str]:
        """Return how `callfare verify` ended, beside the running server."""
        command = [sys.executable, "-m", "callfare", "--db", self.database, "verify"]
        return subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=120, check=False)


@contextmanager
def selling(folder: Path, *, packages: str | None = PACKAGES) -> Iterator[Seller]:
    """Yield a server on a ledger of its own in a folder, stopped by its pid. packages: what it sells, or the seed's."""
    file = folder / "packages.toml"
    if packages is not None:
        file.write_text(packages)
    process = subprocess.Popen(
        [sys.executable, "-m", "callfare", "serve", "--port", "0", "--fake-stripe", "--json"],
        cwd=folder,
        env=environment() | {"CALLFARE_PACKAGES_FILE": "" if packages is None else str(file)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        told = json.loads(document(process.stdout))
        key = Path(told["key_file"]).read_text(encoding="ascii").strip()
        headers = {"Authorization": f"Bearer {key}"}
        with httpx2.Client(base_url=told["url"], headers=headers, timeout=60) as client:
            seller = Seller(folder, process, told["url"], client)
            with seller.fake.http:
                yield seller
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(_STOP_S_MAX)
        if process.stdout is not None:
            process.stdout.close()


def document(stream: IO[str]) -> str:
    """Return the first JSON document that a process says."""
    lines = []
    for line in stream:
        lines.append(line)
        if line.rstrip() == "}":
            break
    return "".join(lines)
