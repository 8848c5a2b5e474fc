"""Who a call is for: the user and the run in force where the call is made, carried by context variables.

Read once, when a call starts; never held across a yield. Threads and pools do not inherit context variables, so
`carry` and `CarryingExecutor` take them along.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from callfare.local_run import LocalRun

P = ParamSpec("P")
T = TypeVar("T")

current_user: ContextVar[str | None] = ContextVar("callfare_user", default=None)
current_run: ContextVar[LocalRun | None] = ContextVar("callfare_run", default=None)
current_step: ContextVar[str | None] = ContextVar("callfare_step", default=None)


def names_somebody() -> bool:
    """Tell whether a user or a run is in force here."""
    return current_user.get() is not None or current_run.get() is not None


def carry(function: Callable[P, T]) -> Callable[P, T]:
    """Return the function bound to the present user and run, for use in another thread."""
    context = copy_context()

    @wraps(function)
    def carried(*args: P.args, **kwargs: P.kwargs) -> T:
        return context.copy().run(function, *args, **kwargs)

    return carried


class CarryingExecutor(ThreadPoolExecutor):
    """A thread pool whose tasks run for the user and run that were in force when they were submitted."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Schedule a call under the present user and run."""
        return super().submit(carry(fn), *args, **kwargs)
