"""One client connection: heads are read one at a time, the next only after the response to the last."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from uvicorn.config import Config

from authgate.observe.strangers import Cause
from authgate.reason import Reason
from authgate.wire.framing import CHUNKED
from authgate.wire.refusal import Answer
from proxy.buffers import reset
from proxy.server.http1.body import Body, ChunkedBody, SizedBody
from proxy.server.http1.connection import NEVER, Connection, drop
from proxy.server.http1.cookies import OversizedHead
from proxy.server.http1.cycle import Application, Cycle
from proxy.server.http1.head import HeadParser, RequestHead
from proxy.server.http1.limits import HIGH_WATER, Limits
from proxy.server.http1.reader import HeadReader
from proxy.server.http1.refusal import RequestRefused, build_refusal, encode_refusal
from proxy.server.http1.scope import scope_of
from proxy.server.http1.state import GatewayState
from proxy.server.http1.taking import Taking, bytes_left

logger = logging.getLogger(__name__)

# Takes a request off the application's hands, or hands it over to it. With the body, if all of it is here; None: it
# comes by `Cycle.take_body`.
Shortcut = Callable[["Http1Protocol", RequestHead, bytes | None], Cycle]


class Http1Protocol(Connection):
    """Constructed by uvicorn's server, which also calls `shutdown`."""

    def __init__(
        self,
        config: Config,
        server_state: GatewayState,
        app_state: dict[str, Any],
        limits: Limits,
        application: Application | None = None,
        shortcut: Shortcut | None = None,
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(server_state, limits, _loop or asyncio.get_event_loop())
        self._application = application or config.loaded_app
        self._shortcut = shortcut
        self._app_state = app_state
        self._reader = HeadReader(limits)
        self._parser = HeadParser(limits)
        self.consume = self._read_head
        self._cycle: Cycle | None = None
        self._has_switched = False  # to a protocol that is not HTTP
        self._head_begun = True  # the very first byte is waited for no longer than a whole head

    # -- asyncio.Protocol -----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._open(transport)
        if not self.server_state.admit(self, self._limits.connections):
            # Before it says a word: waiting for a head would let everybody keep one open for as long as that takes.
            transport.write(encode_refusal(build_refusal(Reason.SERVER_FULL), self.server_state.date_line))
            self._close()
            # It is not among the connections that expire; by TLS it may be waiting for a goodbye.
            self._loop.call_later(self._limits.head_seconds, transport.abort)
            return
        self._deadline = self._loop.time() + self._limits.head_seconds

    def connection_lost(self, exc: Exception | None) -> None:
        self.server_state.dismiss(self)
        self._deadline = NEVER
        if self._cycle is not None:
            self._cycle.leave()
        # These refer back to this connection. What has lived for long is found by the collector after millions of
        # requests.
        self._cycle, self.consume = None, drop
        self._parser.forget()

    def eof_received(self) -> None:
        # Treat a half-closed client as gone, like nginx. The transport reports the end only after all output is sent,
        # and a client that reads nothing puts that off for ever.
        if self._cycle is not None:
            self._cycle.leave()
        self._close()

    def pause_writing(self) -> None:
        self.flow.pause_writing()
        self._taking = Taking(self.transport, self._limits.write_seconds)
        if self._cycle is not None:
            self._cycle.writing_paused()

    def resume_writing(self) -> None:
        self.flow.resume_writing()
        self._taking = None
        if self._cycle is not None:
            self._cycle.writing_resumed()
        elif self.consume == self._keep_pipelined:
            self._next_request()

    # -- called by the server -------------------------------------------------------------------------------

    def shutdown(self) -> None:
        if self.consume == self._read_head and self._reader.empty:
            self._deadline = self._loop.time() + self._limits.drain_idle_seconds
        elif self.consume == self._discard:
            self._linger_for(self._limits.drain_idle_seconds)

    def give_up(self) -> None:
        """The time for draining is over; the process ends."""
        if self._cycle is not None and not self._cycle.complete:
            self._cycle.give_up()
        elif self.transport.get_write_buffer_size():
            reset(self.transport)

    # -- when there are too many ----------------------------------------------------------------------------

    @property
    def is_idle(self) -> bool:
        return self.consume == self._read_head and self._reader.empty

    @property
    def waits_for_client(self) -> bool:
        """Only its client can go on: with a head, with a body, or by taking what is there. Or it has no end."""
        reading = self.consume == self._read_head or self._body is not None or self._has_switched
        return (reading and not self.flow.read_paused) or self.consume == self._discard or self.flow.write_paused

    def give_way(self) -> None:
        """For a client that has less. At once, so that there are never more than there may be."""
        self.server_state.dismiss(self)
        if self.is_idle:
            self.transport.abort()  # with FIN, since nothing is on its way
        else:
            if self._cycle is not None:
                self._cycle.give_way()
            reset(self.transport)

    # -- called by the cycle --------------------------------------------------------------------------------

    def resume_body(self) -> None:
        self._deadline = self._loop.time() + self._limits.body_seconds
        self.flow.resume_reading()

    def response_complete(self, *, keep_alive: bool) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self._body is not None:
            self._linger()
        elif not keep_alive:
            self._close()
        elif self.flow.write_paused:
            # No work is begun for a client that does not take what there is already.
            self._cycle = None
        else:
            self._next_request()

    def fail(self, cycle: Cycle) -> None:
        """The application gave up: a clear answer if none has begun, else a response that is visibly cut."""
        if cycle is not self._cycle or cycle.complete or cycle.gone:
            return
        if cycle.started:
            self._cut(cycle)
        else:
            self._refuse(Reason.SERVER_ERROR)

    def cut_off(self, cycle: Cycle) -> None:
        """What is left is dropped: closing would keep it as long as the client takes a byte at times."""
        if cycle is self._cycle and not cycle.gone:
            cycle.leave()
            reset(self.transport)

    def hand_over(self, request: RequestHead, body: bytes, state: dict[str, Any]) -> Cycle:
        """The application takes the request, with this as its scope["state"]."""
        scope = scope_of(self, request, state, self._client, self._server)
        self._cycle = cycle = Cycle(self, request)
        if body:
            cycle.take_body([body], complete=True)
        cycle.task = task = self._loop.create_task(cycle.run(self._application, scope))
        self.server_state.tasks.add(task)
        return cycle

    def switch_protocols(self, consume: Callable[[bytes], None]) -> None:
        """What the client sends from here on is no HTTP, nor what it has sent behind its request."""
        self.consume = consume
        self._has_switched = True
        if self.flow.read_paused:
            self.flow.resume_reading()
        data, self._pipelined = self._pipelined, b""
        if data:
            consume(data)

    def go_on_with(self, cycle: Cycle) -> None:
        """The request has passed from one cycle to another."""
        self._cycle = cycle

    # -- a head ---------------------------------------------------------------------------------------------

    def _read_head(self, data: bytes) -> None:
        # Whole, and with the headers of the last one: most heads on a kept connection.
        request = None if self._head_begun else self._parser.repeated(data)
        if request is not None:
            self._begin(request, b"")
        else:
            self._read_any_head(data)

    def _read_any_head(self, data: bytes) -> None:
        head = b""
        try:
            found = self._reader.feed(data)
            if found is None:
                if not self._head_begun:
                    self._head_begun = True
                    self._deadline = self._loop.time() + self._limits.head_seconds
                return
            head, rest = found
            request = self._parser.parse(head)
        except RequestRefused as refused:
            if refused.reason is Reason.COOKIES_TOO_LARGE:
                self._read_on(OversizedHead(*self._reader.take()))
            else:
                self._refuse(refused.reason, refused.rule, body=not head.startswith(b"HEAD "))
        else:
            self._begin(request, rest)

    def _read_on(self, head: OversizedHead) -> None:
        self._deadline = min(self._deadline, self._loop.time() + self._limits.head_seconds)

        def consume(data: bytes) -> None:
            if head.feed(data):
                self._end_with(Reason.COOKIES_TOO_LARGE, head.refusal(), body=head.method != b"HEAD")

        self.consume = consume
        consume(b"")

    def _begin(self, request: RequestHead, rest: bytes) -> None:
        if len(self.server_state.tasks) >= self._limits.requests:
            self._refuse(Reason.SERVER_FULL, body=request.method != "HEAD")
            return
        length = request.length
        # A body that is here belongs to its head: most are small, and come with it.
        if self._shortcut is not None and 0 <= length <= len(rest) and not (length and request.expects_continue):
            self._cycle = self._shortcut(self, request, rest[:length])
            self._await_response(rest[length:])
        elif length:
            self._begin_body(request, rest)
        else:
            self._cycle = self._start(request)
            self._await_response(rest)

    def _start(self, request: RequestHead) -> Cycle:
        if self._shortcut is not None:
            return self._shortcut(self, request, None)
        return self.hand_over(request, b"", self._app_state.copy())

    # -- a body ---------------------------------------------------------------------------------------------

    def _begin_body(self, request: RequestHead, rest: bytes) -> None:
        body = ChunkedBody(self._limits) if request.length == CHUNKED else SizedBody(request.length)
        pieces: list[bytes] = []
        try:
            rest = body.feed(rest, pieces)
        except RequestRefused as refused:
            self._refuse(refused.reason, body=request.method != "HEAD")  # nobody has heard of this request yet
            return
        self._body = body
        self._deadline = self._loop.time() + self._limits.body_seconds
        self._cycle = self._start(request)
        if self._body is body:  # it is not answered already
            self.consume = partial(self._read_body, body)
            self._pass_on(body, pieces, rest)

    def _read_body(self, body: Body, data: bytes) -> None:
        pieces: list[bytes] = []
        try:
            rest = body.feed(data, pieces)
        except RequestRefused as refused:
            self._break_off(refused.reason)
        else:
            self._pass_on(body, pieces, rest)

    def _pass_on(self, body: Body, pieces: list[bytes], rest: bytes) -> None:
        if body.complete:
            self._body = None
            self._await_response(rest)
            self._give(pieces, complete=True)
        elif any(pieces):
            # The next piece is read when this one has been taken.
            self.flow.pause_reading()
            self._deadline = NEVER
            self._give(pieces, complete=False)
        # Else the deadline stays: dribbled, chunk extensions and trailers would hold the request for days, and with it
        # what was decided about it.

    def _give(self, pieces: list[bytes], *, complete: bool) -> None:
        """To the cycle of now: the request may have passed from one to another since its body began."""
        if self._cycle is not None:
            self._cycle.take_body(pieces, complete=complete)

    def _break_off(self, reason: Reason) -> None:
        """The body turned out bad while the request is already at work."""
        cycle = self._cycle
        if cycle is not None and cycle.started:
            self._cut(cycle)
        else:
            self._refuse(reason)

    # -- a response -----------------------------------------------------------------------------------------

    def _await_response(self, rest: bytes) -> None:
        self._deadline = NEVER
        self.consume = self._keep_pipelined
        if rest:
            self._keep_pipelined(rest)

    def _keep_pipelined(self, data: bytes) -> None:
        # Not even looked at before its turn: a refusal of it must not overtake the response now on its way.
        self._pipelined += data
        if len(self._pipelined) > HIGH_WATER:
            self.flow.pause_reading()

    def _next_request(self) -> None:
        self._cycle = None
        self._head_begun = False
        self.consume = self._read_head
        idle = self._limits.drain_idle_seconds if self.server_state.draining else self._limits.idle_seconds
        self._deadline = self._loop.time() + idle
        if self.flow.read_paused:
            self.flow.resume_reading()
        if self._pipelined:
            data, self._pipelined = self._pipelined, b""
            self._read_head(data)

    # -- endings --------------------------------------------------------------------------------------------

    def _expire(self) -> None:
        if self.consume == self._read_head:
            if self._reader.empty:
                self._close()
            else:
                self._refuse(Reason.HEAD_TIMEOUT)
        elif self._body is not None:
            self._break_off(Reason.BODY_TIMEOUT)
        elif self.transport.is_closing():
            if any(bytes_left(self.transport)):
                self._deadline = self._loop.time() + self._limits.head_seconds
            else:
                self.transport.abort()  # the client has everything, and says no goodbye (TLS)
        else:
            self._close()

    def _refuse(self, reason: Reason, rule: str = "", *, body: bool = True) -> None:
        self._end_with(reason, build_refusal(reason), rule, body=body)

    def _end_with(self, reason: Reason, refusal: Answer, rule: str = "", *, body: bool) -> None:
        """The last answer of this connection; whatever follows on it is never a request."""
        why = f"{reason}: {rule}" if rule else reason
        logger.info("refused a request of %s: %s", self.peer or "-", why, extra={"cause": Cause(self.peer)})
        if self._cycle is not None:
            self._cycle.leave()
            body = body and not self._cycle.answers_head
        self.transport.write(encode_refusal(refusal, self.server_state.date_line, body=body))
        self._linger()

    def _cut(self, cycle: Cycle) -> None:
        visible = cycle.visibly_unfinished
        cycle.leave()
        if visible:
            self._close()
        else:
            # A body that ends with the connection looks whole after FIN; only RST says that it is not.
            reset(self.transport)
