"""What the server says of itself: a JSON object on a line of standard error for each thing that happens.

Never a credential, a body or a query: who asked is told by the id of their key, what by the name of its route.
"""

from __future__ import annotations

import json
import logging
import sys
from typing import TextIO

from callfare.clock import SystemClock, moment_of

_FIELDS = ("request_id", "method", "route", "status", "ms", "who")
# They say at INFO what is said here in other words, or what nobody asked for.
_QUIET = ("uvicorn.access", "uvicorn.asgi", "mcp")


class JsonLines(logging.Formatter):
    """Writes a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        facts: dict[str, object] = {
            "at": moment_of(SystemClock().now_us()).isoformat().replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "from": record.name,
            "what": record.getMessage(),
        }
        facts |= {name: getattr(record, name) for name in _FIELDS if getattr(record, name, None) is not None}
        if record.exc_info:
            facts["trace"] = self.formatException(record.exc_info)
        return json.dumps(facts, ensure_ascii=True)


def speak(stream: TextIO | None = None, level: int = logging.INFO) -> None:
    """Have callfare and its server write to standard error from now on, as lines of JSON."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines())
    for name in ("callfare", "uvicorn", "mcp"):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(level)
        logger.propagate = False
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
