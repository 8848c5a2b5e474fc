"""Metering of Ollama's own SDK, sync and async: chats, completions, embeddings, at one's own server and in the cloud.

Every method of its clients ends in one function of theirs. The metered client is another object of the same class with
the same connections and a function of ours in that place. What Ollama's server runs itself is `region` local, what it
hands on to Ollama's cloud is `region` cloud: by the address, by the model's name, or as the reply tells. Searches and
pages of the web are its cloud's. What does with models as files is not metered. Refuses to import the SDK.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import ModuleType
from typing import Any, TypeVar

from msgspec.structs import replace

from callfare.capture.base import READING, Intent, Meter, is_metered
from callfare.capture.dialect import Request, bytes_for_model, plausible_usage, text_bytes, tokens_of_bytes, whole
from callfare.capture.places import region_at
from callfare.capture.providers import provider_at
from callfare.capture.settlements import Settlement, Ticketed
from callfare.capture.single import NO_ANSWER, released, send, send_async, stream, stream_async
from callfare.capture.tallies import Counting
from callfare.errors import InvalidInput
from callfare.usage.extract import with_estimates
from callfare.usage.fields import Counted, field_of, list_of, members_of
from callfare.usage.quantities import Quantity

ClientT = TypeVar("ClientT")

MAKER = "ollama"
_REQUEST = "_request"
# The client of the module itself.
_OWN = "_client"
_CALLS = "_callfare_calls"
_GIVEN = "_callfare_given"
_PATHS = {
    "/api/chat": "chat",
    "/api/generate": "chat",
    "/api/embed": "embedding",
    "/api/embeddings": "embedding",
    "/v1/systemone": "chat",
}
# What only the cloud does, at an address of its own, with what is counted of it; its name stands for a model's.
_CLOUD = "https://ollama.com"
_OF_THE_WEB = {"web_search": "web_searches", "web_fetch": "calls"}
_SPOKEN_TO = ("prompt", "suffix", "system", "template", "tools", "input", "state", "questions")
_TOLD = ("prompt_eval_count", "eval_count")
_NEEDED = {"embedding": ("input_tokens",), "chat": ("input_tokens", "output_tokens")}
# A request without words only has a model loaded, or let go.
_IDLE = {"load", "unload"}
# A name without a tag means this one.
_LATEST = ":latest"
_UNREADABLE = (json.JSONDecodeError, UnicodeDecodeError, TypeError, RecursionError)


def wrap(client: ClientT, meter: Meter, *, user: str | None = None, provider: str | None = None) -> ClientT:
    """Return a client like the given one, sharing its connections, whose calls are metered.

    client: a Client or an AsyncClient; it stays as it is, and open as long as the metered one lives. For the module,
    whose functions go by a client of its own, a module like it is returned.
    user: whose calls they are; None for the user of the context in which each call is made.
    provider: who answers; None for Ollama.

    Raises InvalidInput for what is not such a client. The client's calls raise Refused before they are made.
    """
    if isinstance(client, ModuleType):
        like: ClientT = _module_like(client, meter, user=user, provider=provider)
        return like
    if isinstance(client, type) or not all(hasattr(client, part) for part in (_REQUEST, "_client", "chat")):
        kind = getattr(client, "__name__", type(client).__name__)
        raise InvalidInput(f"{kind} is no client of this SDK; give one such as ollama.Client()", param="client")
    former = vars(client).get(_CALLS)
    given: Any = client
    if isinstance(former, _Calls):
        if former.meter is meter and (former.user, former.provider) == (user, provider):
            return client
        given = vars(client)[_GIVEN]
    below = getattr(given, _REQUEST)
    is_async = inspect.iscoroutinefunction(below)
    calls = (_AsyncCalls if is_async else _Calls)(below, str(given._client.base_url), meter, user, provider)
    twin: ClientT = object.__new__(type(client))
    vars(twin).update(vars(given) | {_REQUEST: calls.request, _CALLS: calls, _GIVEN: given})
    return twin


def _module_like(module: Any, meter: Meter, *, user: str | None, provider: str | None) -> Any:
    """Return a module like the SDK's, whose functions go by a metered client."""
    given = vars(module).get(_OWN)
    metered = wrap(given, meter, user=user, provider=provider)
    if metered is given:
        return module
    twin = ModuleType(module.__name__, module.__doc__)
    vars(twin).update(vars(module) | {_OWN: metered})
    for name, function in vars(module).items():
        if getattr(function, "__self__", None) is given:
            setattr(twin, name, getattr(metered, name))
    return twin


