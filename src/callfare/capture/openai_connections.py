"""Sessions that OpenAI's SDK opens over web sockets, metered: realtime sessions, and Responses over a socket.

They pass no `post`: a resource's `connect` makes a manager, which opens a socket when it is entered, and opens another
when the first one breaks. So the metered client has a `connect` of our own on those resources, which stands
before that one place. Refuses to import the SDK, and to change its classes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cached_property, lru_cache, partial, wraps
from typing import Any

from callfare.capture.base import LOGGER, is_metered
from callfare.capture.calls import CALLS
from callfare.capture.later import Later
from callfare.capture.openai_lanes import ResponsesTalk
from callfare.capture.openai_sessions import RealtimeTalk
from callfare.capture.sessions import Session, Talk, Whose, carry_out, carry_out_async
from callfare.capture.sockets import AsyncMeteredSocket, MeteredSocket
from callfare.usage.fields import field_of, label_of

Path = tuple[str, ...]
MakeTalk = Callable[[Any, Mapping[str, Any]], Talk | None]

_SESSION = "_callfare_session"
_OPENS = "_connect_ws"
_SOCKET = "_connection"


def _realtime(calls: Any, asked: Mapping[str, Any]) -> Talk:
    model = label_of(asked.get("model")) or label_of(field_of(asked.get("extra_query"), "model"))
    base_url = str(calls.client.base_url).rstrip("/")
    return RealtimeTalk(provider=calls.dialect.provider_of(base_url), base_url=base_url, model=model)


def _unknown(_calls: Any, _asked: Mapping[str, Any]) -> Talk | None:
    LOGGER.warning("callfare does not meter this kind of session, which tells no counts it could price")
    return None


def _responses(calls: Any, _asked: Mapping[str, Any]) -> Talk:
    return ResponsesTalk(dialect=calls.dialect, base_url=str(calls.client.base_url).rstrip("/"))


_TALKS: Mapping[Path, MakeTalk] = {
    ("realtime",): _realtime,
    ("beta", "realtime"): _realtime,
    ("responses",): _responses,
    ("beta", "responses"): _responses,
    ("realtime", "translations"): _unknown,
    ("live",): _unknown,
    ("live", "sideband"): _unknown,
    ("live", "forks"): _unknown,
}
"""What is said over the sockets that a resource opens, by where it stands in a client."""


def prepare(part: Any, path: Path = ()) -> None:
    """Have the sessions metered that a client, or one of its resources, opens. What it opens none by stays as it is."""
    state = vars(part)
    if path in _TALKS and hasattr(part, "connect"):
        state["connect"] = _connect(part, part.connect, _TALKS[path])
    for name in {place[len(path)] for place in _TALKS if place[: len(path)] == path and len(place) > len(path)}:
        made = inspect.getattr_static(type(part), name, None)
        if isinstance(made, cached_property):
            state[name] = Later(partial(_made, part, name, made, (*path, name)))


def _made(owner: Any, name: str, made: cached_property[Any], path: Path) -> Any:
    """Return a resource as the SDK makes it, in its own place, with its sessions metered."""
    state = vars(owner)
    resource = state.get(name)
    if resource is None or type(resource) is Later:
        resource = made.func(owner)
        prepare(resource, path)
        state[name] = resource
    return resource


def _connect(resource: Any, theirs: Callable[..., Any], make_talk: MakeTalk) -> Callable[..., Any]:
    @wraps(theirs)
    def connect(*arguments: Any, **options: Any) -> Any:
        manager = theirs(*arguments, **options)
        calls = getattr(vars(resource).get("_client"), CALLS, None)
        if calls is None or is_metered():
            return manager
        asked = inspect.signature(theirs).bind(*arguments, **options).arguments
        talk = make_talk(calls, asked)
        if talk is not None:
            _manage(manager, Session(talk), Whose(calls.meter, calls.user))
        return manager

    return connect


def _manage(manager: Any, session: Session, whose: Whose) -> None:
    """Have the sockets metered that a manager opens: here, where it opens them, or in older kinds as it is entered."""
    kind = type(manager)
    is_async = hasattr(kind, "__aenter__")
    if hasattr(kind, _OPENS):
        opened = _opened_async if is_async else _opened
        vars(manager)[_OPENS] = opened(getattr(manager, _OPENS), session, whose)
        return
    vars(manager)[_SESSION] = session, whose
    manager.__class__ = _managing(kind)  # type: ignore[arg-type]  # a type is hashable


@lru_cache(maxsize=64)
def _managing(kind: type) -> type:
    """Return a class like that of a manager of an older kind, whose connections are metered."""
    is_async = hasattr(kind, "__aenter__")
    enter = _entered_async(kind) if is_async else _entered(kind)
    members = {"enter": enter, "__aenter__" if is_async else "__enter__": enter}
    return type(kind.__name__, (kind,), {"__module__": kind.__module__, "__qualname__": kind.__qualname__, **members})


def _opened(theirs: Callable[..., Any], session: Session, whose: Whose) -> Callable[..., Any]:
    def connect_ws(*arguments: Any, **options: Any) -> Any:
        """Open a socket, if that is admitted. One before it, that broke, is settled first."""
        carry_out(session.ending(), whose)
        carry_out(session.opening(), whose)
        try:
            socket = theirs(*arguments, **options)
        except BaseException:
            carry_out(session.ending(), whose)
            raise
        return MeteredSocket(socket, session, whose)

    return connect_ws


def _opened_async(theirs: Callable[..., Any], session: Session, whose: Whose) -> Callable[..., Any]:
    async def connect_ws(*arguments: Any, **options: Any) -> Any:
        """Open a socket, if that is admitted. One before it, that broke, is settled first."""
        await carry_out_async(session.ending(), whose)
        await carry_out_async(session.opening(), whose)
        try:
            socket = await theirs(*arguments, **options)
        except BaseException:
            # Nothing was said yet, so this settles nothing and does not wait.
            carry_out(session.ending(), whose)
            raise
        return AsyncMeteredSocket(socket, session, whose)

    return connect_ws


def _entered(kind: Any) -> Callable[..., Any]:
    def enter(self: Any) -> Any:
        """Open the connection, if that is admitted."""
        session, whose = vars(self)[_SESSION]
        carry_out(session.opening(), whose)
        try:
            connection = kind.__enter__(self)
        except BaseException:
            carry_out(session.ending(), whose)
            raise
        return _behind(connection, MeteredSocket, session, whose)

    return enter


def _entered_async(kind: Any) -> Callable[..., Any]:
    async def enter(self: Any) -> Any:
        """Open the connection, if that is admitted."""
        session, whose = vars(self)[_SESSION]
        await carry_out_async(session.opening(), whose)
        try:
            connection = await kind.__aenter__(self)
        except BaseException:
            carry_out(session.ending(), whose)
            raise
        return _behind(connection, AsyncMeteredSocket, session, whose)

    return enter


def _behind(connection: Any, metered: Callable[..., Any], session: Session, whose: Whose) -> Any:
    """Put a metered socket in the place of a connection's own."""
    socket = getattr(connection, _SOCKET, None)
    if socket is None:
        LOGGER.error("callfare does not know this kind of connection: %s is not metered", type(connection).__name__)
        carry_out(session.ending(), whose)
        return connection
    setattr(connection, _SOCKET, metered(socket, session, whose))
    return connection
