"""Requests that wait for one of a limited number of connections, first come, first served."""

from __future__ import annotations

import asyncio
from collections import deque

from proxy.upstream.targets import UpstreamBusy


class Queue:
    def __init__(self, most: int, seconds: float) -> None:
        self._most = most
        self._seconds = seconds
        self._waiting: deque[asyncio.Future[None]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def deadline(self) -> float:
        """Of who comes now."""
        return asyncio.get_running_loop().time() + self._seconds

    async def wait(self, deadline: float, *, again: bool) -> None:
        """Until something is free, which the caller then takes before it waits for anything else.

        `again`: it had its turn, and found nothing. Raises UpstreamBusy.
        """
        if not again and len(self._waiting) >= self._most:
            raise UpstreamBusy("all connections are taken (connections), and so is the queue (queue)")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        (self._waiting.appendleft if again else self._waiting.append)(turn)
        try:
            async with asyncio.timeout_at(deadline):
                await turn
        except TimeoutError as error:
            self._pass_on(turn)
            raise UpstreamBusy(f"no connection was free within {self._seconds:g} s (queue_timeout)") from error
        except asyncio.CancelledError:
            self._pass_on(turn)
            raise
        finally:
            # Until now: whoever came meanwhile saw that somebody is before them.
            self._waiting.remove(turn)

    def wake(self) -> None:
        """Something is free."""
        for turn in self._waiting:
            if not turn.done():
                turn.set_result(None)
                return

    def dissolve(self) -> None:
        for turn in self._waiting:
            if not turn.done():
                turn.set_result(None)

    def _pass_on(self, turn: asyncio.Future[None]) -> None:
        if turn.done() and not turn.cancelled():
            self.wake()
