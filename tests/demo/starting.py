"""How the demo is started in tests: as a process of its own, without anything that this one was given."""

from __future__ import annotations

import os
import sys

DEMO = (sys.executable, "-m", "callfare.devtools.demo")
# As on anybody's machine: no key, no address of a provider, nothing that says how to print.
LEFT_OUT = ("OPENAI_", "CALLFARE_", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "PYTHONWARNINGS")


def bare_environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(LEFT_OUT)}
    return kept | {"PYTHONIOENCODING": "utf-8"} | more
