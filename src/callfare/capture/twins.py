"""Metered copies of SDK clients: the same connections, and two functions of our own, `post` and `get`.

The SDKs of several providers are made by one generator, so their clients have the same bones: whichever method or
helper a call begins with, it passes `post` or `get`. Refuses to import an SDK, to touch its HTTP types, and to change
the client it was given.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cached_property
from typing import Any, TypeVar

from callfare.capture.base import Meter
from callfare.capture.calls import CALLS, AsyncCalls, Calls, SyncCalls
from callfare.capture.dialect import Dialect
from callfare.errors import InvalidInput

ClientT = TypeVar("ClientT")
Prepare = Callable[[Any], None]

_OURS = ("post", "get", "copy", "with_options", CALLS)


def metered(
    client: ClientT,
    dialect: Dialect,
    meter: Meter,
    *,
    user: str | None,
    like: str,
    prepare: Prepare | None = None,
) -> ClientT:
    """Return a client like the given one, sharing its connections, whose calls are metered.

    One that this meter meters for this user already is returned itself; one that is metered otherwise is metered anew,
    and not twice.
    like: what the caller should have given, for the refusal.
    prepare: has metered what passes neither `post` nor `get` of a copy.

    Raises InvalidInput for what is not such a client.
    """
    if isinstance(client, type) or not all(hasattr(client, name) for name in (*_OURS[:-1], "base_url")):
        kind = getattr(client, "__name__", type(client).__name__)
        raise InvalidInput(f"{kind} is no client of this SDK; give one such as {like}", param="client")
    calls = vars(client).get(CALLS)
    if isinstance(calls, Calls) and calls.meter is meter and (calls.user, calls.dialect) == (user, dialect):
        return client
    twin: ClientT = _twin(client, dialect, meter, user, prepare)
    return twin


def _twin(
    client: Any,
    dialect: Dialect,
    meter: Meter,
    user: str | None,
    prepare: Prepare | None,
) -> Any:
    """Return a copy of a client on which `post` and `get` are ours, and whose own copies are metered too."""
    twin = copy.copy(client)
    state = vars(twin)
    # Resources made so far, such as client.chat, hold the functions of the client they were made by. What is no object
    # of the SDK's, such as a region, was given under the name of what is looked up otherwise.
    made = [name for name in state if isinstance(getattr(type(twin), name, None), cached_property)]
    for name in [name for name in made if hasattr(state[name], "__dict__")]:
        del state[name]
    former = state.get(CALLS)
    below = former.below if isinstance(former, Calls) else {name: state[name] for name in _OURS if name in state}
    for name in _OURS:
        state.pop(name, None)
    state.update(below)
    is_async = any(kind.__name__.startswith("Async") for kind in type(twin).__mro__)
    calls = (AsyncCalls if is_async else SyncCalls)(
        client=twin, dialect=dialect, their_post=twin.post, their_get=twin.get, meter=meter, user=user, below=below
    )
    remake = twin.copy

    def metered_copy(*arguments: Any, **options: Any) -> Any:
        """Return a client with other options, metered as this one is."""
        return _twin(remake(*arguments, **options), dialect, meter, user, prepare)

    ours = {"post": calls.post, "get": calls.get, "copy": metered_copy, "with_options": metered_copy, CALLS: calls}
    state.update(ours)
    # Clients for clouds keep their resources as plain parts, made of the client whose functions they call.
    parts = [name for name, part in state.items() if getattr(part, "__dict__", {}).get("_client") is client]
    state.update({name: type(state[name])(twin) for name in parts})
    if prepare is not None:
        prepare(twin)
    return twin
