"""A set of 64-bit marks at eight bytes each: filled first, then asked. Stands for rows that are too many to keep."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

_PARTS = 255


class Marks:
    """Marks, such as hashes of keys."""

    def __init__(self) -> None:
        # In parts, so that sorting them never needs all of them as Python integers at once.
        self._parts: defaultdict[int, array[int]] = defaultdict(lambda: array("q"))

    def add(self, mark: int) -> None:
        """Put a mark in."""
        self._parts[mark & _PARTS].append(mark)

    def close(self) -> None:
        """Make the marks ready to be asked for."""
        for number, part in self._parts.items():
            self._parts[number] = array("q", sorted(part))

    def __contains__(self, mark: int) -> bool:
        part = self._parts.get(mark & _PARTS)
        if part is None:
            return False
        at = bisect_left(part, mark)
        return at < len(part) and part[at] == mark

    def __iter__(self) -> Iterator[int]:
        for part in self._parts.values():
            yield from part

    def repeated(self) -> set[int]:
        """Return the marks that were put in more than once."""
        return {one for part in self._parts.values() for one, other in pairwise(part) if one == other}
