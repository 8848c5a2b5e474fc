"""Pages: some items of a list, and the way to those after them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

T = TypeVar("T")


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
