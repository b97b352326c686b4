"""The addresses of host names, asked for again while the gateway runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from authgate.bounded import Bounded

FRESH_SECONDS = 10.0
USABLE_SECONDS = 300.0  # while nobody can say what is right by now
MOST_NAMES = 1024

LookUp = Callable[[str], Awaitable[Sequence[str]]]


async def look_up(host: str) -> Sequence[str]:
    """In the order in which they are to be tried (RFC 6724). Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=1)  # SOCK_STREAM
    return list(dict.fromkeys([str(address[0]) for *_, address in found]))


@dataclass(slots=True)
class _Name:
    addresses: tuple[str, ...] = ()
    found_at: float = 0.0
    asked_at: float = 0.0
    asking: asyncio.Task[None] | None = None


class Resolver:
    """Of one event loop."""

    def __init__(self, look_up: LookUp = look_up, clock: Callable[[], float] = time.monotonic) -> None:
        self._look_up = look_up
        self._clock = clock
        self._names: Bounded[str, _Name] = Bounded(MOST_NAMES)

    async def addresses(self, host: str) -> tuple[str, ...]:
        """At once if they are known, even if they are due to be asked for again. Raises OSError."""
        name = self._due(host)
        if not self._is_usable(name):
            await asyncio.shield(name.asking or self._ask(host, name))
        return name.addresses

    def known(self, host: str) -> tuple[str, ...]:
        """What is known by now; asked for again if that is due."""
        return self._due(host).addresses

    def prefer(self, host: str, address: str) -> None:
        """It was the first to be connected to."""
        name = self._names.get(host)
        if name is not None and address in name.addresses[1:]:
            name.addresses = (address, *(other for other in name.addresses if other != address))

    def _is_usable(self, name: _Name) -> bool:
        return bool(name.addresses) and self._clock() - name.found_at < USABLE_SECONDS

    def _due(self, host: str) -> _Name:
        name = self._names.get(host)
        if name is None:
            name = _Name()
            self._names.put(host, name)
        stale = not self._is_usable(name) or self._clock() - name.asked_at >= FRESH_SECONDS
        if name.asking is None and stale:
            name.asked_at = self._clock()
            name.asking = asyncio.get_running_loop().create_task(self._ask(host, name))
            name.asking.add_done_callback(_look_at)
        return name

    async def _ask(self, host: str, name: _Name) -> None:
        try:
            found = tuple(await self._look_up(host))
            if set(found) != set(name.addresses):  # else the one that is preferred stays first
                name.addresses = found
            name.found_at = self._clock()
        finally:
            name.asking = None


def _look_at(asking: asyncio.Task[None]) -> None:
    """Those who wait get the exception; where nobody does, the addresses that are known go on."""
    if not asking.cancelled():
        asking.exception()
