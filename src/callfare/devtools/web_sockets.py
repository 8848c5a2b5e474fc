"""The server's end of a web socket (RFC 6455), as stand-ins need it: text messages, whole; pings answered.

Refuses frames without a mask, as the standard has it, and messages above 32 MiB.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator

from callfare.devtools.forms import Json

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TEXT, _CLOSE, _PING, _PONG = 1, 8, 9, 10
_SHORT, _LONG = 126, 127
_MESSAGE_BYTES_MAX = 32 * 1024 * 1024


def accept_key(asked: str) -> str:
    """Return what a server answers to the key in a client's handshake."""
    # The standard names this digest; nothing is kept secret by it.
    return base64.b64encode(hashlib.sha1(asked.encode() + _GUID, usedforsecurity=False).digest()).decode()


class WebSocket:
    """One connection, after its handshake.

    read: returns so many bytes, fewer at the end.
    write: sends bytes.
    """

    def __init__(self, read: Callable[[int], bytes], write: Callable[[bytes], object]) -> None:
        self._read = read
        self._write = write
        self._is_closed = False

    def messages(self) -> Iterator[str]:
        """Yield the messages that come, until either side closes."""
        text = bytearray()
        while not self._is_closed and (frame := self._frame()) is not None:
            is_final, kind, payload = frame
            if kind == _CLOSE:
                self._end(payload)
            elif kind == _PING:
                self._send(_PONG, payload)
            elif kind != _PONG:
                text += payload
                if len(text) > _MESSAGE_BYTES_MAX:
                    self.close(1009)
                elif is_final:
                    yield text.decode()
                    text.clear()

    def send(self, message: Json | str) -> None:
        """Send a message: JSON, or text as it is."""
        text = message if isinstance(message, str) else json.dumps(message)
        self._send(_TEXT, text.encode("utf-8", "surrogatepass"))

    def close(self, code: int = 1000) -> None:
        """Say that the session is over."""
        if not self._is_closed:
            self._end(code.to_bytes(2, "big"))

    def _end(self, payload: bytes) -> None:
        self._is_closed = True
        self._send(_CLOSE, payload)

    def _frame(self) -> tuple[bool, int, bytes] | None:
        head = self._read(2)
        if len(head) < 2 or not head[1] & 0x80:  # noqa: PLR2004 - the least a frame has
            return None
        length = head[1] & 0x7F
        if length >= _SHORT:
            length = int.from_bytes(self._read(2 if length == _SHORT else 8), "big")
        mask, masked = self._read(4), self._read(min(length, _MESSAGE_BYTES_MAX))
        if len(masked) < length:
            return None
        times = -(-length // 4)
        plain = int.from_bytes(masked.ljust(times * 4, b"\0"), "big") ^ int.from_bytes(mask * times, "big")
        return bool(head[0] & 0x80), head[0] & 0x0F, plain.to_bytes(times * 4, "big")[:length]

    def _send(self, kind: int, payload: bytes) -> None:
        size = len(payload)
        if size < _SHORT:
            head = bytes((0x80 | kind, size))
        elif size < 1 << 16:
            head = bytes((0x80 | kind, _SHORT)) + size.to_bytes(2, "big")
        else:
            head = bytes((0x80 | kind, _LONG)) + size.to_bytes(8, "big")
        self._write(head + payload)
