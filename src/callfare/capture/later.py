"""Parts of clients that are not made yet: SDKs make them when they are asked for, and importing them takes long."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Later:
    """Stands where a part will be, until anything is asked of it.

    make: makes the part, and puts it in its place; returns the same one each time.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        self._callfare_make = make

    def __getattr__(self, name: str) -> Any:
        return getattr(self._callfare_make(), name)

    @property  # type: ignore[misc]  # Python lets an object say what it stands for
    def __class__(self) -> type:
        """The class of what stands behind, so that isinstance holds."""
        return type(self._callfare_make())
