"""Calls one function of a module with text arguments: what `tests.support.processes` starts."""

from __future__ import annotations

import importlib
import sys

from tests.support.patience import be_patient

if __name__ == "__main__":
    _, module, function, *arguments = sys.argv
    called = getattr(importlib.import_module(module), function)
    be_patient()
    called(*arguments)
