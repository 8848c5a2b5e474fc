"""Names that others gave to users, workflows, models and runs, as they may stand in a text that an assistant reads."""

from __future__ import annotations

import re

_PLAIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._:@+-]|/(?!/)){0,79}")
_SHOWN_MAX = 80


def named(name: str) -> str:
    """Return a name as it is when it is a plain one, else as code on one line, cut to 80 characters.

    So it neither breaks a line nor draws a link, a picture or a tag, and nothing of it is invisible.
    """
    if _PLAIN.fullmatch(name):
        return name
    shown = name if len(name) <= _SHOWN_MAX else f"{name[:_SHOWN_MAX]}…"
    clean = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in shown)
    return f"`{clean.replace('`', chr(39))}`"
