"""One target of one upstream, as this worker knows it: its connections, and how it is."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from authgate.observe import metrics
from authgate.observe.strangers import NOBODY
from authgate.policy.schema import UpstreamTls
from proxy.upstream import dial
from proxy.upstream.bad_answers import connect_words
from proxy.upstream.connection import UpstreamConnection
from proxy.upstream.health import Health
from proxy.upstream.probe import probe
from proxy.upstream.resolve import Resolver
from proxy.upstream.targets import Target

MAX_IDLE_PER_TARGET = 256
# Shorter than the keep-alive of common servers (60-75 s), so that we rarely write into a closing connection.
MAX_IDLE_SECONDS = 30.0
IMPATIENT_SECONDS = 1.0
TRIAL_SECONDS = 1.0  # that a request waits for a connection to a target that failed before, where there are others

logger = logging.getLogger("proxy.failures")  # operators filter lines by it


class Endpoint:
    __slots__ = (
        "_addresses", "_gone", "_is_name", "_resolver", "_tls", "connecting", "health", "idle", "is_alone", "is_closed",
        "is_doubted", "last_error", "last_error_at", "open", "target", "upstream", "when_free",
    )  # fmt: skip

    def __init__(self, upstream: str, target: Target, tls: UpstreamTls, resolver: Resolver) -> None:
        """`upstream`: its name."""
        self.upstream = upstream
        self.target = target
        self.health = Health()
        self.is_doubted = False  # whether an answer would change its health
        self.is_alone = True  # the upstream has no other target
        self.is_closed = False  # no policy has it any more
        self.idle: list[UpstreamConnection] = []  # newest last: the rest may age and be closed
        self.open = self.connecting = 0
        self.last_error, self.last_error_at = "", 0.0
        self.when_free: Callable[[], None] | None = None  # for those who wait for a connection
        self._tls = tls
        self._resolver = resolver
        self._is_name = target.scheme != "unix" and not dial.is_address(target.host)
        self._addresses: tuple[str, ...] = ()
        self._gone: frozenset[str] = frozenset()  # addresses that the name has no more

    @property
    def in_use(self) -> int:
        """Connections at work. Each has one request."""
        return self.open + self.connecting - len(self.idle)

    def take(self) -> UpstreamConnection | None:
        """A kept connection."""
        idle = self.idle
        while idle:
            connection = idle.pop()
            if connection.is_quiet():
                connection.reused = True
                return connection
            connection.abort()
        return None

    async def connect(self, timeout: float) -> UpstreamConnection:
        """A new connection. Raises OSError (TimeoutError included, and ssl.SSLError)."""
        began = time.monotonic()
        if self.health.is_failing and not self.is_alone:
            timeout = min(timeout, TRIAL_SECONDS)
        self.health.begin_trial(began)
        self.connecting += 1
        try:
            async with asyncio.timeout(timeout):
                return await dial.connect(self.target, self._tls, self._resolver, self._make)
        except OSError as error:
            self._failed(connect_words(error, timeout), at_once=True)
            raise
        except asyncio.CancelledError:
            # Else a target that swallows connections would never be found out by clients who wait less than we do.
            if (seconds := time.monotonic() - began) >= IMPATIENT_SECONDS:
                self._failed(f"no connection within {seconds:.1f} s, when the client left", at_once=True)
            raise
        finally:
            self.connecting -= 1
            self._tell_free()

    async def probe(self, path: str, seconds: float) -> int:
        """As proxy.upstream.probe.probe."""
        return await probe(self.target, self._tls, self._resolver, path, seconds)

    def _make(self, address: str) -> UpstreamConnection:
        return UpstreamConnection(self, self.target, address)

    # -- called by its connections --------------------------------------------------------------------------

    def opened(self, connection: UpstreamConnection) -> None:
        self.open += 1

    def closed(self, connection: UpstreamConnection) -> None:
        self.open -= 1
        self._tell_free()

    def release(self, connection: UpstreamConnection) -> None:
        if len(self.idle) >= MAX_IDLE_PER_TARGET or self.is_closed or connection.address in self._gone:
            connection.transport.abort()
            return
        connection.idle_since = time.monotonic()
        self.idle.append(connection)
        if self.when_free is not None:
            self.when_free()

    def discard(self, connection: UpstreamConnection) -> None:
        if connection in self.idle:
            self.idle.remove(connection)
        connection.transport.abort()

    def answered(self, connection: UpstreamConnection) -> None:
        if self.health.answered(connection.made_at):
            self._say("takes requests again")
        self.is_doubted = not self.health.is_clean

    def blame(self, what: str) -> None:
        self._failed(what, at_once=False)

    # -- called by the clock --------------------------------------------------------------------------------

    def sweep(self, now: float) -> None:
        """Close what has been idle for long, or leads to where the name does not lead any more."""
        if self._is_name and self.open:
            self._follow(self._resolver.known(self.target.host))
        if self.idle and now - self.idle[0].idle_since >= MAX_IDLE_SECONDS:
            self._close([each for each in self.idle if now - each.idle_since >= MAX_IDLE_SECONDS])

    def close(self) -> None:
        self.is_closed = True
        self._close(list(self.idle))

    def checked(self, what: str, *, good: bool, healthy_after: int, unhealthy_after: int) -> None:
        """`what` was wrong with it, if it was not good."""
        if not good:
            self._note(what)
        if self.health.checked(good=good, healthy_after=healthy_after, unhealthy_after=unhealthy_after):
            self._say("passes its health checks again" if good else f"fails its health checks: {what}")
        self.is_doubted = not self.health.is_clean

    # -------------------------------------------------------------------------------------------------------

    def _follow(self, addresses: tuple[str, ...]) -> None:
        if addresses and addresses != self._addresses:
            self._gone = (self._gone | frozenset(self._addresses)) - frozenset(addresses)
            self._addresses = addresses
            self._close([each for each in self.idle if each.address in self._gone])

    def _close(self, connections: list[UpstreamConnection]) -> None:
        for connection in connections:
            self.idle.remove(connection)
            connection.transport.abort()

    def _failed(self, what: str, *, at_once: bool) -> None:
        self._note(what)
        now = time.monotonic()
        if self.health.failed(now, at_once=at_once) and not self.is_alone:
            metrics.count_ejection(self.upstream, str(self.target))
            self._close(list(self.idle))
            self._say(f"is left out for {self.health.left_out_until - now:.0f} s: {what}")
        self.is_doubted = True

    def _note(self, what: str) -> None:
        self.last_error, self.last_error_at = what, time.time()

    def _say(self, what: str) -> None:
        if not self.is_alone:
            logger.warning("upstream %s, target %s: %s", self.upstream, self.target, what, extra=NOBODY)

    def _tell_free(self) -> None:
        if self.when_free is not None:
            self.when_free()
