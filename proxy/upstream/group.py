"""The targets of one upstream: a request gets a connection to one of them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

from authgate.decision import Allowed
from authgate.policy.schema import Upstream
from proxy.failures import Failure
from proxy.upstream.bad_answers import connect_words
from proxy.upstream.balancer import Affinity, Balancer
from proxy.upstream.budget import RetryBudget
from proxy.upstream.connection import UpstreamConnection
from proxy.upstream.endpoint import Endpoint
from proxy.upstream.queue import Queue
from proxy.upstream.targets import UpstreamUnreachable


class Group:
    __slots__ = ("_balancer", "_budget", "_only", "_queue", "affinity", "endpoints", "requests", "upstream")

    def __init__(self, upstream: Upstream, endpoints: Sequence[Endpoint], affinity: Affinity) -> None:
        """`endpoints` in the order of the targets, which may name one several times."""
        times = Counter(endpoints)
        weights = {each: times[each] * upstream.weights.get(str(each.target), 1) for each in times}
        self.upstream = upstream
        self.endpoints = list(times)
        self.affinity = affinity if upstream.balance == "cookie" else None
        self.requests = 0
        self._balancer = Balancer(self.endpoints, upstream.balance, weights, affinity)
        self._budget = RetryBudget()
        self._queue = Queue(upstream.queue, upstream.queue_timeout) if upstream.connections else None
        self._only = self.endpoints[0] if len(self.endpoints) == 1 and self._queue is None else None

    def govern(self) -> None:
        """From now on it is this one that the endpoints work for."""
        for endpoint in self.endpoints:
            endpoint.is_alone = len(self.endpoints) == 1
            endpoint.when_free = self._queue.wake if self._queue is not None else None

    def take_idle(self, allowed: Allowed) -> UpstreamConnection | None:
        """A kept connection to the target that the request is to go to; never waits."""
        self.requests += 1
        if self._only is not None:
            return self._only.take()
        if self._queue:
            return None  # others were here before
        endpoint = self._balancer.first(allowed, time.monotonic())
        connection = endpoint.take()
        if connection is not None:
            self._balancer.advance(endpoint)
        return connection

    async def connect(
        self, allowed: Allowed, timeout: float, missed: dict[str, str], *, fresh: bool
    ) -> UpstreamConnection:
        """A connection to the target that the request is to go to, else to the next one that can be reached.

        `missed`: targets that failed it, which are not tried again, and why. `fresh`: no kept connection, since one
        was stale. Raises UpstreamUnreachable.
        """
        deadline = self._queue.deadline if self._queue is not None else 0.0
        waited = False
        if self._queue:
            await self._queue.wait(deadline, again=False)
            waited = True
        cause: OSError | None = None
        while True:
            full = False
            for endpoint in self._untried(allowed, missed):
                is_full = self._is_full(endpoint)
                connection = endpoint.take() if is_full or not fresh else None
                if connection is None and is_full:
                    full = True
                    continue
                self._balancer.advance(endpoint)
                try:
                    return connection or await endpoint.connect(timeout)
                except OSError as error:
                    cause = error
                    missed[str(endpoint.target)] = connect_words(error, timeout)
            if self._queue is None or not full:
                raise UpstreamUnreachable from cause
            await self._queue.wait(deadline, again=waited)
            waited = True

    def dissolve(self) -> None:
        """Its settings are no more. Those who wait go on, without a limit that nobody keeps for them."""
        queue, self._queue = self._queue, None
        if queue is not None:
            queue.dissolve()

    def may_repeat(self, failure: Failure, times: int) -> bool:
        """Whether a request may be sent for the so-manyth time more, as far as its service is concerned."""
        if times > self.upstream.retries or not (failure.stale or len(self.endpoints) > 1):
            return False
        return self._budget.take(self.requests, time.monotonic())

    def _untried(self, allowed: Allowed, missed: dict[str, str]) -> list[Endpoint]:
        order = self._balancer.order(allowed, time.monotonic())
        return [endpoint for endpoint in order if str(endpoint.target) not in missed]

    def _is_full(self, endpoint: Endpoint) -> bool:
        most = self.upstream.connections if self._queue is not None else None
        return most is not None and endpoint.open + endpoint.connecting >= most
