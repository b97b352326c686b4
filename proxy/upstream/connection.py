"""Connections to upstreams. They carry bytes and decide nothing."""

from __future__ import annotations

import asyncio
import select
import time
from typing import Protocol

import httptools

from authgate.wire.framing import BODILESS
from authgate.wire.headers import RawHeaders
from authgate.wire.websocket import is_accepted
from proxy.buffers import READ_BYTES, WRITE_HIGH_WATER, BoundedReads, reset
from proxy.exchange import Exchange, Upstream
from proxy.response_headers import Layout, Values, layout_of
from proxy.upstream.bad_answers import ending_words, parser_words
from proxy.upstream.known_heads import KnownHead, recall, remember
from proxy.upstream.targets import Target

MAX_RESPONSE_HEAD = 64 * 1024  # with the interim heads before it; also of the trailers
MAX_RESPONSE_HEADERS = 256
MAX_LENGTH_DIGITS = 18
_FINISH_SECONDS = 5.0
_SWITCHED = 101


class Owner(Protocol):
    """Who keeps a connection between its exchanges."""

    is_doubted: bool  # whether it wants to hear of answers

    def opened(self, connection: UpstreamConnection) -> None: ...
    def closed(self, connection: UpstreamConnection) -> None: ...
    def release(self, connection: UpstreamConnection) -> None: ...
    def discard(self, connection: UpstreamConnection) -> None: ...
    def answered(self, connection: UpstreamConnection) -> None: ...
    def blame(self, what: str) -> None: ...


