"""Pages: some items of a list, and the way to those after them."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Generic, TypeVar

from callfare.checks import clean_text
from callfare.errors import InvalidInput

T = TypeVar("T")

NUMBER_MAX = 2**62
# Cursors are no secrets: so much of a digest tells one list from another.
_MARK_BYTES = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[T]):
    """Some items of a list; `next_cursor` asks for those that follow, None when there are none.

    Whoever iterates over a page gets the items of those after it as well, each asked for when it is needed: with `for`
    behind Callfare, with `async for` behind AsyncCallfare.
    """

    items: tuple[T, ...]
    next_cursor: str | None
    following: Callable[[str], Any] | None = field(default=None, repr=False, compare=False)

    def __iter__(self) -> Iterator[T]:
        page = self
        yield from page.items
        while page.next_cursor is not None and page.following is not None:
            page = page.following(page.next_cursor)
            yield from page.items

    async def __aiter__(self) -> AsyncIterator[T]:
        page = self
        for item in page.items:
            yield item
        while page.next_cursor is not None and page.following is not None:
            page = await page.following(page.next_cursor)
            for item in page.items:
                yield item


class Cursors:
    """The cursors of one list: each tells after which number and name a page begins, and of which list it is.

    of: the kind of the list, and whose it is. A cursor of any other list is refused: the page after it would be one
    that nobody asked for.
    """

    def __init__(self, *of: str) -> None:
        self._mark = blake2b("\x1f".join(of).encode("utf-8", "surrogatepass"), digest_size=_MARK_BYTES).hexdigest()

    def text(self, number: int, name: str) -> str:
        """Return the cursor of the page after a number and a name."""
        return urlsafe_b64encode(json.dumps([number, name, self._mark]).encode()).decode().rstrip("=")

    def read(self, text: str | None, start: tuple[int, str]) -> tuple[int, str]:
        """Return after which number and name a page begins; `start` for None, which asks for the first.

        Raises InvalidInput for a text that no page of this list gave out.
        """
        if text is None:
            return start
        try:
            number, name, _ = json.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
            # A cursor is written in one way only; what reads the same and is written otherwise is not ours.
            is_ours = type(number) is int and -1 <= number <= NUMBER_MAX and self.text(number, name) == text
        except (ValueError, TypeError, RecursionError):
            is_ours, name = False, None
        if not is_ours or not isinstance(name, str) or clean_text(name, len(name)) != name:
            raise refused_cursor()
        return number, name


def refused_cursor() -> InvalidInput:
    """Return what is said of a cursor that no page of a list gave out."""
    return InvalidInput("cursor is not one that a page of this list gave; leave it out to begin anew", param="cursor")
