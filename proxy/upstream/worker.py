"""What one event loop shares among its exchanges: the pool of connections and the clock."""

from __future__ import annotations

import asyncio
import time
from functools import lru_cache

from authgate.authn.trust import TrustSnapshot
from authgate.policy.document import Upstream
from authgate.state.snapshot import current
from proxy.exchange import active
from proxy.upstream.bad_answers import connect_words
from proxy.upstream.connection import Pool, Target, UpstreamConnection, UpstreamUnreachable, parse_target

_TICK_SECONDS = 0.25


class Worker:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._pool = Pool()
        self._trust: TrustSnapshot | None = None  # by which all active exchanges were looked at
        self._turns: dict[tuple[str, ...], int] = {}  # of upstreams with several targets
        self._tick()

    def take_idle(self, upstream: Upstream) -> UpstreamConnection | None:
        """A kept connection to the target whose turn it is; never waits."""
        targets = _parse_targets(upstream.targets)
        if len(targets) == 1:
            return self._pool.take(targets[0])
        turn = self._next_turn(upstream)
        connection = self._pool.take(targets[turn])
        if connection is not None:
            self._turns[upstream.targets] = turn
        return connection

    async def connect(self, upstream: Upstream, timeout: float, missed: dict[str, str]) -> UpstreamConnection:
        """A new connection to the target whose turn it is, else any to the next that answers.

        `missed` takes each target without a connection, and why. Raises UpstreamUnreachable.
        """
        targets = _parse_targets(upstream.targets)
        self._turns[upstream.targets] = turn = self._next_turn(upstream)
        for number, target in enumerate(targets[turn:] + targets[:turn]):
            try:
                return (self._pool.take(target) if number else None) or await self._pool.connect(target, timeout)
            except OSError as error:
                cause = error
                missed[str(target)] = connect_words(error, timeout)
        raise UpstreamUnreachable from cause

    def _next_turn(self, upstream: Upstream) -> int:
        return (self._turns.get(upstream.targets, -1) + 1) % len(upstream.targets)

    def _tick(self) -> None:
        self.loop.call_later(_TICK_SECONDS, self._tick)  # first: no failure below may stop the clock
        now = time.monotonic()
        for exchange in list(active):
            exchange.check(now)
        self._judge_again()
        self._pool.close_idle(now)

    def _judge_again(self) -> None:
        """What has begun by an older trust. What begins by one later looks itself (Passage.is_revoked)."""
        snapshot = current()
        trust = snapshot.trust if snapshot is not None else None
        if trust is not self._trust:
            self._trust = trust
            for exchange in list(active):
                exchange.trust_changed()


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
