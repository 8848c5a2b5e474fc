"""Verification: everything recomputed from history, and the first row that is wrong named first."""

from callfare.ledger.verify.findings import Fault, Verification
from callfare.ledger.verify.walk import Scan, verify

__all__ = ["Fault", "Scan", "Verification", "verify"]
