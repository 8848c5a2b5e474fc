"""What capture adds to a call beside what the usual instrumentations add, in an environment made for them.

`bench/peers.py` measures, in one process, on the same calls of the same SDK. The environment is made once, beside the
others, and needs the package registry the first time. Bars: at most half of the best of them for a plain call, at most
two microseconds for an event of a stream.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

from bench.rounds import Stage
from bench.table import Figure, Row, at_most

_ROOT = Path(__file__).parents[1]
_ENVIRONMENT = _ROOT / ".venv-peers"
_PEERS = (
    "openai>=3,<4",
    "httpx2>=2,<3",
    "opentelemetry-sdk>=1.38,<2",
    "opentelemetry-instrumentation-genai-openai==1.3b0",
    "openinference-instrumentation-openai==0.1.66",
    "langfuse==5.0.4",
)
_BATCHES = 24


async def rows(stage: Stage) -> list[Row]:
    """Return the rows of what is added to a plain call and to an event of a stream."""
    found = await asyncio.to_thread(_measured, stage.size.rounds, stage.size.of(_BATCHES, 4))
    rows: list[Row] = []
    for work, bar in (("plain", at_most(0.5)), ("streamed", at_most(2, unit=" µs"))):
        told = found[work]
        names = [name for name in told[0] if name not in ("bare", "callfare")]
        best = min(names, key=lambda name: sorted(one[name] for one in told)[len(told) // 2])
        rows.append(
            Row(
                work=f"added by capture to {'a plain call' if work == 'plain' else 'an event of a stream'}",
                figure=Figure(" µs", tuple(one["callfare"] for one in told)),
                against=f"added by {best}",
                peer=Figure(" µs", tuple(max(one[best], 0.1) for one in told)),
                bar=bar,
                series={name: [one[name] for one in told] for name in told[0]},
            )
        )
        rows += [
            Row(work=f"  {name}, {work}", figure=Figure(" µs", tuple(one[name] for one in told))) for name in told[0]
        ]
    return rows


def _measured(rounds: int, batches: int) -> dict[str, list[dict[str, float]]]:
    python = _ENVIRONMENT / "bin" / "python"
    stamp = _ENVIRONMENT / ".stamp"
    if not stamp.exists() or stamp.read_text() != repr(_PEERS):
        print(f"making {_ENVIRONMENT.name} with what is measured beside", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", _ENVIRONMENT], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "-e", _ROOT, *_PEERS], check=True)
        stamp.write_text(repr(_PEERS))
    command = [python, "-m", "bench.peers", str(rounds), str(batches)]
    # What it says of its progress goes to whoever waits for it.
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=_ROOT).stdout
    found: dict[str, list[dict[str, float]]] = json.loads(told)
    return found
