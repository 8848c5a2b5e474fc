"""Batches of the stand-in for xAI: begun when they are asked about, done when they are asked about once more.

A request of no model fails. Results come two to a page, unless another number is asked for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import grpc
from google.protobuf import empty_pb2
from google.rpc import status_pb2
from xai_sdk.proto import (
    batch_pb2,
)

from callfare.devtools.stand_in import Fault

# One of the SDK's, or of gRPC's, whose types are not seen here.
_Message: TypeAlias = Any
_Context: TypeAlias = Any

_PAGE = 2
_INVALID = 3
_ANSWERS = {
    "completion_request": "completion_response",
    "image_request": "image_response",
    "video_request": "video_response",
    "video_extension_request": "video_response",
}


@dataclass
class _Batch:
    told: _Message
    requests: list[_Message] = field(default_factory=list)
    results: list[_Message] = field(default_factory=list)
    is_begun: bool = False


class FakeBatches:
    """Those of one stand-in. answer: what it answers a request with, by the name of its field in a batch."""

    def __init__(self, answer: Callable[[str, _Message, _Context, Fault], _Message]) -> None:
        self._answer = answer
        self._batches: dict[str, _Batch] = {}
        self._mutex = threading.Lock()

    def procedures(self) -> dict[str, tuple[Any, Callable[..., Any]]]:
        """Return what it answers, by procedure: the kind of request, and the function."""
        return {
            "CreateBatch": (batch_pb2.CreateBatchRequest, self._create),
            "AddBatchRequests": (batch_pb2.AddBatchRequestsRequest, self._add),
            "GetBatch": (batch_pb2.GetBatchRequest, self._get),
            "CancelBatch": (batch_pb2.CancelBatchRequest, self._cancel),
            "ListBatches": (batch_pb2.ListBatchesRequest, self._list),
            "ListBatchRequestMetadata": (batch_pb2.ListBatchRequestMetadataRequest, self._list_requests),
            "ListBatchResults": (batch_pb2.ListBatchResultsRequest, self._list_results),
            "GetBatchRequestResult": (batch_pb2.GetBatchRequestResultRequest, self._get_result),
        }

    def _create(self, request: _Message, _context: _Context, fault: Fault) -> _Message:
        with self._mutex:
            batch_id = fault.response_id or f"batch_{len(self._batches) + 1:06d}"
            told = batch_pb2.Batch(batch_id=batch_id, name=request.name, input_file_id=request.input_file_id)
            self._batches[batch_id] = _Batch(told)
        return told

    def _add(self, request: _Message, context: _Context, _fault: Fault) -> _Message:
        batch = self._of(request, context)
        with self._mutex:
            batch.requests.extend(request.batch_requests)
            batch.told.state.num_requests = len(batch.requests)
            batch.told.state.num_pending += len(request.batch_requests)
            batch.is_begun = False
        return empty_pb2.Empty()

    def _get(self, request: _Message, context: _Context, fault: Fault) -> _Message:
        batch = self._of(request, context)
        if batch.is_begun:
            for asked in batch.requests[len(batch.results) :]:
                batch.results.append(self._result_of(asked, context, fault))
            _count(batch)
        batch.is_begun = True
        return batch.told

    def _cancel(self, request: _Message, context: _Context, _fault: Fault) -> _Message:
        batch = self._of(request, context)
        _count(batch)
        batch.told.state.num_cancelled, batch.told.state.num_pending = batch.told.state.num_pending, 0
        batch.told.cancel_time.GetCurrentTime()
        return batch.told

    def _list(self, _request: _Message, _context: _Context, _fault: Fault) -> _Message:
        return batch_pb2.ListBatchesResponse(batches=[batch.told for batch in self._batches.values()])

    def _list_requests(self, request: _Message, context: _Context, _fault: Fault) -> _Message:
        names = [asked.batch_request_id for asked in self._of(request, context).requests]
        metadata = [batch_pb2.BatchRequestMetadata(batch_request_id=name) for name in names]
        return batch_pb2.ListBatchRequestMetadataResponse(batch_request_metadata=metadata)

    def _list_results(self, request: _Message, context: _Context, _fault: Fault) -> _Message:
        results = self._of(request, context).results
        start = int(request.pagination_token or 0)
        end = start + (request.limit or _PAGE)
        token = str(end) if end < len(results) else ""
        return batch_pb2.ListBatchResultsResponse(results=results[start:end], pagination_token=token)

    def _get_result(self, request: _Message, context: _Context, _fault: Fault) -> _Message:
        results = self._of(request, context).results
        [result] = [one for one in results if one.batch_request_id == request.batch_request_id]
        return batch_pb2.GetBatchRequestResultResponse(result=result)

    def _of(self, request: _Message, context: _Context) -> _Batch:
        batch = self._batches.get(request.batch_id)
        if batch is None:
            context.abort(grpc.StatusCode.NOT_FOUND, "There is no such batch.")
        assert batch is not None
        return batch

    def _result_of(self, request: _Message, context: _Context, fault: Fault) -> _Message:
        name = next(name for name in _ANSWERS if request.HasField(name))
        asked = getattr(request, name)
        about = {"batch_request_id": request.batch_request_id}
        if not asked.model:
            return batch_pb2.BatchResult(error=status_pb2.Status(code=_INVALID, message="Which model?"), **about)
        answered = {_ANSWERS[name]: self._answer(name, asked, context, fault)}
        return batch_pb2.BatchResult(response=batch_pb2.BatchResultData(**answered), **about)


def _count(batch: _Batch) -> None:
    """Say how a batch stands."""
    failed = sum(result.error.code != 0 for result in batch.results)
    state = batch.told.state
    state.num_error, state.num_success = failed, len(batch.results) - failed
    state.num_pending = len(batch.requests) - len(batch.results)
