"""Reading what a stream of an SDK gives, sync or async, in the same words for both."""

from __future__ import annotations


class Reading:
    """One kind of client. Who inherits says whether it is async."""

    is_async: bool

    async def read(self, stream, most=None):
        """Return the events of a stream, up to so many of them."""
        events = []
        if self.is_async:
            async for event in stream:
                events.append(event)
                if len(events) == most:
                    break
        else:
            for event in stream:
                events.append(event)
                if len(events) == most:
                    break
        return events
