"""Calls one function of a module with text arguments: what `tests.support.processes` starts."""

from __future__ import annotations

import importlib
import sys

if __name__ == "__main__":
    _, module, function, *arguments = sys.argv
    getattr(importlib.import_module(module), function)(*arguments)
