"""A user whom the ledger never heard of: zeros like anybody's, and a word beside them, for it may be a slip."""

from __future__ import annotations

import pytest

from callfare import Callfare

pytestmark = pytest.mark.usefixtures("written")


@pytest.mark.parametrize("user", ["alise", "ALICE", "alice\u00a0b"])
def test_the_balance_of_somebody_the_ledger_never_heard_of_says_so_beside_it(cli, user):
    result = cli("balance", user)

    assert "available  0.00 credits" in result.stdout
    shown = user.replace("\u00a0", "\\xa0")
    assert result.stderr == (
        f"nothing is known of {shown}: no credit, no run and no call; upper and lower case differ\n"
    )
    assert "nothing is known" not in cli("balance", user, "--json").stderr


def test_somebody_who_has_nothing_left_or_was_never_charged_is_known(cli):
    with Callfare("sqlite:///callfare.db") as fare:
        fare.record("model-9", {"input_tokens": 7}, user="unpriced")
        fare.grant("spent", "0.039", key="g")
        fare.record("gpt-5-mini", {"input_tokens": 1200, "output_tokens": 350}, user="spent")
        fare.grant("only-run", 5, key="g")

    for user in ("alice", "bob", "unpriced", "spent", "only-run"):
        assert cli("balance", user).stderr == "", user
