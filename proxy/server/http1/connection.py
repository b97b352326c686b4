"""A client's connection, whatever is said on it: its ends, how long it waits for the client, and how it is closed."""

from __future__ import annotations

import asyncio
import math

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl

from authgate.wire.address import canonical_address
from proxy.buffers import WRITE_HIGH_WATER, ClientReads, reset
from proxy.server.http1.body import Body
from proxy.server.http1.limits import Limits
from proxy.server.http1.state import GatewayState
from proxy.server.http1.taking import Taking

NEVER = math.inf


def drop(data: bytes) -> None:
    """Nothing is read from a connection that is lost."""


class Connection(ClientReads):
    def __init__(self, server_state: GatewayState, limits: Limits, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.server_state = server_state
        self.transport: asyncio.Transport
        self.flow: FlowControl
        self._limits = limits
        self._loop = loop
        self._deadline = NEVER
        self._taking: Taking | None = None
        self._discarded = 0
        self._lingers_until = NEVER
        self._body: Body | None = None  # that is on its way
        self._pipelined = b""  # what the client has sent behind its request

    def _open(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.flow = FlowControl(transport)
        # By TLS this pauses at once, while the end of the handshake is still on its way.
        transport.set_write_buffer_limits(high=WRITE_HIGH_WATER, low=0)
        self._server = get_local_addr(transport)
        self._client = get_remote_addr(transport)
        peer = self._client[0] if self._client else ""
        self.peer = canonical_address(peer) or peer  # that of a unix socket has none
        self.scheme = "https" if is_ssl(transport) else "http"

    def expire(self, now: float) -> None:
        """Called a few times a second for every connection: far cheaper than a timer for every request."""
        if self._taking is None and self.transport.is_closing():
            self._taking = Taking(self.transport, self._limits.write_seconds)
        if self._taking is not None and self._taking.has_stopped(now):
            reset(self.transport)
        elif now >= self._deadline:
            self._deadline = NEVER
            self._expire()

    def _expire(self) -> None:
        """The deadline has passed."""
        raise NotImplementedError

    # -- endings --------------------------------------------------------------------------------------------

    def _linger(self) -> None:
        self.consume = self._discard
        self._body = None
        self._pipelined = b""
        limits = self._limits
        self._linger_for(limits.drain_idle_seconds if self.server_state.draining else limits.linger_seconds)
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def _linger_for(self, seconds: float) -> None:
        self._lingers_until = self._loop.time() + seconds
        self._wait_for_more()

    def _discard(self, data: bytes) -> None:
        self._discarded += len(data)
        if self._discarded > self._limits.linger_bytes:
            self.flow.pause_reading()
        elif not self.transport.is_closing():
            self._wait_for_more()

    def _wait_for_more(self) -> None:
        self._deadline = min(self._lingers_until, self._loop.time() + self._limits.linger_silence_seconds)

    def _close(self) -> None:
        self.consume = self._discard
        self._body = None
        self._deadline = self._loop.time() + self._limits.head_seconds
        self.transport.close()
