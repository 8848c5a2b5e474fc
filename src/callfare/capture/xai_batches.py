"""xAI's batches: made empty or of a file, added to, asked about, and read page by page.

What is added is admitted as a batch is that is made; so an empty one costs nothing, and belongs to whoever first adds
to it. No reply says that all results were read: that follows from how many a batch is told to have. Refuses to look
through lists of batches, and to fetch anything that nobody asked for.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from callfare.capture.base import BatchOutcome, Intent
from callfare.capture.batch_calls import BatchNotes
from callfare.capture.batches import BatchReplies
from callfare.capture.dialect import Answered, BatchAsked, BatchTold, Hear, Request, bare_intent, in_batch
from callfare.capture.settlements import Settlement
from callfare.capture.xai_dialect import XAIDialect, has
from callfare.mutexes import new_mutex
from callfare.usage.fields import field_of

MAKING = ("CreateBatch", "AddBatchRequests")
"""The procedures that make batches: the first an empty one, unless it names a file."""
TELLING = ("GetBatch", "CancelBatch")
"""Those that tell how a batch stands."""
BRINGING = ("ListBatchResults", "GetBatchRequestResult")
"""Those that bring results."""

_ADDING = "AddBatchRequests"
_PAGED = "ListBatchResults"
# What may be asked for in a batch, and by which procedure one asks for it alone.
_REQUESTS = {
    "completion_request": "GetCompletion",
    "image_request": "GenerateImage",
    "video_request": "GenerateVideo",
    "video_extension_request": "ExtendVideo",
}
_ANSWERS = {"completion_response": "chat", "image_response": "image", "video_response": "video"}
_BATCHES_MAX = 1000


@dataclass(frozen=True, slots=True)
class XAIBatches:
    """How one client's batches are read."""

    dialect: XAIDialect
    base_url: str

    def making(self, procedure: str, asked: Any) -> tuple[Request, bool] | None:
        """Return the request that makes a batch, and whether it adds to one; None where it makes an empty one."""
        is_more = procedure == _ADDING
        if not is_more and not field_of(asked, "input_file_id"):
            return None
        batch_id = str(field_of(asked, "batch_id") or "")
        if is_more:
            PROGRESS.forget(self._key(batch_id))
        return self._request(lambda reply: BatchTold((batch_id,)) if is_more else _told_by(reply)), is_more

    def intents_of(self, asked: Any) -> list[Intent]:
        """Return the calls that are added to a batch; none where they stand in a file."""
        return [in_batch(intent) for one in field_of(asked, "batch_requests") or () for intent in self._asked_in(one)]

    def _asked_in(self, request: Any) -> Iterator[Intent]:
        for name, procedure in _REQUESTS.items():
            if request.HasField(name):
                yield self.dialect.request_of(procedure, getattr(request, name), base_url=self.base_url).intent

    def telling(self) -> Request:
        """Return the request that asks how a batch stands."""
        return self._request(self._hear)

    def _hear(self, reply: object) -> BatchTold | None:
        told = _told_by(reply)
        if told is None:
            return None
        state: Any = field_of(reply, "state")
        # What was cancelled need not be among the results.
        results = 0 if state is None or state.num_pending else state.num_success + state.num_error
        if PROGRESS.told(self._key(told.ids[0]), results):
            return BatchTold(told.ids, "completed")
        return told

    def brought(self, procedure: str, asked: Any, reply: Any) -> Settlement:
        """Return what a page of results, or one of them, has earned."""
        batch_id = str(field_of(asked, "batch_id") or "")
        results = list(reply.results) if procedure == _PAGED else [reply.result]
        batch = BatchAsked(batch_id=batch_id, mark="batch_request_id", line_of=line_of)
        earned = BatchReplies(self.dialect, batch).settlement_of(self._request(_told_by), results)
        is_whole = procedure == _PAGED and PROGRESS.read(
            self._key(batch_id),
            len(results),
            begins=not field_of(asked, "pagination_token"),
            ends=not field_of(reply, "pagination_token"),
        )
        # What is not all there is counts as a reading that was left.
        return replace(earned, estimated=not is_whole)

    def _request(self, hear: Hear) -> Request:
        intent = bare_intent(self.dialect.provider_at(self.base_url), "batch", self.base_url)
        return Request(intent=intent, dialect=BatchNotes(self.dialect, hear))

    def _key(self, batch_id: str) -> tuple[str, str]:
        return self.base_url, batch_id


def line_of(result: Any) -> Answered | None:
    """Return a result that was answered, or None for one that failed: that tells an error in the answer's place."""
    for name, operation in _ANSWERS.items():
        if result.response.HasField(name):
            reply = getattr(result.response, name)
            return Answered(result.batch_request_id or _name_of(result), operation, reply)
    return None


def _name_of(result: Any) -> str:
    """Return what a result without a name is known by, the same however often it is told."""
    return hashlib.sha256(result.SerializeToString(deterministic=True)).hexdigest()


def _told_by(reply: object) -> BatchTold | None:
    """Return what a batch tells, None where it is none: how it ended, where nothing in it was answered."""
    batch_id, state = field_of(reply, "batch_id"), field_of(reply, "state")
    if not isinstance(batch_id, str) or not batch_id:
        return None
    is_cancelled = bool(has(reply, "cancel_time") or field_of(state, "num_cancelled"))
    is_over = not field_of(state, "num_pending") and bool(field_of(state, "num_requests") or is_cancelled)
    outcome: BatchOutcome = "cancelled" if is_cancelled else "failed"
    return BatchTold((batch_id,), outcome if is_over and not field_of(state, "num_success") else None)


@dataclass(slots=True)
class _Read:
    """How far a batch was read. results: how many it has, 0 while some are pending. is_last: the last page came."""

    results: int = 0
    read: int = 0
    is_last: bool = False

    @property
    def is_whole(self) -> bool:
        return self.is_last and 0 < self.results <= self.read


class Progress:
    """How far the latest batches were read by this process, page after page. Safe in threads.

    Who only reads the last page of a batch ends nothing; then what is held for it expires.
    """

    def __init__(self) -> None:
        self._batches: OrderedDict[tuple[str, str], _Read] = OrderedDict()
        self._mutex = new_mutex(self, "_mutex")

    def told(self, key: tuple[str, str], results: int) -> bool:
        """Know how many results a batch has, 0 while some are pending; return whether all were read."""
        with self._mutex:
            batch = self._batch(key)
            batch.results = results
            return batch.is_whole

    def read(self, key: tuple[str, str], results: int, *, begins: bool, ends: bool) -> bool:
        """Know of a page of results, whether it is the first or the last; return whether all were read."""
        with self._mutex:
            batch = self._batch(key)
            batch.read = results if begins else batch.read + results
            batch.is_last = ends
            return batch.is_whole

    def forget(self, key: tuple[str, str]) -> None:
        """Know nothing of a batch: it will be another one."""
        with self._mutex:
            self._batches.pop(key, None)

    def _batch(self, key: tuple[str, str]) -> _Read:
        batch = self._batches.setdefault(key, _Read())
        if len(self._batches) > _BATCHES_MAX:
            self._batches.popitem(last=False)
        return batch


PROGRESS = Progress()
"""That of this process: a batch is asked about by one client, and read by another."""
