"""What every test shares: `--all` adds the long tests, `--seed` repeats chance, and under CI a skip fails the run."""

from __future__ import annotations

import gc
import os
import signal

import pytest

from tests.support import seeds
from tests.support.patience import be_patient


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="also run the tests marked `all`")
    parser.addoption("--fault-rounds", type=int, default=1, help="how many times their usual effort faults get")
    parser.addoption("--live-sandbox", action="store_true", help="ask Stripe's sandbox too; see tests/fake_stripe")
    parser.addoption("--seed", type=int, help="the chance of this run; by default always the same, or new with --all")


def pytest_configure(config: pytest.Config) -> None:
    seeds.choose(config.getoption("--seed"), hunts=config.getoption("--all"))
    config.option.seed = seeds.chosen  # for the processes that share the tests of this run
    # What a shell starts in the background ignores Ctrl-C, and so would every process that a test interrupts.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header(config: pytest.Config) -> list[str]:
    is_asked = config.getoption("--live-sandbox")
    return [
        f"chance: --seed={seeds.chosen} --fault-rounds={config.getoption('--fault-rounds')}",
        f"Stripe's sandbox: {'asked too' if is_asked else 'not asked; its stand-in only (--live-sandbox)'}",
    ]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--all"):
        return
    long = [item for item in items if item.get_closest_marker("all")]
    items[:] = [item for item in items if not item.get_closest_marker("all")]
    config.hook.pytest_deselected(items=long)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Leave all tests and what they import out of every later search for garbage, of which many tests ask for one."""
    be_patient()
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    return _skips_fail_under_ci((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    return _skips_fail_under_ci((yield))


def _skips_fail_under_ci(report):
    """Nobody reads the skips of a CI run, so there each is a failure that shows its reason; an xfail is no skip."""
    if os.environ.get("CI") == "true" and report.skipped and not hasattr(report, "wasxfail"):
        _, _, reason = report.longrepr
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI does not accept: {reason}"
    return report


@pytest.fixture
def seed() -> int:
    """What all chance of this run follows from; the head of the run's output says it."""
    return seeds.chosen
