"""Idempotency keys of one account: each remembered answer compared with the effect it tells of."""

from __future__ import annotations

from callfare.ledger.receipts import CloseReceipt, ExtendReceipt, GrantReceipt, RefundReceipt, ReinstateReceipt
from callfare.ledger.rows import Key, digest_of
from callfare.ledger.sales import REVERSAL
from callfare.ledger.settle import OUTCOMES
from callfare.ledger.verify.calls import Calls
from callfare.ledger.verify.findings import Findings, Stream
from callfare.ledger.verify.holders import Holders, decoded, is_receipt_of
from callfare.ledger.verify.marks import Marks
from callfare.ledger.verify.postings import Postings
from callfare.ledger.verify.sales import Sales


class Answers:
    """The keys of one account."""

    def __init__(
        self,
        account_id: int,
        findings: Findings,
        holders: Holders,
        postings: Postings,
        *,
        calls: Calls,
        sales: Sales,
    ) -> None:
        self._account_id = account_id
        self._wrong = findings.wrong
        self._holders = holders
        self._postings = postings
        self._calls = calls
        self._sales = sales
        self._responses = Marks()

    def read(self, keys: Stream[Key]) -> set[int]:
        """Take in the keys of the account, and return the marks of responses that none remembers."""
        for key in keys.of(self._account_id):
            # A name that a caller took for something else first is lost to the response, and no fault.
            self._responses.add(hash(key.key))
            self._sales.answered(key)
            message = self._check(key)
            if message:
                self._wrong(key, "receipt", message)
        self._responses.close()
        return {mark for mark in self._calls.responses if mark not in self._responses}

    def _check(self, key: Key) -> str:
        match key.kind:
            case "response":
                return self._response(key)
            case "step":
                is_known = key.receipt in self._holders.jobs
                return "" if is_known else f"there is no job {key.receipt!r} that its step began"
            case "grant":
                return self._grant(key)
            case "refund":
                return self._refund(key)
            case "reinstate":
                return self._reinstate(key)
            case "order":
                return ""
            case "extend":
                return self._extend(key)
            case "close":
                return self._close(key)
            case _:
                self._wrong(key, "kind", f"{key.kind!r} is no kind of key")
                return ""

    def _response(self, key: Key) -> str:
        is_known = hash((key.receipt, key.fingerprint, key.at_us)) in self._calls.answered
        return "" if is_known else f"there is no event {key.receipt!r} with its fingerprint and time"

    def _grant(self, key: Key) -> str:
        receipt = decoded(key.receipt, GrantReceipt)
        if receipt is None:
            return "it is not the receipt of a grant"
        lot = self._holders.lot(receipt.grant_id)
        if lot is None:
            return ""
        lot.refunded -= self._postings.refunded(key.key)
        reason = self._postings.claim(
            receipt.grant_id, ("grant",), amount=receipt.nanocredits, run_id=None, reference=lot.reference
        )
        said = (
            receipt.account_id, receipt.key, receipt.nanocredits, receipt.source, receipt.paid_picousd,
            receipt.expires_at_us, receipt.repaid_nanocredits,
        )  # fmt: skip
        found = (
            key.account_id, key.key, lot.granted, lot.source, lot.paid_picousd, lot.expires_at_us,
            self._postings.repaid_by(receipt.grant_id),
        )  # fmt: skip
        return reason or ("" if said == found else f"it says {said}, lot {receipt.grant_id} is {found}")

    def _refund(self, key: Key) -> str:
        receipt = decoded(key.receipt, RefundReceipt)
        if receipt is None or (receipt.account_id, receipt.key) != (key.account_id, key.key):
            return "it is not the receipt of this refund"
        amounts = receipt.taken_nanocredits, receipt.debt_nanocredits
        if min(amounts) < 0 or not self._postings.claim_refund(key.at_us, *amounts):
            return f"no refund took {amounts[0]} and made {amounts[1]} of debt at that time"
        return ""

    def _reinstate(self, key: Key) -> str:
        receipt = decoded(key.receipt, ReinstateReceipt)
        if receipt is None or (receipt.account_id, receipt.key) != (key.account_id, key.key):
            return "it is not the receipt of credit that was given back"
        grant_key = key.key.partition(REVERSAL)[0]
        return self._postings.claim(
            receipt.grant_id, ("reinstate",), amount=receipt.nanocredits, run_id=None, reference=grant_key
        )

    def _extend(self, key: Key) -> str:
        receipt = decoded(key.receipt, ExtendReceipt)
        if receipt is None or receipt.account_id != key.account_id:
            return "it is not the receipt of an extension"
        # How large a hold was at a time is not history; only its bounds can be told.
        if not 0 <= receipt.used_nanocredits <= receipt.held_nanocredits:
            return f"{receipt.used_nanocredits} of {receipt.held_nanocredits} drawn cannot be"
        self._holders.run(receipt.run_id)
        return ""

    def _close(self, key: Key) -> str:
        receipt = decoded(key.receipt, CloseReceipt)
        if receipt is None:
            return "it is not the receipt of a run"
        run = self._holders.run(receipt.run_id)
        if run is not None and not is_receipt_of(run, receipt):
            return f"it is not the receipt that run {receipt.run_id} has"
        if key.fingerprint not in {digest_of(f"{receipt.run_id}\x1f{outcome}".encode()) for outcome in OUTCOMES}:
            self._wrong(key, "fingerprint", f"it stands for no end of run {receipt.run_id}")
        return ""
