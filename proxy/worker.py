"""What one event loop shares among its exchanges: the pool of connections and the clock."""

from __future__ import annotations

import asyncio
import time
from functools import lru_cache

from authgate.policy.document import Upstream
from proxy.exchange import active
from proxy.upstream import Pool, Target, UpstreamConnection, UpstreamUnreachable, parse_target

_TICK_SECONDS = 0.25


class Worker:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._pool = Pool()
        self._turn = 0
        self._tick()

    def take_idle(self, upstream: Upstream) -> UpstreamConnection | None:
        """A kept connection to one of the upstream's targets, in turn; never waits."""
        for target in self._in_turn(upstream):
            connection = self._pool.take(target)
            if connection is not None:
                return connection
        return None

    async def connect(self, upstream: Upstream, timeout: float) -> UpstreamConnection:
        """A new connection to the first target that answers. Raises UpstreamUnreachable."""
        for target in self._in_turn(upstream):
            try:
                return await self._pool.connect(target, timeout)
            except OSError as error:
                cause = error
        raise UpstreamUnreachable from cause

    def _in_turn(self, upstream: Upstream) -> tuple[Target, ...]:
        targets = _parse_targets(upstream.targets)
        if len(targets) > 1:
            self._turn = turn = (self._turn + 1) % len(targets)
            targets = targets[turn:] + targets[:turn]
        return targets

    def _tick(self) -> None:
        self.loop.call_later(_TICK_SECONDS, self._tick)  # first: no failure below may stop the clock
        now = time.monotonic()
        for exchange in list(active):
            exchange.check(now)
        self._pool.close_idle(now)


@lru_cache(maxsize=4096)
def _parse_targets(texts: tuple[str, ...]) -> tuple[Target, ...]:
    return tuple(map(parse_target, texts))


_worker: Worker | None = None


def current_worker() -> Worker:
    """This process's worker; made on first use, since a server forks before it has a loop."""
    global _worker
    if _worker is None:
        _worker = Worker(asyncio.get_running_loop())
    return _worker
