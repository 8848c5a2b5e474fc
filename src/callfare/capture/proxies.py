"""What stands before an object of an SDK or of its HTTP library, and is taken for it.

Refuses to know what it stands before: whoever stands there adds what it does itself.
"""

from __future__ import annotations

from typing import Any


class Proxy:
    """Stands before an object: is taken for it by isinstance, and hands on what it does not do itself."""

    __slots__ = ("_inner",)

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    @property  # type: ignore[misc]  # Python lets an object say what it stands for
    def __class__(self) -> type:
        """The class of what stands behind, so that isinstance holds."""
        kind: type = self._inner.__class__
        return kind
