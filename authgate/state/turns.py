"""Turns of calls to an endpoint: so many at a time, begun one after the other.

A thousand calls that began at once would be answered at once, and the event loop would do nothing else meanwhile. So
they begin as far apart as they would if each began when an earlier one has ended: that slows nobody down who has to
wait for a place.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque

_MOST_APART = 0.004  # seconds: further apart nobody else would notice it any more
_FIRST_APART = 0.001
_HURRY = 0.75  # of what keeps all places busy: what came together is to come apart
# So many turns are made up for at once: a loop that is busy looks at its timers late, and must not lose them all.
_MOST_LATE = 4
_WEIGHT = 1 / 8  # of the latest call, in what is known of how long they take


class Turns:
    """Of one event loop; first come, first served."""

    def __init__(self, most: int, patience: float) -> None:
        self._free = most
        self._patience = patience
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._share = _HURRY / most
        self._took = _FIRST_APART / self._share
        self._next_at = 0.0

    async def take(self) -> None:
        """Raises TimeoutError."""
        if self._free and not self._waiting and time.monotonic() >= self._next_at:
            self._begin()
            return
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[None] = loop.create_future()
        self._waiting.append(waiting)
        self._arm()
        patience = loop.call_later(self._patience, self._give_up, waiting)
        try:
            await waiting
        except asyncio.CancelledError:
            if not waiting.cancelled() and waiting.exception() is None:  # its turn had come
                self.give_back()
            raise
        finally:
            patience.cancel()

    def give_back(self, took: float | None = None) -> None:
        """`took`: the seconds of a call."""
        if took is not None:
            self._took += (took - self._took) * _WEIGHT
        self._free += 1
        self._arm()

    def _begin(self) -> None:
        self._free -= 1
        apart = min(_MOST_APART, self._took * self._share)
        self._next_at = max(self._next_at, time.monotonic() - _MOST_LATE * apart) + apart

    def _arm(self) -> None:
        if self._timer is None and self._waiting and self._free:
            delay = max(0.0, self._next_at - time.monotonic())
            self._timer = asyncio.get_running_loop().call_later(delay, self._let_begin)

    def _let_begin(self) -> None:
        self._timer = None
        for _ in range(1 + _MOST_LATE):
            self._forget_the_gone()
            if not self._waiting or not self._free:
                break
            self._begin()
            self._waiting.popleft().set_result(None)
            if time.monotonic() < self._next_at:
                break
        self._arm()

    def _give_up(self, waiting: asyncio.Future[None]) -> None:
        if not waiting.done():
            waiting.set_exception(TimeoutError())
        self._forget_the_gone()

    def _forget_the_gone(self) -> None:
        while self._waiting and self._waiting[0].done():
            self._waiting.popleft()