@dataclass(frozen=True, slots=True)
class _Calls:
    """The SDK's function below ours, and for whom calls are metered."""

    below: Callable[..., Any]
    base_url: str
    meter: Meter
    user: str | None
    provider: str | None

    def request(self, kind: Callable[..., Any], *rest: Any, stream: bool = False, **fields: Any) -> Any:
        """Make a call as the SDK does, metered if it is one that costs."""
        intent = self.intent(rest, fields)
        if intent is None:
            return self.below(kind, *rest, stream=stream, **fields)
        answer = Answer(kind)
        is_stream = bool(stream)
        asked = Request(intent=intent, dialect=answer, is_stream=is_stream, is_evented=is_stream)
        ending = Ticketed(self.meter.admit(intent, user=self.user))
        return _SENDING[is_stream](
            asked, answer, ending, partial(self.below, answer.made, *rest, stream=stream, **fields)
        )

    def intent(self, rest: tuple[Any, ...], fields: Mapping[str, Any]) -> Intent | None:
        """Return what a request fixes that is to be metered, or None."""
        path: Any = rest[1] if len(rest) > 1 and not is_metered() else None
        of_the_web = web_intent_of(path)
        if of_the_web is not None:
            return of_the_web
        operation = _PATHS.get(path)
        if operation is None:
            return None
        with READING:
            return intent_of(operation, fields.get("json"), base_url=self.base_url, provider=self.provider)
        return intent_of(operation, None, base_url=self.base_url, provider=self.provider)


@dataclass(frozen=True, slots=True)
class _AsyncCalls(_Calls):
    """The same for the async client."""

    async def request(self, kind: Callable[..., Any], *rest: Any, stream: bool = False, **fields: Any) -> Any:
        """Make a call as the SDK does, metered if it is one that costs."""
        intent = self.intent(rest, fields)
        if intent is None:
            return await self.below(kind, *rest, stream=stream, **fields)
        answer = Answer(kind)
        is_stream = bool(stream)
        asked = Request(intent=intent, dialect=answer, is_stream=is_stream, is_evented=is_stream)
        ending = Ticketed(await self.meter.admit_async(intent, user=self.user))
        below = partial(self.below, answer.made, *rest, stream=stream, **fields)
        return await _SENDING_ASYNC[is_stream](asked, answer, ending, below)


_SENDING = {False: send, True: stream}
_SENDING_ASYNC = {False: send_async, True: stream_async}


def intent_of(operation: str, body: object, *, base_url: str, provider: str | None) -> Intent:
    """Return what a request fixes: its text bounds the input, its limit the output; and where it will be answered."""
    fields = members_of(body)
    model = name_of(fields.get("model"))
    spoken = [{name: told[name] for name in told if name != "images"} for told in list_of(fields.get("messages"))]
    count = bytes_for_model(spoken) + sum(bytes_for_model(fields.get(name)) for name in _SPOKEN_TO)
    bounds: dict[str, object] = {"input_tokens": tokens_of_bytes(count) + len(list_of(fields.get("context")))}
    most = whole(field_of(fields.get("options"), "num_predict"))
    if operation == "chat" and most is not None:
        bounds["output_tokens"] = most
    return Intent(
        provider=provider or provider_at(base_url, MAKER),
        base_url=base_url.rstrip("/"),
        operation=operation,
        model=model,
        usage=plausible_usage(bounds),
        attributes={"region": region_at(base_url, model)},
    )


def web_intent_of(path: object) -> Intent | None:
    """Return what a search or a page of the web fixes, one of it; None for what is neither. Ollama's cloud answers."""
    named = path.removeprefix(f"{_CLOUD}/api/") if isinstance(path, str) else ""
    if named not in _OF_THE_WEB:
        return None
    return Intent(
        provider=MAKER,
        base_url=_CLOUD,
        operation=named,
        model=named,
        usage={_OF_THE_WEB[named]: 1},
        attributes={"region": "cloud"},
    )


def name_of(model: object) -> str:
    """Return the name of a model, without the tag that it has when it has none."""
    return model.removesuffix(_LATEST) if isinstance(model, str) else ""


