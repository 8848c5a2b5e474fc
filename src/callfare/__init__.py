"""callfare meters, prices and charges every AI call."""

from callfare import errors
from callfare.aio import AsyncCallfare, AsyncRun
from callfare.answers import (
    Backup,
    Balance,
    Call,
    Charge,
    Estimate,
    EstimatePart,
    Explanation,
    GrantReceipt,
    HoldReceipt,
    Line,
    Movement,
    Package,
    Page,
    Price,
    Repriced,
    Restored,
    RunReceipt,
    RunSummary,
    Share,
    Transaction,
    UsageReport,
    plain,
)
from callfare.callfare import Callfare, Run
from callfare.context import CarryingExecutor, carry
from callfare.engine.engine import UnattributedWarning
from callfare.errors import CallfareError, InsufficientCredit, LedgerUnavailable, UnpricedModel
from callfare.ledger.verify import Fault, Verification
from callfare.money import Credits, Usd

__all__ = [
    "AsyncCallfare",
    "AsyncRun",
    "Backup",
    "Balance",
    "Call",
    "Callfare",
    "CallfareError",
    "CarryingExecutor",
    "Charge",
    "Credits",
    "Estimate",
    "EstimatePart",
    "Explanation",
    "Fault",
    "GrantReceipt",
    "HoldReceipt",
    "InsufficientCredit",
    "LedgerUnavailable",
    "Line",
    "Movement",
    "Package",
    "Page",
    "Price",
    "Repriced",
    "Restored",
    "Run",
    "RunReceipt",
    "RunSummary",
    "Share",
    "Transaction",
    "UnattributedWarning",
    "UnpricedModel",
    "UsageReport",
    "Usd",
    "Verification",
    "carry",
    "errors",
    "plain",
]
