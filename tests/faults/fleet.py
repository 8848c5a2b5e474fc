"""A fleet of processes that write to one ledger at once, one that reads it, and whoever kills them."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from tests.faults import plants
from tests.faults.judge import Verdict, judge
from tests.faults.traffic import Traffic, read, write
from tests.support.processes import start


def fleet(options: str) -> None:
    """Run a whole fleet to its end; say how many writers were killed, and what any of them died of."""
    traffic = Traffic(**json.loads(options))
    if traffic.plant:
        plants.plant(traffic.plant)
    chance = random.Random(traffic.seed)
    reader = _fork(lambda: read(traffic))
    writers = {_fork(lambda number=number: write(traffic, number)): number for number in range(traffic.writers)}
    kills = failed = 0
    print("going")
    while writers:
        if kills < traffic.kills:
            time.sleep(chance.randrange(5, 35) / 1000)
            process = chance.choice(list(writers))
            os.kill(process, signal.SIGKILL)
            kills += 1
            if kills == traffic.kills:
                traffic.stop().touch()
        process, status = os.wait()
        if process == reader:
            # It may hear of the end before the last of the writers does.
            failed += status != 0
            reader = 0
            continue
        number = writers.pop(process)
        if os.WIFSIGNALED(status):
            writers[_fork(lambda number=number: write(traffic, number))] = number
        else:
            failed += os.WEXITSTATUS(status) != 0
    traffic.stop().touch()
    if reader:
        failed += os.waitpid(reader, 0)[1] != 0
    print(kills, failed)


def _fork(work: Callable[[], None]) -> int:
    process = os.fork()
    if process == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:  # noqa: BLE001 - whatever it is, the parent hears of it
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    return process


class Fleet:
    """A fleet in processes of its own; `end` tells it to stop, and judges what it left."""

    def __init__(self, traffic: Traffic) -> None:
        self.traffic = traffic
        Path(traffic.folder).mkdir(exist_ok=True)
        self.process = start("tests.faults.fleet", "fleet", json.dumps(asdict(traffic)))
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "going\n"

    def end(self, *, is_stopped: bool = True, timeout_s: int = 300) -> Verdict:
        """Wait until all writers have ended, at once where they are stopped; return the verdict."""
        if is_stopped:
            self.traffic.stop().touch()
        said, complaints = self.process.communicate(timeout=timeout_s)
        store = self.traffic.store()
        verdict = judge(self.traffic, store)
        store.close()
        verdict.kills, failed = map(int, said.split())
        if failed:
            verdict.faults.append(f"a process of the fleet ended in an error: {complaints[-2000:]}")
        print(f"--seed={self.traffic.seed}: {verdict}", *verdict.faults[:10], sep="\n")
        return verdict


def run(traffic: Traffic) -> Verdict:
    """Run a fleet until all is sent, and return the verdict."""
    return Fleet(traffic).end(is_stopped=False)