class UpstreamConnection(Upstream):
    __slots__ = (
        "_arrivals", "_complete", "_extra", "_fields", "_head", "_head_only", "_interim", "_keep_alive", "_parser",
        "_pending", "_until_close", "address", "exchange", "idle_since", "made_at", "owner", "status",
    )  # fmt: skip

    target: Target

    def __init__(self, owner: Owner, target: Target, address: str = "") -> None:
        """`address`: of the target's host, by which it is reached."""
        super().__init__()
        self.owner = owner
        self.target = target
        self.address = address
        self.made_at = 0.0
        self.exchange: Exchange | None = None
        self.reused = False
        self.idle_since = 0.0
        self._parser = httptools.HttpResponseParser(self)
        self._reset(head_only=False)

    def _reset(self, *, head_only: bool) -> None:
        self.status = 0
        self._fields: RawHeaders = []  # as they came
        self._pending = 0  # bytes received since the beginning, or since the last piece of the body
        self._head_only = head_only
        self._complete = self._extra = self._interim = self._keep_alive = self._until_close = False
        self._streak = 0

    def begin(self, exchange: Exchange, head: bytes, *, head_only: bool) -> None:
        self.exchange = exchange
        self._reset(head_only=head_only)
        self.transport.write(head)

    @property
    def receiver(self) -> BoundedReads | None:
        return self.exchange.client if self.exchange is not None else None

    @property
    def unanswered(self) -> bool:
        return not self.status and not self._pending

    def blame(self, what: str) -> None:
        self.owner.blame(what)

    def finish(self) -> None:
        self.exchange = None
        self.transport.close()
        # What is unsent must not wait for ever for an upstream that does not read it.
        asyncio.get_running_loop().call_later(_FINISH_SECONDS, self.transport.abort)

    def abort(self) -> None:
        self.exchange = None
        if not self.transport.is_closing():
            # With RST: what is unsent must not wait in the kernel for an upstream that does not read it.
            reset(self.transport)

    # -- asyncio ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self.transport.set_write_buffer_limits(high=WRITE_HIGH_WATER, low=0)
        if hasattr(transport, "set_read_buffer_limits"):  # of TLS
            transport.set_read_buffer_limits(high=READ_BYTES)
        self._arrivals = select.poll()
        self._arrivals.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        self.made_at = time.monotonic()
        self.owner.opened(self)

    def is_quiet(self) -> bool:
        """Neither closed nor speaking unasked, not even in what the event loop has yet to read.

        Bytes that wait in the socket would be taken for the answer to the next request, somebody else's.
        """
        return not self.transport.is_closing() and not self._arrivals.poll(0)

    def consume(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is None:
            # An answer nobody asked for would become the answer to the next request.
            self.owner.discard(self)
            return
        if self.status:
            # Bytes of a head are no sign of life: dribbled, they would hold the request for ever.
            exchange.touch()
            if self.status == _SWITCHED:
                exchange.upstream_data(data)
                exchange.upstream_so_far()
                return
        is_first = not self._pending and not self.status and not self._head_only
        if is_first and (known := recall(data)) is not None:
            self._take_known(exchange, known, data)
            return
        self._pending += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as switch:
            self._pass_on(exchange, data[switch.args[0] :])
            return
        except httptools.HttpParserError as error:
            if not self._complete:
                self._report_unreadable(exchange, error, data)
                return
            self._extra = True
        if self.exchange is None:
            return
        if self._complete:
            if is_first and self._keep_alive and not self._extra:
                remember(data, self.status, *self._head)
            self._finish(exchange)
        elif self._pending > MAX_RESPONSE_HEAD:
            part = "trailers or chunk extensions" if self.status else "a response head"
            exchange.upstream_broken(f"{part} of more than {MAX_RESPONSE_HEAD} bytes")
        elif self.status:
            exchange.upstream_so_far()

    def _pass_on(self, exchange: Exchange, first: bytes) -> None:
        """What comes behind the head of a 101, which was refused unless it was asked for."""
        if self.exchange is not None:
            exchange.upstream_data(first)
            exchange.upstream_so_far()

    def _report_unreadable(self, exchange: Exchange, error: Exception, data: bytes) -> None:
        if isinstance(error, httptools.HttpParserCallbackError):
            exchange.upstream_broken("its response could not be read", error.__context__)
        else:
            exchange.upstream_broken(parser_words(str(error), data, in_head=not self.status))

    def _take_known(self, exchange: Exchange, known: KnownHead, data: bytes) -> None:
        """A whole response at once: the parser stays before the beginning of the next one."""
        if self.owner.is_doubted:
            self.owner.answered(self)
        self.status = known.status
        exchange.upstream_head(known.status, known.layout, known.values)
        body_bytes = int(known.values[known.layout.length_at])
        if body_bytes and self.exchange is not None:
            exchange.upstream_data(data[-body_bytes:])
        if self.exchange is not None:
            self._complete = self._keep_alive = True
            self._finish(exchange)

    def pause_writing(self) -> None:
        if self.exchange is not None:
            self.exchange.pause_request()

    def resume_writing(self) -> None:
        if self.exchange is not None:
            self.exchange.resume_request()

    def connection_lost(self, exc: Exception | None) -> None:
        exchange, self.exchange = self.exchange, None
        self.owner.closed(self)
        if exchange is None:
            self.owner.discard(self)
        else:
            exchange.upstream_lost(ending_words(exc, when=self._progress()))
        del self._parser  # it refers back to this

    def eof_received(self) -> None:
        # connection_lost would wait until what is unsent has gone out, which it never may. Over TLS this is the close
        # alert: a connection that just ends has been cut (RFC 9112 9.8).
        exchange = self.exchange
        if exchange is not None and self._until_close:
            self.exchange = None
            self.transport.abort()
            exchange.upstream_end()
        elif exchange is not None:
            self.exchange = None
            self.transport.abort()
            exchange.upstream_lost(ending_words(None, when=self._progress()))

    def _progress(self) -> str:
        """How far the response has come."""
        if self.unanswered:
            return "that was kept from an earlier request, without an answer" if self.reused else "without an answer"
        if not self.status:
            return "in the middle of the response head"
        layout, values = self._head
        if layout.length_at >= 0:
            return f"before the end of a body of {int(values[layout.length_at])} bytes"
        return "before the last chunk" if layout.coding_at >= 0 else "in the middle of the body"

    # -- httptools ----------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._complete:
            self._extra = True

    def on_header(self, name: bytes, value: bytes) -> None:
        # After the head these are trailers, which are dropped: nothing may slip past what the head declared.
        fields = self._fields
        if not self.status and len(fields) <= MAX_RESPONSE_HEADERS:
            fields.append((name, value))

    def on_headers_complete(self) -> None:
        exchange = self.exchange
        if exchange is None or self._complete:
            return
        status = self._parser.get_status_code()
        names, values = zip(*self._fields, strict=True) if self._fields else ((), ())
        layout = layout_of(names)
        joined = b"\n".join(values)
        if b" \n" in joined or b"\t\n" in joined or joined[-1:] in (b" ", b"\t"):
            # White space around a value is not part of it (RFC 9112 5.1); llhttp leaves what is behind.
            values = tuple([value.rstrip(b" \t") for value in values])
        problem = self._problem_of(status, layout, values)
        if layout.bytes + len(joined) > MAX_RESPONSE_HEAD:
            problem = f"a response head of more than {MAX_RESPONSE_HEAD} bytes"
        if problem is not None:
            exchange.upstream_broken(problem)
            return
        if status < 200 and status != _SWITCHED:
            # 100 answers an Expect we never send, 103 is optional. The parser would read a body here, which there is
            # none (RFC 9110 15.2).
            self._interim = True
            self._fields = []
            return
        self.status = status
        if self.owner.is_doubted:
            self.owner.answered(self)
        self._head = (layout, values)
        # A WebSocket ends as a body does that has no length.
        self._until_close = not layout.is_framed and status not in BODILESS
        exchange.upstream_head(status, layout, values)
        if self._head_only:
            self._complete = True
            # llhttp cannot be told that this message has no body: its state ends with this response.
            self._keep_alive = self._parser.should_keep_alive()
            self._parser = httptools.HttpResponseParser(self)

    def on_body(self, data: bytes) -> None:
        self._pending = 0
        if self._head_only:
            self._extra = True
        elif self.exchange is not None and not self._complete:
            self.exchange.upstream_data(data)

    def on_message_complete(self) -> None:
        if self._interim:
            self._interim = False
        elif not self._complete and self.status != _SWITCHED:
            self._complete = True
            self._keep_alive = self._parser.should_keep_alive()

    def _problem_of(self, status: int, layout: Layout, values: Values) -> str | None:
        """What the parser lets through and others may not is refused."""
        if len(values) > MAX_RESPONSE_HEADERS:
            return f"more than {MAX_RESPONSE_HEADERS} headers"
        if status > 599:
            return "a bad status line: the status is above 599"
        if layout.length_at >= 0 and len(values[layout.length_at]) > MAX_LENGTH_DIGITS:
            return f"a Content-Length of more than {MAX_LENGTH_DIGITS} digits"
        if layout.coding_at >= 0 and self._parser.get_http_version() != "1.1":
            return "Transfer-Encoding in a response of HTTP/1.0"  # RFC 9112 6.1
        if status >= 200:
            return None
        if status < 100:
            return "a bad status line: the status is below 100"
        if status == _SWITCHED and (accept := self.exchange.accept if self.exchange is not None else b""):
            is_right = is_accepted(layout.pairs(values), accept) and not layout.is_framed
            return None if is_right else "it switched protocols (101) without accepting the handshake of this WebSocket"
        if status == _SWITCHED:
            return "it switched protocols (101), which the request did not ask for"
        return "an interim response (1xx) with a body" if layout.is_framed else None

    def _finish(self, exchange: Exchange) -> None:
        self.exchange = None
        # What is unsent would stand before the next request; and after a handshake somebody may read no more requests.
        sent = exchange.request_sent and not self.transport.get_write_buffer_size()
        if self._keep_alive and not self._extra and sent and not exchange.accept:
            if exchange.response_paused:
                self.transport.resume_reading()
            if self.target.scheme == "https":
                # What TLS holds already, no look at the socket would find (`is_quiet`). It hands that over in the next
                # turn of the loop; then this connection is still nobody's.
                loop = asyncio.get_running_loop()
                loop.call_soon(loop.call_soon, self._release)
            else:
                self.owner.release(self)
        else:
            self.transport.abort()
            if self._extra:
                exchange.upstream_strayed("sent more than the response may have; the response was passed on without it")
        exchange.upstream_end()

    def _release(self) -> None:
        if not self.transport.is_closing():
            self.owner.release(self)
