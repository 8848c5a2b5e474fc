"""What a provider's SDK says, as the calls through it need it: which requests cost, what they fix, what replies tell.

A `Dialect` is one provider's; everything that admits, sends, watches and settles knows no other difference between
providers. Pure. Refuses to guess: what the provider will decide is left out of a request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol, TypeAlias, cast

from msgspec import Struct
from msgspec.structs import replace

from callfare.capture.base import BatchOutcome, Intent
from callfare.capture.settlements import Settlement
from callfare.capture.tallies import Tally
from callfare.errors import InvalidInput
from callfare.usage.extract import Reading, read
from callfare.usage.fields import Reader
from callfare.usage.quantities import Quantity, check_attributes, check_usage

BYTES_PER_TOKEN = 4
"""How much text is taken for a token where the provider has not counted: a bound on input, an estimate of output."""

IN_BATCH: Mapping[str, str] = MappingProxyType({"processing": "batch"})
"""What selects the rates of calls that are made in a batch."""

# Fields that hold no text for the model: labels, ids, and files in base64.
_SILENT = {
    *("type", "role", "id", "call_id", "tool_use_id", "status", "data", "inline_data", "signature"),
    *(
        "file_data",
        "file_id",
        "file_uri",
        "file_url",
        "image_url",
        "url",
        "media_type",
        "mime_type",
        "mimeType",
        "fileUri",
    ),
}
_TEXT_DEPTH_MAX = 20


class Replies(Protocol):
    """How replies are read: while they come in, and when they are here."""

    def tally_of(self, request: Request) -> Tally:
        """Return an empty tally for the kind of reply a request will get."""
        ...

    def settlement_of(self, request: Request, reply: object, *, written_bytes: int | None = None) -> Settlement:
        """Return what a whole reply, or all that came of one, has earned.

        written_bytes: the text received in a stream; None to count the text in the reply.
        """
        ...


class Dialect(Replies, Protocol):
    """One provider's API as its SDK speaks it. Paths are those that the SDK hands to its HTTP client."""

    def operation_of(self, path: str) -> str | None:
        """Return which kind of call a POST to this path is, or None when it is not metered."""
        ...

    def job_of(self, path: str) -> JobAsked | None:
        """Return which earlier call is asked about, or None when it is another request."""
        ...

    def batch_of(self, path: str) -> BatchAsked | None:
        """Return which batch's results a GET of this path asks for, or None when it is another request."""
        ...

    def batch_made_by(
        self, path: str, *, base_url: str, body: object, options: Mapping[str, Any]
    ) -> Sequence[Intent] | None:
        """Return the calls in the batch that a POST to this path makes, as far as they are known; None for another."""
        ...

    def heard_at(self, path: str, *, base_url: str, body: object, files: object) -> Hear | None:
        """Return what hears of a batch in the reply to a request that makes none, or None when there is nothing."""
        ...

    def batch_told(self, reply: object) -> BatchTold | None:
        """Return what a provider's own account of a batch tells; None where it is none."""
        ...

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
        """Return a request with what it fixes. What cannot be read is left out, never refused."""
        ...

    def bare_request(
        self, operation: str, *, base_url: str, body: object, options: Mapping[str, Any], is_stream: bool
    ) -> Request:
        """Return a request of which nothing is known but its kind."""
        ...


@dataclass(frozen=True, slots=True)
class BatchTold:
    """What a reply tells of a batch: its id with those of files with its results, and how it ended without any.

    outcome: None while it goes on, or where there are results to read.
    """

    ids: tuple[str, ...]
    outcome: BatchOutcome | None = None


Hear: TypeAlias = Callable[[object], BatchTold | None]
"""Hear a reply: return what it tells of a batch."""


class NoBatches:
    """What a dialect without batches begins with."""

    __slots__ = ()

    def batch_of(self, path: str) -> BatchAsked | None:
        """Return None: no request brings a batch's results."""
        return None

    def batch_made_by(
        self,
        path: str,
        *,
        base_url: str,
        body: object,
        options: Mapping[str, Any],
    ) -> Sequence[Intent] | None:
        """Return None: no request makes a batch."""
        return None

    def heard_at(self, path: str, *, base_url: str, body: object, files: object) -> Hear | None:
        """Return None: no reply tells of a batch."""
        return None

    def batch_told(self, reply: object) -> BatchTold | None:
        """Return None: no reply tells of a batch."""
        return None


