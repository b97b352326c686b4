"""One request and its response, as ASGI sees them."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from gateway_site.http1.head import RequestHead
from gateway_site.http1.response import CHUNKED, UNTIL_CLOSE, BadResponse, build_head

if TYPE_CHECKING:
    from gateway_site.http1.protocol import Application, Http1Protocol

logger = logging.getLogger(__name__)

# Above this, writing the parts one after the other is cheaper than copying them together.
_COPY_BYTES = 4096


class Cycle:
    __slots__ = (
        "_arrival", "_block", "_body_given", "_connection", "_head_only", "_keep_alive", "_left", "_pieces", "_scope",
        "_version", "_waits_for_continue", "body_complete", "complete", "gone", "started", "task", "unread",
    )  # fmt: skip

    def __init__(self, connection: Http1Protocol, head: RequestHead, scope: dict[str, Any]) -> None:
        self._connection = connection
        self._scope = scope
        self._head_only = head.method == "HEAD"
        self._version = head.version
        self._keep_alive = head.keep_alive
        self._waits_for_continue = head.expects_continue
        self._pieces: list[bytes] = []
        self.unread = 0
        self.body_complete = head.length == 0
        self._body_given = False
        self._arrival: asyncio.Event | None = None
        self._block = b""  # the head, until the first piece of the body goes out with it: one write, not two
        self._left = 0  # bytes of the response still owed, CHUNKED or UNTIL_CLOSE
        self.started = self.complete = False
        self.gone = False  # no one is there to read a response
        self.task: asyncio.Task[None] | None = None

    # -- called by the connection ---------------------------------------------------------------------------

    def take_body(self, pieces: list[bytes], *, complete: bool) -> None:
        self._pieces += pieces
        self.unread += sum(map(len, pieces))
        self.body_complete = complete
        self._wake()

    def leave(self) -> None:
        self.gone = True
        self._wake()

    def writing_paused(self) -> None:
        """`send` waits by itself."""

    def writing_resumed(self) -> None: ...

    @property
    def visibly_unfinished(self) -> bool:
        """Whether closing now shows the client that the response is not whole."""
        return self._left != UNTIL_CLOSE

    async def run(self, application: Application) -> None:
        try:
            await application(self._scope, self.receive, self.send)
        except Exception:
            if not self.gone:
                logger.exception("the application failed")
            self._connection.fail(self)
        except BaseException:  # cancelled: the time for draining is over
            self._connection.fail(self)
            raise
        else:
            if not self.complete and not self.gone:
                self._connection.fail(self)
        finally:
            if self.task is not None:
                self._connection.server_state.tasks.discard(self.task)

    # -- called by the application --------------------------------------------------------------------------

    async def receive(self) -> dict[str, Any]:
        if self._waits_for_continue:
            self._waits_for_continue = False
            if not self.started and not self.gone:
                self._connection.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        while not self.gone and not self.complete:
            if self._pieces or (self.body_complete and not self._body_given):
                return self._next_piece()
            if self._arrival is None:
                self._arrival = asyncio.Event()
            self._arrival.clear()
            await self._arrival.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        flow = self._connection.flow
        if flow.write_paused and not self.gone:
            await flow.drain()
        if self.gone:
            return
        kind = message["type"]
        if not self.started and not self._block:
            if kind != "http.response.start":
                raise BadResponse(f"expected http.response.start, not {kind}")
            self._prepare(message["status"], message.get("headers", ()))
        elif kind != "http.response.body" or self.complete:
            raise BadResponse(f"unexpected {kind}")
        else:
            self._send_body(message.get("body", b""), more=message.get("more_body", False))

    # -------------------------------------------------------------------------------------------------------

    def _next_piece(self) -> dict[str, Any]:
        pieces = self._pieces
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._pieces = []
        self.unread = 0
        self._body_given = self.body_complete
        if not self.body_complete:
            self._connection.resume_body()
        return {"type": "http.request", "body": body, "more_body": not self.body_complete}

    def _prepare(self, status: int, headers: Any, more_lines: bytes = b"") -> None:
        connection = self._connection
        # An answer before the end of the upload: whether the rest of it comes is in doubt, so nothing follows it.
        keep_alive = self._keep_alive and self.body_complete and not connection.server_state.draining
        head = build_head(
            status, headers, connection.server_state.date_line, more_lines,
            head_only=self._head_only, chunkable=self._version == "1.1", keep_alive=keep_alive,
        )  # fmt: skip
        self._waits_for_continue = False
        self._head_only = self._head_only or status in (204, 304)
        self._keep_alive = head.keep_alive
        self._left = head.length
        self._block = head.block

    def _send_body(self, body: bytes, *, more: bool) -> None:
        parts: tuple[bytes, ...] = ()
        if not self._head_only:
            if self._left == CHUNKED:
                parts = _chunk(body, last=not more)
            else:
                self._count(len(body), last=not more)
                parts = (body,)
        block, self._block = self._block, b""
        self.started = True
        self._write(block, *parts)
        if not more:
            self.complete = True
            self._wake()
            self._connection.response_complete(keep_alive=self._keep_alive)

    def _write(self, *parts: bytes) -> None:
        if sum(map(len, parts)) < _COPY_BYTES:
            data = b"".join(parts)
            if data:
                self._connection.transport.write(data)
        else:
            self._connection.transport.writelines([part for part in parts if part])

    def _count(self, size: int, *, last: bool) -> None:
        if self._left != UNTIL_CLOSE:
            if size > self._left or (last and size < self._left):
                raise BadResponse("the response body does not have the announced length")
            self._left -= size

    def _wake(self) -> None:
        if self._arrival is not None:
            self._arrival.set()


def _chunk(body: bytes, *, last: bool) -> tuple[bytes, ...]:
    if not body:
        return (b"0\r\n\r\n",) if last else ()
    return b"%x\r\n" % len(body), body, b"\r\n0\r\n\r\n" if last else b"\r\n"
