"""Exit codes: what a script learns from a command without reading its words. One table, for help, docs and code."""

from __future__ import annotations

from callfare.errors import (
    CallfareError,
    Conflict,
    Denied,
    InvalidInput,
    LedgerCorrupt,
    LedgerUnavailable,
    Misconfigured,
    NotFound,
    PaymentsUnavailable,
    Refused,
)

OK = 0
FAULTS = 1
BAD_INPUT = 2
REFUSED = 3
MISSING = 4
CONFLICT = 5
UNAVAILABLE = 6
MISCONFIGURED = 7
OUR_FAULT = 70
OUTPUT_LOST = 74
INTERRUPTED = 130
READER_GONE = 141

MEANINGS = {
    OK: "done",
    FAULTS: "the ledger has faults: verify or doctor found some, or a command met one",
    BAD_INPUT: "the input cannot be accepted",
    REFUSED: "refused: insufficient credit, no price, no user, or no right to it",
    MISSING: "what was named is not there",
    CONFLICT: "contradicts what is already recorded",
    UNAVAILABLE: "the ledger did not answer; repeat with the same key",
    MISCONFIGURED: "the installation or its files must be changed first",
    OUR_FAULT: "a fault of callfare itself",
    OUTPUT_LOST: "the answer could not be written, such as to a full disk; what the command changed stands",
    INTERRUPTED: "interrupted",
    READER_GONE: "the reader of the output went away",
}

# A class stands above those it derives from.
_OF_ERRORS: tuple[tuple[type[CallfareError], int], ...] = (
    (LedgerCorrupt, FAULTS),
    (LedgerUnavailable, UNAVAILABLE),
    (PaymentsUnavailable, UNAVAILABLE),
    (InvalidInput, BAD_INPUT),
    (Refused, REFUSED),
    (Denied, REFUSED),
    (NotFound, MISSING),
    (Conflict, CONFLICT),
    (Misconfigured, MISCONFIGURED),
    (CallfareError, OUR_FAULT),
)


def exit_code_of(error: CallfareError) -> int:
    """Return the exit code of a command that ended with an error."""
    return next(code for kind, code in _OF_ERRORS if isinstance(error, kind))