def read_counts(reply: object, fixed: Mapping[str, Quantity], *, operation: str = "chat") -> Counted:
    """Return what a reply reports: tokens, a picture that was drawn, and whether Ollama's cloud has answered."""
    if operation in _OF_THE_WEB:
        return Counted(dict(fixed), (_OF_THE_WEB[operation],))
    used = field_of(reply, "usage")
    used = reply if used is None else used
    told = {
        "input_tokens": _first(used, "prompt_eval_count", "input_tokens"),
        "output_tokens": _first(used, "eval_count", "output_tokens"),
        "images": 1 if field_of(reply, "image") else None,
    }
    counted = {name: count for name, count in told.items() if count is not None}
    needed = ("images",) if "images" in counted else _NEEDED[operation]
    if operation == "embedding":
        counted.pop("output_tokens", None)
    attributes = {"region": "cloud"} if field_of(reply, "remote_host") else {}
    return Counted(counted, needed, attributes=attributes, model=name_of(field_of(reply, "model")))


def _first(used: object, *names: str) -> object:
    return next((count for name in names if (count := field_of(used, name)) is not None), None)


@dataclass(slots=True)
class Answer:
    """One reply as it comes in: what its fields tell before the SDK makes its objects of them, which lack some.

    kind: the SDK's class of the reply. told: counts and names, no text.
    """

    kind: Callable[..., Any]
    told: dict[str, object] = field(default_factory=dict)

    def made(self, /, **fields: Any) -> Any:
        """Return the SDK's object of a reply or an event, having looked at its fields."""
        if fields.get("done") is False and self.told:
            # One word of many, which says nothing that the first did not.
            return self.kind(**fields)
        for name in ("model", "remote_host", "done_reason"):
            if fields.get(name) is not None:
                self.told[name] = fields[name]
        used = fields.get("usage")
        counts = {name: fields[name] for name in _TOLD if name in fields} if used is None else members_of(used)
        self.told |= {"done": fields.get("done", True)} | ({"usage": counts} if counts else {})
        if fields.get("image"):
            self.told["image"] = True
        return self.kind(**fields)

    def tally_of(self, request: Request) -> StreamTally:
        """Return an empty tally."""
        return StreamTally(self)

    def settlement_of(self, request: Request, reply: object, *, written_bytes: int | None = None) -> Settlement:
        """Return what the reply has earned: by its own count, or by what can be seen of it."""
        intent = request.intent
        reading = request.read(self.told, partial(read_counts, operation=intent.operation))
        if not reading.incomplete:
            return Settlement("settle", reading)
        if self.told.get("done_reason") in _IDLE and not reading.usage:
            return Settlement("release", reading)
        written = text_in(reply) if written_bytes is None else written_bytes
        estimates = dict(intent.usage)
        if intent.operation == "chat":
            estimates["output_tokens"] = tokens_of_bytes(written)
        return Settlement("settle", replace(reading, usage=with_estimates(reading.usage, estimates)), estimated=True)

    def after_failure(self, request: Request, reply: object, error: BaseException) -> Settlement:
        """Return what a call has earned that raised: nothing, unless Ollama had answered."""
        is_answered = bool(self.told) or reply is not NO_ANSWER or isinstance(error, _UNREADABLE)
        return self.settlement_of(request, None) if is_answered else released(request)


class StreamTally(Counting):
    """Events of a chat or of a completion. The last one counts."""

    __slots__ = ("_answer",)

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self._answer = answer

    def takes_lightly(self, event: Any) -> bool:
        """Take in an event with a word and nothing else."""
        if event.done:
            return False
        said = getattr(event, "message", None)
        text = event.response if said is None else said.content
        if type(text) is not str or not text.isascii() or (event if said is None else said).thinking:
            return False
        if said is not None and said.tool_calls:
            return False
        self.written_bytes += len(text)
        return True

    def take(self, event: object) -> bool:
        """Take in an event."""
        self.written_bytes += text_in(event)
        if field_of(event, "done"):
            self.end(self._answer.told)
        return False


def text_in(reply: object) -> int:
    """Return the UTF-8 length of what a reply says, or an event of one."""
    said = field_of(reply, "message") or reply
    calls = [members_of(field_of(call, "function")) for call in list_of(field_of(said, "tool_calls"))]
    written = sum(text_bytes(field_of(said, name)) for name in ("content", "response", "thinking"))
    return written + sum(bytes_for_model(call.get("arguments")) for call in calls)
