"""The bound on failed attempts: so many from one address in a minute, remembered in bounded memory."""

from __future__ import annotations

from collections import OrderedDict, deque
from ipaddress import IPv4Address, IPv6Address, ip_address

from callfare.clock import US_PER_S, Clock
from callfare.errors import TooManyAttempts

ATTEMPTS_MAX = 10
WINDOW_S = 60
ADDRESSES_MAX = 10_000
_NETWORK_BITS = 64


def plain_address(text: str) -> IPv4Address | IPv6Address | None:
    """Return an address, an IPv4 one in IPv6 form as itself; None for what is none."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


class Attempts:
    """Failed attempts by address. An IPv6 network of 64 bits counts as one: its holder has all its addresses."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failed: OrderedDict[str, deque[int]] = OrderedDict()

    def check(self, address: str) -> None:
        """Return while an address may try.

        Raises TooManyAttempts.
        """
        if self._failed:
            self._check(_name_of(address), self._clock.now_us())

    def failed(self, address: str) -> None:
        """Take down that an attempt failed.

        Raises TooManyAttempts when others that were under way have reached the bound before.
        """
        name, now_us = _name_of(address), self._clock.now_us()
        self._check(name, now_us)
        times = self._failed.setdefault(name, deque(maxlen=ATTEMPTS_MAX))
        times.append(now_us)
        self._failed.move_to_end(name)
        while len(self._failed) > ADDRESSES_MAX:
            self._failed.popitem(last=False)

    def _check(self, name: str, now_us: int) -> None:
        times = self._failed.get(name)
        if times is None:
            return
        # What lies ahead of a clock that was set back is forgotten: nobody is shut out for longer than a minute.
        while times and not 0 <= now_us - times[0] < WINDOW_S * US_PER_S:
            times.popleft()
        if not times:
            del self._failed[name]
        elif len(times) == ATTEMPTS_MAX:
            left_us = times[0] + WINDOW_S * US_PER_S - now_us
            raise TooManyAttempts(retry_after_s=-(-left_us // US_PER_S))


def _name_of(text: str) -> str:
    address = plain_address(text)
    if isinstance(address, IPv6Address):
        return f"{int(address) >> _NETWORK_BITS:x}::"
    return str(address) if address is not None else text[:64]
