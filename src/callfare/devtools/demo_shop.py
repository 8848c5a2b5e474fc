"""Where the demo buys its credits: a server of callfare's, and beside it the stand-in for Stripe; two more processes.

Without the packages that a server needs, nothing is bought, and the demo gives its credits away.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from threading import Event
from typing import Any
from urllib.parse import urlsplit

from callfare.callfare import Callfare
from callfare.errors import KeyConflict, LedgerUnavailable, Misconfigured
from callfare.money import Credits

_NEEDED = ("fastapi", "stripe", "uvicorn")
_LOOK_S = 0.02
_LOOKS_MAX = 1500
_OK = 200
_CONFLICT = 409


class Shop:
    """A server that sells, and what a buyer does there."""

    def __init__(self, url: str, key: str, key_file: str | None) -> None:
        self.url = url
        self.key_file = key_file
        self._key = key

    def checkout(self, user: str, package_id: str, *, key: str) -> str:
        """Return the address at which a package is paid.

        Raises KeyConflict.
        """
        body = {"userId": user, "email": f"{user}@example.com", "packageId": package_id}
        headers = {"Authorization": f"Bearer {self._key}", "Idempotency-Key": key}
        status, told = _asked(self.url, "/api/billing/checkout", body, headers)
        if status == _CONFLICT:
            raise KeyConflict(key)
        if status != _OK:
            raise Misconfigured(f"the demo's server refused a checkout: {told}")
        return str(told["url"])

    @staticmethod
    def pay(address: str) -> None:
        """Pay at an address, with a card that is always taken."""
        parts = urlsplit(address)
        session = parts.path.rpartition("/")[2]
        status, told = _asked(f"{parts.scheme}://{parts.netloc}", "/_control/acts/pay_session", {"session": session})
        if status != _OK:
            raise Misconfigured(f"the stand-in for Stripe refused a payment: {told}")

    @staticmethod
    def wait_for(fare: Callfare, user: str, credits: Credits) -> Credits:
        """Return what a user has once the payment has been heard of.

        Raises LedgerUnavailable when that takes too long.
        """
        for _ in range(_LOOKS_MAX):
            available = fare.balance(user).available
            if available.nanocredits >= credits.nanocredits:
                return available
            Event().wait(_LOOK_S)
        raise LedgerUnavailable("the payment was not heard of in half a minute")


def can_sell() -> bool:
    """Tell whether the packages that a server needs are there."""
    return all(find_spec(name) is not None for name in _NEEDED)


@contextmanager
def open_shop(ledger: str) -> Iterator[Shop | None]:
    """Start a server on a ledger with a stand-in for Stripe beside it, and stop both when the block ends.

    None where it cannot sell, as without its packages, or where the ledger has a key already that is not told again.

    Raises Misconfigured when it does not start.
    """
    if not can_sell():
        yield None
        return
    words = ("serve", "--host", "127.0.0.1", "--port", "0", "--fake-stripe", "--json")
    # Its own addresses: what stands in a folder's `.env.local` is for another server.
    environment = os.environ | {"CALLFARE_DATABASE_URL": ledger, "CALLFARE_PUBLIC_URL": "", "PYTHONIOENCODING": "utf-8"}
    process = subprocess.Popen(  # noqa: S603 - our own module
        [sys.executable, "-m", "callfare.devtools.tied", *words],
        # Held as long as the demo lives: when that is killed, this end goes, and the server with it.
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
        env=environment,
        # Ctrl-C is for the demo, which then stops this one.
        start_new_session=True,
    )
    try:
        told = _first_answer(process)
        key = _first_key(told)
        yield Shop(told["url"], key, told.get("key_file")) if key is not None else None
    finally:
        process.terminate()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()


def _first_answer(process: subprocess.Popen[str]) -> dict[str, Any]:
    lines: list[str] = []
    for line in process.stdout or ():
        lines.append(line)
        if line.rstrip() == "}":
            found: dict[str, Any] = json.loads("".join(lines))
            return found
    raise Misconfigured("the demo's server did not start; `callfare serve --fake-stripe` says why")


def _first_key(told: dict[str, Any]) -> str | None:
    """Return the key that a server made at its first start, None of one that had its key before."""
    if told.get("key_file") is not None:
        return Path(told["key_file"]).read_text(encoding="ascii").strip()
    return told.get("key")


def _asked(
    url: str, path: str, body: dict[str, str], headers: dict[str, str] | None = None
) -> tuple[int, dict[str, Any]]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    try:
        all_headers = {"Content-Type": "application/json"} | (headers or {})
        connection.request("POST", path, json.dumps(body), all_headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()
