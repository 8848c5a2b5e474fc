"""Time for a machine that is busy: deadlines of the product and of SDKs that no test is about are wide in every test.

What a test says of a deadline it says of one that it sets itself. Any other would only decide how busy the machine may
be: a request to a test's own server has taken ten seconds, with ten processes for each of its processors.

Imports nothing of callfare's at the top: some programs of tests do something before callfare is there.
"""

from __future__ import annotations

import sys
from importlib import import_module

PATIENCE_S = 120
# What the product reads each time, by the modules that have it.
_OURS = (
    ("callfare.remote.connections", "_CONNECT_S"),
    ("callfare.remote.store", "_KEPT_WITHIN_S"),
    ("callfare.server.heads", "HEAD_S"),
    ("callfare.server.outer", "DEADLINE_S"),
)
# httpx gives each step five seconds, and the SDKs that Stainless makes a connection: each reads one object for all.
_THEIRS = {"_config": "DEFAULT_TIMEOUT_CONFIG", "_constants": "DEFAULT_TIMEOUT"}


def be_patient() -> None:
    """Widen them in this process, as far as what has them is imported by now. May be called again."""
    there = sys.modules
    if "callfare.facade" in there:
        opening = import_module("callfare.remote.opening")
        opening.check_deadline = _wide
    for module, name in _OURS:
        if module in there:
            setattr(there[module], name, PATIENCE_S)
    if "callfare.store.sqlite_file" in there:
        there["callfare.store.sqlite_file"]._BUSY_TIMEOUT_MS = PATIENCE_S * 1000
    if "callfare.store.postgres" in there:
        there["callfare.store.postgres"].PostgresStore.__init__.__kwdefaults__["deadline_s"] = PATIENCE_S
    for path, module in list(there.items()):
        constant = _THEIRS.get(path.rpartition(".")[2])
        timeout = getattr(module, constant, None) if constant else None
        for step in ("connect", "read", "write", "pool"):
            if hasattr(timeout, step):
                setattr(timeout, step, max(PATIENCE_S, getattr(timeout, step)))


def _wide(deadline_s: object) -> float:
    """Return a deadline that a test has set as it is, and a wide one in place of that of whoever set none."""
    if deadline_s == import_module("callfare.facade").DEADLINE_S:
        return PATIENCE_S
    return import_module("callfare.remote.engine").check_deadline(deadline_s)
