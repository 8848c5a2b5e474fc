"""A proxy that cuts, between a client and a PostgreSQL server: where and when a test says."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

CUTS = ("before the request", "after the request", "before the answer", "in the answer")

# An answer that has begun is over when nothing more comes for so long, and one that does not begin never comes.
_SILENCE_S, _PATIENCE_S = 0.05, 60


class Cutter:
    """Passes connections on to a server; each write of a client asks `wish` what becomes of it.

    wish: gets the bytes of a request; returns "" or one of CUTS.
    """

    def __init__(self, port: int, wish: Callable[[bytes], str]) -> None:
        self._server_port = port
        self._wish = wish
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.cuts: list[str] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._server_port))
            except OSError:
                return
            for side in (client, server):
                side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pair = Pair(self, client, server)
            threading.Thread(target=pair.requests, daemon=True).start()
            threading.Thread(target=pair.answers, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def decide(self, request: bytes) -> str:
        """Return where to cut, if at all, and note it."""
        cut = self._wish(request)
        if cut:
            self.cuts.append(cut)
        return cut


class Pair:
    """One connection through the proxy."""

    def __init__(self, cutter: Cutter, client: socket.socket, server: socket.socket) -> None:
        self._cutter = cutter
        self._client = client
        self._server = server
        self._cut = ""
        self._has_answered = False

    def requests(self) -> None:
        """Pass on what the client says until it is cut off, or ends."""
        with suppress(OSError):
            while said := self._client.recv(1 << 16):
                self._cut = self._cut or self._cutter.decide(said)
                if self._cut == "before the request":
                    break
                self._server.sendall(said)
                if self._cut == "after the request":
                    self._end(self._client)
                    # The server reads what it was sent before it hears that nobody waits for it.
                    self._server.shutdown(socket.SHUT_WR)
                    return
        self._end(self._client)
        self._end(self._server)

    def answers(self) -> None:
        """Pass on what the server answers until it is to be cut."""
        with suppress(OSError):
            while said := self._heard():
                if self._cut == "in the answer":
                    self._client.sendall(said[: len(said) // 2])
                    break
                if not self._cut:
                    self._client.sendall(said)
                elif _is_whole(said):
                    break
            if self._cut == "before the answer":
                self._let_it_finish()
        self._end(self._client)
        self._end(self._server)

    def _heard(self) -> bytes:
        """Return what the server says next; nothing once it has been silent and the connection is to be cut."""
        self._server.settimeout(_SILENCE_S)
        waited_s = 0.0
        while True:
            try:
                said = self._server.recv(1 << 16)
            except TimeoutError:
                waited_s += _SILENCE_S
                # Whoever hung up waits for no answer; what else is cut, is cut where the server has answered.
                if self._cut and (self._has_answered or self._cut == "after the request" or waited_s > _PATIENCE_S):
                    return b""
            else:
                self._has_answered = bool(self._cut)
                return said

    def _let_it_finish(self) -> None:
        """Have the server do all that it was sent: hung up on while it is still at it, it may give that up."""
        self._server.shutdown(socket.SHUT_WR)
        self._server.settimeout(None)
        while self._server.recv(1 << 16):
            pass

    @staticmethod
    def _end(side: socket.socket) -> None:
        with suppress(OSError):
            side.shutdown(socket.SHUT_RDWR)
        side.close()


def _is_whole(answer: bytes) -> bool:
    """Tell whether the server has nothing more to say: it is ready for another request, or refused to encrypt."""
    return answer[-6:-1] == b"Z\x00\x00\x00\x05" or answer == b"N"


@contextmanager
def cutting(port: int, wish: Callable[[bytes], str]) -> Iterator[Cutter]:
    """Yield a proxy in front of a server's port."""
    cutter = Cutter(port, wish)
    try:
        yield cutter
    finally:
        cutter.close()
