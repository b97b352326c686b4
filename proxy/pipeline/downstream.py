"""The ASGI side of an exchange: any server that speaks ASGI, HTTP/2 included."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from authgate.gate.body import is_too_large
from authgate.observe.access_log import Record
from authgate.reason import Reason
from authgate.wire.framing import BODILESS
from authgate.wire.headers import RawHeaders
from proxy.exchange import Exchange
from proxy.failures import CLIENT_LEFT, SHUTDOWN, Failure, cut_by
from proxy.pipeline.passage import Passage
from proxy.response_headers import Layout, Values

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class AsgiDownstream:
    """Collects what the upstream's callbacks bring until the request's task sends it on."""

    __slots__ = (
        "_chunks", "_ended", "_headers", "_loop", "_passage", "_paused", "_receive", "_status", "_taken", "_waiter",
         "_watcher", "_writable", "exchange", "failure", "gone", "over",
    )  # fmt: skip

    def __init__(self, passage: Passage, receive: Receive, loop: asyncio.AbstractEventLoop) -> None:
        self.exchange: Exchange
        self._loop = loop
        self.failure: Failure | None = None
        self.gone = False  # the client has left
        self.over: Reason | None = None  # why it may not go on
        self._passage = passage
        self._receive = receive
        self._status = self._taken = 0
        self._headers: RawHeaders = []
        self._chunks: list[bytes] = []
        self._ended = self._paused = False
        self._waiter: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._watcher: asyncio.Task[None] | None = None

    # -- Downstream: called by the exchange -----------------------------------------------------------------

    def response_head(self, status: int, layout: Layout, values: Values) -> None:
        headers = self._passage.response_headers(layout, values)
        if status in BODILESS:
            # It speaks of a body that does not follow; servers would wait for it.
            headers = [pair for pair in headers if pair[0] != b"content-length"]
        self._headers = [*headers, (b"x-request-id", self._passage.record.request_id.encode("ascii"))]
        self._status = status
        self._passage.head_arrived(status)

    def response_data(self, data: bytes) -> None:
        self._chunks.append(data)

    def response_so_far(self) -> None:
        if self._chunks and not self._paused:
            # The next piece is read when the server has taken this one, which it does when the client can take it.
            self._paused = True
            self.exchange.pause_response()
        if len(self._chunks) > 1:
            self._chunks = [b"".join(self._chunks)]  # chunks of two bytes are objects of forty
        self._wake()

    def response_end(self) -> None:
        self._ended = True
        self._wake()

    def response_failed(self, failure: Failure) -> None:
        self.failure = failure
        self._wake()

    def response_strayed(self, target: str, what: str) -> None:
        self._passage.report_oddity(target, what)

    def request_writable(self) -> None:
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    def trust_changed(self) -> None:
        if self._passage.is_revoked():
            self._break_up(Reason.TOKEN_REVOKED)

    def still_waiting(self) -> None:
        # A task that waits for the client to leave is only worth its price when the answer takes a while.
        if self._watcher is None:
            self._watcher = self._loop.create_task(self._watch())
        if self._is_endless and (reason := self._passage.objection()) is not None:
            self._break_up(reason)

    @property
    def _is_endless(self) -> bool:
        """The response has begun without a length."""
        return bool(self._status) and all(name != b"content-length" for name, _ in self._headers)

    def _break_up(self, reason: Reason) -> None:
        self.over = reason
        self.exchange.cancel()
        self._wake()

    # -- the request's task ---------------------------------------------------------------------------------

    def restart(self) -> None:
        self.failure = None

    def upload(self, first: bytes, *, more: bool) -> None:
        """Send the first piece of the body now and the rest as it comes."""
        self._taken = len(first)
        self.exchange.send_body(first)
        if more:
            self._watcher = self._loop.create_task(self._pump())
        else:
            self.exchange.end_body()

    async def started(self) -> bool:
        """Wait for the response head. False: `failure`, `gone` or `over` says why there is none."""
        while not self._status and self.failure is None and not self.gone and self.over is None:
            await self._news()
        return bool(self._status) and self.over is None

    async def send_response(self, send: Send) -> None:
        """Until its end; else the record says why it was cut."""
        record = self._passage.record
        record.cut = CLIENT_LEFT  # unless something else turns out
        try:
            await self._send_all(record, send)
        except asyncio.CancelledError:
            record.cut = SHUTDOWN
            raise

    async def _send_all(self, record: Record, send: Send) -> None:
        await send({"type": "http.response.start", "status": self._status, "headers": self._headers})
        while not self.gone and self.over is None:
            # The first piece may be empty: servers hold the head back until there is one, and the client of an
            # event stream waits for the head.
            chunks, self._chunks = self._chunks, []
            ended = self._ended
            body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
            record.bytes_sent += len(body)
            await send({"type": "http.response.body", "body": body, "more_body": not ended})
            if ended:
                record.cut = None
                return
            if self._paused:
                self._paused = False
                self.exchange.resume_response()
            while not self._chunks and not self._ended and not self.gone and self.over is None:
                if self.failure is not None:
                    # Returning without the end makes the server cut the connection: the client can see that
                    # the response is not whole.
                    record.cut = self.failure.reason
                    return
                await self._news()
        if self.over is not None:
            record.cut = cut_by(self.over)

    def close(self) -> None:
        self.exchange.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
        # The two refer to each other; without this every request would leave garbage for the collector.
        del self.exchange

    async def _news(self) -> None:
        self._waiter = self._loop.create_future()
        await self._waiter

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _pump(self) -> None:
        more = True
        while more:
            # One piece is asked for even while the upstream takes none: it may be the news that the client has left.
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self._leave()
                return
            if self.exchange.request_paused:
                self._writable = self._loop.create_future()
                await self._writable
            piece = message.get("body", b"")
            self._taken += len(piece)
            if is_too_large(self._passage.allowed, self._taken):
                self._break_up(Reason.BODY_TOO_LARGE)
                return
            self.exchange.send_body(piece)
            more = message.get("more_body", False)
        self.exchange.end_body()
        await self._watch()

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._leave()

    def _leave(self) -> None:
        self.gone = True
        self.exchange.cancel()
        self._wake()
