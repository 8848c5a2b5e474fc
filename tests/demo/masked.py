"""The demo's JSON without what differs from run to run: ids, addresses, the ledger's place and the SDK's version.

To write the golden file anew: ./run demo --once --json | .venv/bin/python -m tests.demo.masked > tests/demo/once.jsonl
"""

from __future__ import annotations

import json
import re
import sys

_DIFFERS = {"ledger", "stand_in", "sdk", "charge"}
_MADE_ID = re.compile(r"run_[0-9a-z]{26}")
_LEDGER = re.compile(r"--db \S+ ")


def masked(lines: list[str]) -> list[str]:
    return [json.dumps(_mask(json.loads(line)), ensure_ascii=False) for line in lines]


def _mask(event: dict[str, object]) -> dict[str, object]:
    return {
        name: "…" if name in _DIFFERS else _same_words(value) if isinstance(value, str) else value
        for name, value in event.items()
    }


def _same_words(text: str) -> str:
    return _LEDGER.sub("--db … ", _MADE_ID.sub("run_…", text))


if __name__ == "__main__":
    print("\n".join(masked(sys.stdin.read().splitlines())))