class Request(Struct, frozen=True, kw_only=True):
    """One request that is to be metered.

    intent: what it fixes.
    dialect: how its reply is read.
    body, options: what to hand to the SDK: what came, or what asks for the usage of a stream besides.
    plain: the request as the caller made it, where it was changed to ask for usage; None where it was not.
    choices: how many replies a chat asks for.
    is_stream: the SDK gives the reply as a stream object.
    is_evented: the reply comes in server-sent events, whatever the SDK makes of them.
    keeps_quantity: the reply counts more than this request made, as an extended video does.
    """

    intent: Intent
    dialect: Replies
    body: object = None
    options: Mapping[str, Any] = {}
    plain: Request | None = None
    choices: int = 1
    is_stream: bool = False
    is_evented: bool = False
    keeps_quantity: bool = False

    def read(self, reply: object, reader: Reader | None = None) -> Reading:
        """Return what a reply says was used, beside what the request fixed. reader: None for OpenAI's shapes."""
        intent = self.intent
        return read(
            intent.operation,
            reply,
            model=intent.model,
            usage=intent.usage,
            attributes=intent.attributes,
            reader=reader,
        )

    @property
    def hides_usage(self) -> bool:
        """Whether the caller did not ask for the chunk with the usage, and must not see it."""
        return self.plain is not None


@dataclass(frozen=True, slots=True)
class JobAsked:
    """A request that asks again about a call made earlier, such as a video or a response."""

    operation: str
    job_id: str


@dataclass(frozen=True, slots=True)
class Answered:
    """One line of a batch that was answered: its own id within the batch, what kind of call it was, and the reply.

    told_as: what names the line with its own id, where the batch or the file it is read from does not name it alone.
    """

    line_id: str
    operation: str
    reply: object
    told_as: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchAsked:
    """A request for the results of a batch.

    batch_id: the batch's, or its file's, of which there is one. is_file: it is a file's.
    mark: a field that every line of its file has, and that other files have not.
    line_of: how the provider tells a result; None for a line that failed, or for what is no result.
    model: what all lines were asked of, where they do not say it themselves. attributes: what all are priced by.
    """

    batch_id: str
    mark: str
    line_of: Callable[[object], Answered | None]
    model: str = ""
    is_file: bool = False
    attributes: Mapping[str, str] = field(default_factory=lambda: IN_BATCH)


def in_batch(intent: Intent) -> Intent:
    """Return what a request fixes that will be made in a batch."""
    return replace(intent, attributes={**intent.attributes, **IN_BATCH})


def bare_intent(provider: str, operation: str, base_url: str) -> Intent:
    """Return an intent that fixes nothing."""
    return Intent(
        provider=provider, base_url=base_url.rstrip("/"), operation=operation, model="", usage={}, attributes={}
    )


def bare_path(path: str) -> str:
    """Return a path without its query, with one slash in front."""
    return "/" + path.partition("?")[0].strip("/")


def fields_of(body: object, options: Mapping[str, Any]) -> dict[str, object]:
    """Return the fields of a body as they will be sent: those of extra_body win."""
    extra = options.get("extra_json")
    fields = dict(body) if type(body) is dict or isinstance(body, Mapping) else {}
    if extra is not None and isinstance(extra, Mapping):
        fields.update(extra)
    return fields


def text_bytes(text: object) -> int:
    """Return the UTF-8 length of a text, and 0 for anything else."""
    if not isinstance(text, str):
        return 0
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def tokens_of_bytes(count: int) -> int:
    """Return how many tokens so much text is taken for."""
    return -(-count // BYTES_PER_TOKEN)


def bytes_for_model(value: object, depth: int = 0) -> int:
    """Return the UTF-8 length of all text for the model within a message, an input or a tool."""
    kind = type(value)
    if kind is str or isinstance(value, str):
        return text_bytes(value)
    if value is None or depth >= _TEXT_DEPTH_MAX:
        return 0
    total = 0
    if kind is dict or isinstance(value, Mapping):
        for name, part in cast("Mapping[object, object]", value).items():
            if name not in _SILENT:
                total += bytes_for_model(part, depth + 1)
    elif isinstance(value, list | tuple):
        for part in value:
            total += bytes_for_model(part, depth + 1)
    return total


def plausible_usage(fixed: Mapping[str, object]) -> dict[str, Quantity]:
    """Return the quantities that can be true; the provider will refuse the others."""
    if not fixed:
        return {}
    try:
        return check_usage(fixed)
    except InvalidInput:
        pass
    usage: dict[str, Quantity] = {}
    for name, quantity in fixed.items():
        with suppress(InvalidInput):
            usage |= check_usage({name: quantity})
    return usage


def plausible_attributes(asked: Mapping[str, object]) -> dict[str, str]:
    """Return the attributes a request fixes; what is left to the provider, as "auto", is left out."""
    attributes: dict[str, str] = {}
    for name, value in asked.items():
        if isinstance(value, str) and value not in ("", "auto"):
            with suppress(InvalidInput):
                attributes |= check_attributes({name: value})
    return attributes


def whole(value: object) -> int | None:
    """Return a number of things, or None for anything else."""
    return value if type(value) is int and value >= 0 else None
