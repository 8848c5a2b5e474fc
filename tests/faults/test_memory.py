"""What verifying takes does not grow with the ledger: the size of the process is bounded, whatever the time."""

from __future__ import annotations

import pytest

from tests.support.fixtures import address, give_back
from tests.support.large import build, measured

# One account in a thousand events; then all of them in one account, which keeps some marks for each transfer and run.
SPREAD, ONE = 1000, 1_000_000


@pytest.fixture(params=["sqlite", "postgres"])
def url(request, tmp_path):
    """The address of an empty ledger, that of the tests' own server where it is on one."""
    yield address(request.param, tmp_path)
    give_back(tmp_path)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A ledger of ten thousand events in a file."""
    url = f"sqlite:///{tmp_path_factory.mktemp('small')}/callfare.db"
    build(url, 10_000, 10)
    return url


def test_verifying_ten_thousand_events_takes_a_few_megabytes(small):
    found = measured(small)

    print(found)
    assert (found["is_clean"], found["events"]) == (True, 10_000)
    assert found["grown_kb"] < 10_000


def test_a_verification_that_keeps_what_it_reads_would_be_noticed(small):
    assert measured(small, "all at once")["grown_kb"] > 10_000


@pytest.mark.all
@pytest.mark.parametrize("events_per_account", [SPREAD, ONE])
def test_verifying_a_hundred_thousand_events_takes_no_more(url, events_per_account):
    build(url, 100_000, max(1, 100_000 // events_per_account))

    found = measured(url)

    print(found)
    assert (found["is_clean"], found["events"]) == (True, 100_000)
    assert found["grown_kb"] < 10_000
