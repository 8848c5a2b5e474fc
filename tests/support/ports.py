"""Ports of the loopback address that stay a test's own while nobody listens there.

A port that was only looked up can be taken before its server begins, or while it is down: by another test's server, or
by any client's connection, even by one to that very port, which then talks to itself.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager


def is_refused(host: str, port: int) -> bool:
    """Tell whether nobody listens at a port any more."""
    try:
        socket.create_connection((host, port), timeout=60).close()
    except ConnectionRefusedError:
        return True
    return False


@contextmanager
def held_port() -> Iterator[int]:
    """Yield a port that only servers of this test can listen on. Whoever connects is refused while none does."""
    with socket.socket() as holder:
        # A server that sets this too, as all here do, may listen beside one that does not; nobody else gets the port.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        port: int = holder.getsockname()[1]
        yield port
