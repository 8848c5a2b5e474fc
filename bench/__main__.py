"""Runs every benchmark: `./run bench`. Bounded to about a minute; compare ratios, not figures of different runs."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from benchmarks import prices, writes
from benchmarks.table import text_of


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        rows = [*prices.rows(), *writes.rows(Path(folder))]
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; every ledger verified clean")
    print(text_of(rows))


if __name__ == "__main__":
    main()
