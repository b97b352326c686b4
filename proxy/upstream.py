"""Connections to upstreams and the pool that keeps them. Carries bytes; decides nothing."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import ssl
import time
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

import httptools

from authgate.decision import RawHeaders

if TYPE_CHECKING:
    from proxy.exchange import Exchange

MAX_RESPONSE_HEAD = 64 * 1024
MAX_RESPONSE_HEADERS = 256
MAX_IDLE_PER_TARGET = 256
# Shorter than the keep-alive of common servers (60-75 s), so that we rarely write into a closing connection.
MAX_IDLE_SECONDS = 30.0


class UpstreamUnreachable(OSError):
    """No connection to any target of the upstream."""


class Target(NamedTuple):
    scheme: str  # http, https or unix
    host: str
    port: int
    path: str  # of a unix socket
    host_header: str


def parse_target(text: str) -> Target:
    """A target as the policy's validator has let it through."""
    if text.startswith("unix:"):
        return Target("unix", "", 0, text.removeprefix("unix:"), "localhost")
    parts = urlsplit(text)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return Target(parts.scheme, parts.hostname or "", port, "", parts.netloc)


class UpstreamConnection(asyncio.Protocol):
    """One connection, carrying one exchange at a time."""

    __slots__ = (
        "_complete", "_extra", "_head_bytes", "_head_only", "_headers", "_interim", "_keep_alive", "_parser",
        "_until_close", "exchange", "idle_since", "pool", "reused", "status", "target", "transport",
    )  # fmt: skip

    transport: asyncio.Transport

    def __init__(self, pool: Pool, target: Target) -> None:
        self.pool = pool
        self.target = target
        self.exchange: Exchange | None = None
        self.reused = False
        self.idle_since = 0.0
        self._parser = httptools.HttpResponseParser(self)
        self._reset(head_only=False)

    def _reset(self, *, head_only: bool) -> None:
        self.status = 0
        self._headers: RawHeaders = []
        self._head_bytes = 0
        self._head_only = head_only
        self._complete = self._extra = self._interim = self._keep_alive = self._until_close = False

    def begin(self, exchange: Exchange, head: bytes, *, head_only: bool) -> None:
        """Send a request head; its response goes to the exchange. `head_only`: the response has no body (HEAD)."""
        self.exchange = exchange
        self._reset(head_only=head_only)
        self.transport.write(head)

    def abort(self) -> None:
        """Drop the connection at once; nothing of a half-done exchange may reach the next one."""
        self.exchange = None
        if self.transport is not None:
            self.transport.abort()

    # -- asyncio ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is None:
            # An answer nobody asked for would become the answer to the next request.
            self.pool.discard(self)
            return
        exchange.touch()
        if not self.status:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if not self._complete:
                exchange.upstream_broken()
                return
            self._extra = True
        if self.exchange is None:
            return
        if self._complete:
            self._finish(exchange)
        elif not self.status and self._head_bytes > MAX_RESPONSE_HEAD:
            exchange.upstream_broken()

    def pause_writing(self) -> None:
        if self.exchange is not None:
            self.exchange.pause_request()

    def resume_writing(self) -> None:
        if self.exchange is not None:
            self.exchange.resume_request()

    def connection_lost(self, exc: Exception | None) -> None:
        exchange, self.exchange = self.exchange, None
        if exchange is None:
            self.pool.discard(self)
        elif self._until_close and exc is None:
            exchange.upstream_end()
        else:
            exchange.upstream_lost()

    # -- httptools ----------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._complete:
            self._extra = True

    def on_header(self, name: bytes, value: bytes) -> None:
        # After the head these are trailers, which are dropped: nothing may slip past what the head declared.
        if not self.status and len(self._headers) < MAX_RESPONSE_HEADERS:
            self._headers.append((name.lower(), value))
        elif not self.status:
            self._fail()

    def on_headers_complete(self) -> None:
        exchange = self.exchange
        if exchange is None or self._complete:
            return
        status = self._parser.get_status_code()
        if status < 200:
            # 100 answers an Expect we never send, 103 is optional; 101 would open a tunnel nobody asked for.
            self._interim = True
            self._headers = []
            if status == 101:
                self._fail()
            return
        self.status = status
        names = {name for name, _ in self._headers}
        self._until_close = not names & {b"content-length", b"transfer-encoding"} and status not in (204, 304)
        exchange.upstream_head(status, self._headers)
        if self._head_only:
            self._complete = True
            # llhttp cannot be told that this message has no body: its state ends with this response.
            self._keep_alive = self._parser.should_keep_alive()
            self._parser = httptools.HttpResponseParser(self)

    def on_body(self, data: bytes) -> None:
        if self._head_only:
            self._extra = True
        elif self.exchange is not None and not self._complete:
            self.exchange.upstream_data(data)

    def on_message_complete(self) -> None:
        if self._interim:
            self._interim = False
        elif not self._complete:
            self._complete = True
            self._keep_alive = self._parser.should_keep_alive()

    def _fail(self) -> None:
        if self.exchange is not None:
            self.exchange.upstream_broken()

    def _finish(self, exchange: Exchange) -> None:
        self.exchange = None
        if self._keep_alive and not self._extra and exchange.request_sent:
            self.pool.release(self)
        else:
            self.transport.abort()
        exchange.upstream_end()


