"""What one event loop shares among its exchanges: the connections to upstreams, and the clock."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from math import inf

from django.conf import settings
from django.utils.crypto import salted_hmac

from authgate.authn.trust import TrustSnapshot
from authgate.decision import Allowed
from authgate.observe import metrics
from authgate.policy.schema import HealthCheck, PolicyDocument, Upstream, UpstreamTls
from authgate.state.live_upstreams import TargetState, board
from authgate.state.snapshot import current
from proxy.exchange import active
from proxy.failures import Failure
from proxy.upstream.balancer import Affinity
from proxy.upstream.checks import Checks
from proxy.upstream.connection import UpstreamConnection
from proxy.upstream.endpoint import Endpoint
from proxy.upstream.group import Group
from proxy.upstream.resolve import Resolver
from proxy.upstream.targets import parse_target
from proxy.upstream.tls import context_of

_TICK_SECONDS = 0.25
_TELL_SECONDS = 1.0


class Worker:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._groups: dict[int, Group] = {}  # by the identity of their Upstream
        self._held: list[Upstream] = []  # so that no other gets that identity
        self._named: dict[str, Group] = {}
        self._endpoints: dict[tuple[str, str, UpstreamTls], Endpoint] = {}
        self._checks = Checks()
        self._resolver = Resolver()
        self._affinity_key = salted_hmac("authgate.target", "", algorithm="sha256").digest()
        self._trust: TrustSnapshot | None = None  # by which all active exchanges were looked at
        self._document: PolicyDocument | None = None
        self._tell_at = 0.0
        self._due, self._lag = inf, 0.0  # of the tick: how late it came at worst since the last telling
        context_of(UpstreamTls())  # now: reading the certificate authorities takes tens of milliseconds
        self._tick()

    def take_idle(self, allowed: Allowed) -> UpstreamConnection | None:
        """A kept connection to the target that the request is to go to; never waits."""
        group = self._groups.get(id(allowed.entry.upstream))
        return (group or self._join(allowed.entry.route.upstream, allowed.entry.upstream)).take_idle(allowed)

    async def connect(self, allowed: Allowed, missed: dict[str, str], *, fresh: bool = False) -> UpstreamConnection:
        """As Group.connect."""
        timeout = allowed.entry.timeouts.connect or 0
        return await self.group_of(allowed).connect(allowed, timeout, missed, fresh=fresh)

    def may_repeat(self, allowed: Allowed, failure: Failure, times: int) -> bool:
        """As Group.may_repeat."""
        return self.group_of(allowed).may_repeat(failure, times)

    def group_of(self, allowed: Allowed) -> Group:
        entry = allowed.entry
        return self._groups.get(id(entry.upstream)) or self._join(entry.route.upstream, entry.upstream)

    def _join(self, name: str, upstream: Upstream) -> Group:
        group = self._named.get(name)
        if group is None or group.upstream != upstream:
            before, group = group, self._make(name, upstream)
            if _is_of_now(name, upstream):
                if before is not None:
                    before.dissolve()
                group.govern()
                self._named[name] = group
            else:
                group.dissolve()  # for requests that an earlier policy has let in
        self._groups[id(upstream)] = group
        self._held.append(upstream)
        return group

    def _make(self, name: str, upstream: Upstream) -> Group:
        endpoints = [self._endpoint(name, target, upstream.tls) for target in upstream.targets]
        affinity = Affinity(name, endpoints, self._affinity_key, secure=settings.SECURE)
        return Group(upstream, endpoints, affinity)

    def _endpoint(self, name: str, target: str, tls: UpstreamTls) -> Endpoint:
        key = (name, target, tls)
        endpoint = self._endpoints.get(key)
        if endpoint is None:
            endpoint = self._endpoints[key] = Endpoint(name, parse_target(target), tls, self._resolver)
        return endpoint

    # -- the clock ------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        self.loop.call_later(_TICK_SECONDS, self._tick)  # first: no failure below may stop the clock
        now = time.monotonic()
        self._lag = max(self._lag, now - self._due)
        self._due = now + _TICK_SECONDS
        for exchange in list(active):
            exchange.check(now)
        self._judge_again()
        self._follow_policy()
        for endpoint in list(self._endpoints.values()):
            endpoint.sweep(now)
        if now >= self._tell_at:
            self._tell_at = now + _TELL_SECONDS
            board.write(list(states_of(self._endpoints.values(), now)))
            states = Counter(exchange.state for exchange in active)
            metrics.tell({state: states[state] for state in metrics.STATES}, self._lag)
            self._lag = 0.0

    def _judge_again(self) -> None:
        """What has begun by an older trust. What begins by one later looks itself (Passage.is_revoked)."""
        snapshot = current()
        trust = snapshot.trust if snapshot is not None else None
        if trust is not self._trust:
            self._trust = trust
            for exchange in list(active):
                exchange.trust_changed()

    def _follow_policy(self) -> None:
        """Checks begin and end with it; what it has no more is closed. Requests have made their groups meanwhile."""
        snapshot = current()
        if snapshot is None or snapshot.document is self._document:
            return
        self._document = snapshot.document
        upstreams = snapshot.document.upstreams
        self._forget_all_but(upstreams)
        wanted: dict[Endpoint, HealthCheck] = {}
        for name, upstream in upstreams.items():
            if upstream.health.path:
                wanted |= dict.fromkeys(self._join(name, upstream).endpoints, upstream.health)
        self._checks.follow(wanted)

    def _forget_all_but(self, upstreams: Mapping[str, Upstream]) -> None:
        live = {id(upstream) for upstream in upstreams.values()}
        self._groups = {key: group for key, group in self._groups.items() if key in live}
        self._held = [upstream for upstream in self._held if id(upstream) in live]
        for name, group in list(self._named.items()):
            if group.upstream != upstreams.get(name):
                group.dissolve()
                del self._named[name]
        for key, endpoint in list(self._endpoints.items()):
            name, target, tls = key
            if name not in upstreams or target not in upstreams[name].targets or tls != upstreams[name].tls:
                endpoint.close()
                del self._endpoints[key]


def _is_of_now(name: str, upstream: Upstream) -> bool:
    snapshot = current()
    return snapshot is None or snapshot.document.upstreams.get(name) == upstream


def states_of(endpoints: Iterable[Endpoint], now: float) -> Iterator[TargetState]:
    """For other processes: times by the clock that everybody reads."""
    wall = time.time()
    for endpoint in endpoints:
        left = endpoint.health.left_out_until - now
        yield TargetState(
            upstream=endpoint.upstream,
            target=str(endpoint.target),
            is_down=endpoint.health.is_down,
            left_out_until=wall + left if endpoint.health.left_out_until and left > 0 else 0.0,
            is_failing=endpoint.health.is_failing,
            in_flight=endpoint.in_use,
            last_error=endpoint.last_error,
            last_error_at=endpoint.last_error_at,
        )


_worker: Worker | None = None


def current_worker() -> Worker:
    """This process's worker; made on first use, since a server forks before it has a loop."""
    global _worker
    if _worker is None:
        _worker = Worker(asyncio.get_running_loop())
    return _worker
