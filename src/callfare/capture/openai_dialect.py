"""The dialect of OpenAI's API, which many providers speak: paths, requests, replies and streams in one hand.

Which provider it is follows from the base address. Refuses to import the SDK.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from callfare.capture import openai_batches, openai_replies, openai_requests, openai_tallies
from callfare.capture.base import Intent
from callfare.capture.dialect import BatchAsked, BatchTold, Hear, JobAsked, Request, bare_intent
from callfare.capture.providers import provider_at
from callfare.capture.settlements import Settlement
from callfare.capture.tallies import Tally


@dataclass(frozen=True, slots=True)
class OpenAIDialect:
    """OpenAI's API, at its own address or at another.

    provider: who answers; None for whose address it is.
    maker: whose SDK it is, who is taken to answer at an address that is nobody's.
    under: what the SDK's paths have before OpenAI's.
    """

    provider: str | None = None
    maker: str = "openai"
    under: tuple[str, ...] = ()

    def provider_of(self, base_url: str) -> str:
        """Return who answers at an address."""
        return self.provider or provider_at(base_url, self.maker)

    def operation_of(self, path: str) -> str | None:
        """Return which kind of call a POST to this path is, or None when it is not metered."""
        return openai_requests.operation_of(self._plain(path))

    def job_of(self, path: str) -> JobAsked | None:
        """Return which video or response is asked about, or None when it is another request."""
        return openai_requests.job_of(self._plain(path))

    def batch_of(self, path: str) -> BatchAsked | None:
        """Return the batch whose results a file may be, or None when it is another request."""
        return openai_batches.batch_of(self._plain(path))

    def batch_made_by(
        self, path: str, *, base_url: str, body: object, options: Mapping[str, Any]
    ) -> Sequence[Intent] | None:
        """Return the calls in the file that a POST to this path makes a batch of, None when it is another request."""
        return openai_batches.made_by(self._plain(path), base_url=base_url, body=body, options=options)

    def heard_at(self, path: str, *, base_url: str, body: object, files: object) -> Hear | None:
        """Return what hears of a batch, or of a file of requests that is uploaded for one; None when it is another."""
        path = self._plain(path)
        if openai_batches.is_asked_about(path):
            return self.batch_told
        return openai_batches.upload_heard(self, path, base_url=base_url, body=body, files=files)

    def batch_told(self, reply: object) -> BatchTold | None:
        """Return what a batch tells: the file of its results, or that it has ended without one."""
        return openai_batches.told_by(reply)

    def request_of(
        self,
        path: str,
        *,
        operation: str,
        base_url: str,
        body: object,
        options: Mapping[str, Any],
        files: object = None,
        is_stream: bool = False,
    ) -> Request:
        """Return a request with what it fixes, changed to ask for its usage where that must be asked for."""
        return openai_requests.request_of(
            self._plain(path),
            dialect=self,
            provider=self.provider_of(base_url),
            operation=operation,
            base_url=base_url,
            body=body,
            options=options,
            files=files,
            is_stream=is_stream,
        )

    def bare_request(
        self, operation: str, *, base_url: str, body: object, options: Mapping[str, Any], is_stream: bool
    ) -> Request:
        """Return a request of which nothing is known but its kind."""
        return Request(
            intent=bare_intent(self.provider_of(base_url), operation, base_url),
            dialect=self,
            body=body,
            options=options,
            is_stream=is_stream,
            is_evented=is_stream,
        )

    def tally_of(self, request: Request) -> Tally:
        """Return an empty tally for the kind of reply a request will get."""
        return openai_tallies.tally_of(request)

    def settlement_of(self, request: Request, reply: object, *, written_bytes: int | None = None) -> Settlement:
        """Return what a whole reply, or all that came of one, has earned."""
        return openai_replies.settlement_of(request, reply, written_bytes=written_bytes)

    def _plain(self, path: str) -> str:
        """Return a path as OpenAI has it."""
        for before in self.under:
            if path.startswith(before):
                return path[len(before) :]
        return path