class Pool:
    """Idle connections of one event loop, newest first: the rest may age and be closed."""

    def __init__(self) -> None:
        self._idle: dict[Target, list[UpstreamConnection]] = {}
        self._tls = ssl.create_default_context()
        self._tls.set_alpn_protocols(["http/1.1"])

    def take(self, target: Target) -> UpstreamConnection | None:
        idle = self._idle.get(target)
        while idle:
            connection = idle.pop()
            if not connection.transport.is_closing():
                connection.reused = True
                return connection
        return None

    def release(self, connection: UpstreamConnection) -> None:
        idle = self._idle.setdefault(connection.target, [])
        if len(idle) >= MAX_IDLE_PER_TARGET:
            connection.transport.abort()
            return
        connection.idle_since = time.monotonic()
        connection.transport.resume_reading()
        idle.append(connection)

    def discard(self, connection: UpstreamConnection) -> None:
        idle = self._idle.get(connection.target, [])
        if connection in idle:
            idle.remove(connection)
        if connection.transport is not None:
            connection.transport.abort()

    def close_idle(self, now: float) -> None:
        """Close what has been idle for long; called by the clock."""
        for target, idle in list(self._idle.items()):
            fresh = [c for c in idle if now - c.idle_since < MAX_IDLE_SECONDS]
            self._idle[target] = fresh
            for connection in idle:
                if now - connection.idle_since >= MAX_IDLE_SECONDS:
                    connection.transport.abort()

    async def connect(self, target: Target, timeout: float) -> UpstreamConnection:
        """A new connection. Raises OSError (TimeoutError included, and ssl.SSLError)."""
        loop = asyncio.get_running_loop()

        def make() -> UpstreamConnection:
            return UpstreamConnection(self, target)

        async with asyncio.timeout(timeout):
            if target.scheme == "unix":
                _, connection = await loop.create_unix_connection(make, target.path)
            else:
                tls = self._tls if target.scheme == "https" else None
                _, connection = await loop.create_connection(make, target.host, target.port, ssl=tls)
        _refuse_link_local(connection)
        return connection


def _refuse_link_local(connection: UpstreamConnection) -> None:
    # A name that the validator could not judge may resolve to the cloud's metadata service (169.254.169.254).
    peer = connection.transport.get_extra_info("peername")
    if isinstance(peer, tuple) and ipaddress.ip_address(re.sub(r"%.*", "", peer[0])).is_link_local:
        connection.abort()
        raise UpstreamUnreachable("link-local addresses are never upstreams")
