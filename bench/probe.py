"""The limits of this machine, measured beside whatever is compared with them."""

from __future__ import annotations

import os
import time
from pathlib import Path
from statistics import median


def fdatasync_s(folder: Path, count: int = 200) -> float:
    """Return the median time of writing 8 KiB and waiting until the disk has it."""
    block = b"\0" * 8192
    times = []
    descriptor = os.open(folder / "probe", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        for number in range(count):
            start = time.perf_counter()
            os.pwrite(descriptor, block, (number % 64) * len(block))
            os.fdatasync(descriptor)
            times.append(time.perf_counter() - start)
    finally:
        os.close(descriptor)
    return median(times)
