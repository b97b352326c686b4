"""One request and its response: a downstream joined to an upstream connection by callbacks."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from asyncio import Transport
from math import inf
from typing import Protocol

from authgate.policy.schema import Timeouts
from authgate.reason import Reason
from authgate.wire.framing import LAST_CHUNK
from proxy.buffers import BoundedReads, ClientReads, keep_alive
from proxy.failures import CannotPass, Failure
from proxy.headers import BadFraming
from proxy.response_headers import Layout, Values

_PATIENT = Timeouts()


class Downstream(Protocol):
    """Where the response goes: one adapter per kind of server.

    Head, data and end may raise CannotPass: then the response fails.
    Called in the order head, data…, then end or failure exactly once; never after `Exchange.cancel`. What may be
    held back until more comes is due at `response_so_far`.
    """

    def response_head(self, status: int, layout: Layout, values: Values) -> None:
        """Raises BadFraming when the upstream's head cannot be passed on."""

    def response_data(self, data: bytes) -> None: ...
    def response_so_far(self) -> None: ...
    def response_end(self) -> None: ...
    def response_failed(self, failure: Failure) -> None: ...
    def response_strayed(self, target: str, what: str) -> None: ...
    def request_writable(self) -> None: ...
    def still_waiting(self) -> None: ...
    def trust_changed(self) -> None: ...


class Upstream(BoundedReads, ABC):
    """Where the request goes: a connection that carries one exchange at a time."""

    __slots__ = ("reused", "target", "transport")

    target: object  # as the policy has it, by `str`
    transport: Transport
    reused: bool  # kept from an earlier exchange

    @property
    @abstractmethod
    def unanswered(self) -> bool:
        """Not a byte of a response has come."""

    @abstractmethod
    def blame(self, what: str) -> None:
        """It failed an exchange by its own fault."""

    @abstractmethod
    def begin(self, exchange: Exchange, head: bytes, *, head_only: bool) -> None:
        """Send a request head; its response goes to the exchange. `head_only`: the response has no body (HEAD)."""

    @abstractmethod
    def finish(self) -> None:
        """Close the connection when everything is sent."""

    @abstractmethod
    def abort(self) -> None:
        """Drop the connection at once; nothing of a half-done exchange may reach the next one."""


