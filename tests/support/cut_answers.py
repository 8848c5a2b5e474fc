"""A proxy that lets so many bytes of an answer through, connection by connection, and then hangs up."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Scissors:
    """Passes connections on to a server. lengths: how much of each next connection's answers comes; then all of it."""

    def __init__(self, port: int, lengths: list[int]) -> None:
        self._server_port = port
        self.lengths = lengths
        self.asked: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._server_port))
                left = self.lengths.pop(0) if self.lengths else 1 << 62
                threading.Thread(target=self._ask, args=(client, server), daemon=True).start()
                threading.Thread(target=self._answer, args=(client, server, left), daemon=True).start()

    def _ask(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while said := client.recv(1 << 16):
                self.asked.append(said)
                server.sendall(said)
        with suppress(OSError):
            server.shutdown(socket.SHUT_WR)

    @staticmethod
    def _answer(client: socket.socket, server: socket.socket, left: int) -> None:
        with suppress(OSError):
            while left > 0 and (said := server.recv(1 << 16)):
                client.sendall(said[:left])
                left -= len(said)
        for side in (client, server):
            with suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)
            side.close()

    def close(self) -> None:
        """Take no more connections."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@contextmanager
def scissors(port: int, lengths: list[int]) -> Iterator[Scissors]:
    """Yield such a proxy in front of a server's port."""
    found = Scissors(port, lengths)
    try:
        yield found
    finally:
        found.close()
