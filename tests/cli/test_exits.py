"""Exit codes: one table, and every error has a place in it."""

from __future__ import annotations

import inspect

import pytest

from callfare import errors
from callfare.cli import exits
from callfare.errors import CallfareError

CODES = {
    "insufficient_credit": 3,
    "unpriced_model": 3,
    "user_required": 3,
    "refused": 3,
    "ledger_unavailable": 6,
    "ledger_incomplete": 6,
    "denied": 3,
    "unauthorized": 3,
    "forbidden": 3,
    "too_many_attempts": 3,
    "grant_cap_reached": 3,
    "host_refused": 3,
    "origin_refused": 3,
    "proxy_required": 3,
    "deadline_exceeded": 6,
    "overloaded": 6,
    "body_too_large": 2,
    "key_required": 2,
    "unsupported_media": 2,
    "route_not_found": 4,
    "method_not_allowed": 4,
    "payments_not_configured": 7,
    "payments_unavailable": 6,
    "invalid_input": 2,
    "invalid_amount": 2,
    "amount_out_of_range": 2,
    "invalid_quantity": 2,
    "invalid_time": 2,
    "invalid_user": 2,
    "invalid_metadata": 2,
    "unknown_meter": 2,
    "unknown_workflow": 2,
    "missing_attribute": 2,
    "run_ambiguous": 2,
    "backup_invalid": 2,
    "not_found": 4,
    "run_not_found": 4,
    "charge_not_found": 4,
    "ledger_not_found": 4,
    "conflict": 5,
    "key_conflict": 5,
    "run_closed": 5,
    "job_settled": 5,
    "ledger_not_empty": 5,
    "misconfigured": 7,
    "price_book_invalid": 7,
    "schema_newer": 7,
    "schema_older": 7,
    "only_local": 7,
    "ledger_corrupt": 1,
    "error": 70,
}
ERRORS = [
    kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, CallfareError)
]  # fmt: skip


def raised(kind):
    """An error of a kind, whatever its constructor asks for."""
    error = kind.__new__(kind)
    error.message = ""
    return error


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.code)
def test_every_error_of_the_tree_has_its_exit_code(kind):
    assert exits.exit_code_of(raised(kind)) == CODES[kind.code]


def test_no_code_stands_here_that_no_error_has():
    assert set(CODES) == {kind.code for kind in ERRORS}


def test_every_exit_code_is_told_in_help(cli):
    said = cli.text("--help")

    for code, meaning in exits.MEANINGS.items():
        assert f"{code:>3}  {meaning}\n" in said


def test_every_exit_code_of_an_error_has_a_meaning():
    assert set(CODES.values()) <= set(exits.MEANINGS)