class Exchange:
    """State of one request on its way. All calls come from one event loop."""

    # Most requests change none of these: set on the class they cost a request nothing.
    _connection: Upstream | None = None
    _last_activity = 0.0
    _takes_again_by = inf  # the upstream of a tunnel, that takes nothing now
    _patience: float | None = None  # of a tunnel, with that
    chunked = False
    request_sent = False
    accept = b""  # of the WebSocket that the request asks for (RFC 6455 4.2.2)
    request_paused = False
    response_paused = False
    response_started = False

    def __init__(
        self, downstream: Downstream, timeouts: Timeouts, client: ClientReads | None, ends_at: float = inf
    ) -> None:
        """`client`: its connection, if this server shows it. `ends_at`: by the monotonic clock, whatever happens."""
        self._downstream = downstream
        self._timeouts = timeouts
        self._ends_at = ends_at
        self.client = client

    # -- from the downstream ------------------------------------------------------------------------------

    def begin(self, connection: Upstream, head: bytes, *, head_only: bool, chunked: bool, body: bool) -> None:
        self._connection = connection
        self.chunked = chunked
        self.request_sent = not body
        self._last_activity = time.monotonic()
        active.add(self)
        if body and self.client is not None:
            self.client.upload_to(connection)
        connection.begin(self, head, head_only=head_only)

    def send_body(self, data: bytes) -> None:
        connection = self._connection
        if connection is None or not data:
            return
        self.touch()
        if self.chunked:
            connection.transport.writelines((b"%x\r\n" % len(data), data, b"\r\n"))
        else:
            connection.transport.write(data)

    def end_body(self) -> None:
        self.touch()
        if self._connection is not None and self.chunked:
            self._connection.transport.write(LAST_CHUNK)
        self.request_sent = True
        if self.client is not None:
            self.client.upload_to(None)

    def pause_response(self) -> None:
        self.response_paused = True
        if self._connection is not None:
            self._connection.transport.pause_reading()

    def resume_response(self) -> None:
        self.response_paused = False
        if self._connection is not None:
            self.touch()
            self._connection.transport.resume_reading()

    def open_tunnel(self) -> None:
        """From here on bytes pass both ways, whatever they are, and silence is no fault."""
        self.request_sent = self.chunked = False
        self._patience = self._timeouts.idle
        self._timeouts, self._ends_at = _PATIENT, inf
        if self._connection is not None:
            keep_alive(self._connection.transport)
            if self.client is not None:
                self.client.upload_to(self._connection)

    @property
    def state(self) -> str:
        """For the metrics."""
        if self._timeouts is _PATIENT:
            return "tunnel"
        return "responding" if self.response_started else "waiting"

    def cancel(self) -> None:
        """The downstream has gone or wants no more: the upstream learns it at once."""
        self._drop_connection()

    def close_tunnel(self) -> None:
        """The same, once the upstream has all that was sent before."""
        connection = self._connection
        self._forget()
        if connection is not None:
            connection.finish()

    # -- from the connection ------------------------------------------------------------------------------

    def touch(self) -> None:
        self._last_activity = time.monotonic()

    def upstream_head(self, status: int, layout: Layout, values: Values) -> None:
        self._last_activity = time.monotonic()
        try:
            self._downstream.response_head(status, layout, values)
        except (BadFraming, CannotPass) as doubt:
            self.upstream_broken(str(doubt))
        else:
            self.response_started = True

    def upstream_data(self, data: bytes) -> None:
        try:
            self._downstream.response_data(data)
        except CannotPass as doubt:
            self.upstream_broken(str(doubt))

    def upstream_so_far(self) -> None:
        self._downstream.response_so_far()

    def upstream_end(self) -> None:
        connection = self._connection
        self._forget()
        try:
            self._downstream.response_end()
        except (BadFraming, CannotPass) as doubt:
            target = str(connection.target) if connection is not None else ""
            self._downstream.response_failed(Failure(Reason.UPSTREAM_BROKEN, str(doubt), target))

    def upstream_strayed(self, what: str) -> None:
        """The response is whole, and something is wrong with the upstream all the same."""
        if self._connection is not None:
            self._downstream.response_strayed(str(self._connection.target), what)

    def upstream_lost(self, how: str) -> None:
        connection = self._connection
        if connection is not None:
            unanswered = connection.unanswered
            stale = connection.reused and unanswered
            self._forget()
            if not stale:
                connection.blame(how)
            target = str(connection.target)
            failure = Failure(Reason.UPSTREAM_BROKEN, how, target, unanswered=unanswered, stale=stale)
            self._downstream.response_failed(failure)

    def upstream_broken(self, what: str, error: BaseException | None = None) -> None:
        self._fail(Reason.UPSTREAM_BROKEN, what, error)

    def pause_request(self) -> None:
        self.request_paused = True
        if self._patience is not None:
            self._takes_again_by = time.monotonic() + self._patience

    def resume_request(self) -> None:
        self.request_paused = False
        self._takes_again_by = inf
        self.touch()
        self._downstream.request_writable()

    # -- from the clock -----------------------------------------------------------------------------------

    def check(self, now: float) -> None:
        """End what has been silent too long, if the silence is the upstream's."""
        in_body = self.response_started or not self.request_sent
        limit = self._timeouts.idle if in_body else self._timeouts.response
        if limit is not None and now - self._last_activity > limit and not self._waits_for_client:
            self._fail(Reason.UPSTREAM_TIMEOUT, self._silence(limit))
        elif now > self._ends_at:
            self._end_late(f"did not end within {self._timeouts.total:g} s (timeouts.total)")
        elif now > self._takes_again_by:
            # Nothing more is read from the client meanwhile, not even that it has left.
            self._fail(
                Reason.UPSTREAM_TIMEOUT, f"took nothing that its client sent for {self._patience:g} s (timeouts.idle)"
            )
        else:
            self._downstream.still_waiting()

    def trust_changed(self) -> None:
        """Something was taken away from somebody: the downstream knows whose exchange this is."""
        self._downstream.trust_changed()

    @property
    def _waits_for_client(self) -> bool:
        # The server bounds how long a client may take over its request, or over taking the response.
        return self.response_paused or not (self.request_sent or self.request_paused or self.response_started)

    def _silence(self, seconds: float) -> str:
        if self.response_started:
            return f"sent nothing more of its response for {seconds:g} s (timeouts.idle)"
        if not self.request_sent:
            return f"took nothing of the request body for {seconds:g} s (timeouts.idle)"
        return f"sent no whole response head within {seconds:g} s (timeouts.response)"

    def _fail(self, reason: Reason, what: str, error: BaseException | None = None) -> None:
        connection = self._connection
        if connection is not None:
            # Of a response that nobody could read, it is not known what the service did.
            unanswered = reason is Reason.UPSTREAM_TIMEOUT and connection.unanswered
            self._drop_connection()
            connection.blame(what)
            self._downstream.response_failed(
                Failure(reason, what, str(connection.target), error, unanswered=unanswered)
            )

    def _end_late(self, what: str) -> None:
        connection = self._connection
        if connection is not None:
            is_of_client = self._waits_for_client
            self._drop_connection()
            if not is_of_client:
                connection.blame(what)
            # Not to be sent again: there is no time left.
            self._downstream.response_failed(Failure(Reason.UPSTREAM_TIMEOUT, what, str(connection.target)))

    def _drop_connection(self) -> None:
        connection = self._connection
        self._forget()
        if connection is not None:
            connection.abort()

    def _forget(self) -> None:
        if not self.request_sent and self._connection is not None and self.client is not None:
            self.client.upload_to(None)
        self._connection = None
        active.discard(self)


# Exchanges on their way in this process. One clock walks them several times a second: a timer per request would
# cost more than the request's own arithmetic.
active: set[Exchange] = set()
