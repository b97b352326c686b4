"""One request and its response, as ASGI sees them. The callbacks' way shares how the response is written."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from uvicorn.protocols.http.flow_control import FlowControl

from authgate.wire.framing import BODILESS, CHUNKED, CHUNKED_LINE, LAST_CHUNK, UNTIL_CLOSE
from proxy.server.http1.head import RequestHead
from proxy.server.http1.response import BadResponse, read_headers, status_line
from proxy.server.http1.state import GatewayState
from proxy.server.http1.taking import NotTaken

logger = logging.getLogger(__name__)

# Above this, writing the parts one after the other is cheaper than copying them together.
_COPY_BYTES = 4096
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


Application = Callable[[dict[str, Any], Any, Any], Awaitable[None]]


class Connection(Protocol):
    """The client's, which has one cycle at a time."""

    server_state: GatewayState
    transport: asyncio.Transport
    flow: FlowControl

    def resume_body(self) -> None: ...
    def response_complete(self, *, keep_alive: bool) -> None: ...

    def fail(self, cycle: Cycle) -> None:
        """The application gave up: a clear answer if none has begun, else a response that is visibly cut."""

    def cut_off(self, cycle: Cycle) -> None:
        """What is left is dropped: closing would keep it as long as the client takes a byte at times."""


class Cycle:
    # Most requests change none of these: set on the class they cost a request nothing.
    _piece = b""  # of the body, until the application takes it
    _body_given = False
    body_complete = False
    _continued = False
    _arrival: asyncio.Event | None = None
    _block = b""  # the head, until the first piece of the body goes out with it: one write, not two
    _left = 0  # bytes of the response still owed, CHUNKED or UNTIL_CLOSE
    started = complete = False
    gone = False  # no one is there to read a response
    task: asyncio.Task[None] | None = None

    def __init__(self, connection: Connection, request: RequestHead) -> None:
        self._connection = connection
        self._request = request
        self._head_only = request.method == "HEAD"
        self._keep_alive = request.keep_alive
        if not request.length:
            self.body_complete = True

    # -- called by the connection ---------------------------------------------------------------------------

    def take_body(self, pieces: list[bytes], *, complete: bool) -> None:
        """Once, and again after `resume_body`."""
        # Together: chunks of two bytes are objects of forty.
        self._piece = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self.body_complete = complete
        self._wake()

    def leave(self) -> None:
        self.gone = True
        self._connection.flow.resume_writing()  # `send` waits no longer for a client that has gone
        self._wake()

    def give_way(self) -> None:
        """Its connection is needed for another client."""
        self.leave()

    def give_up(self) -> None:
        """The process ends."""
        self._connection.fail(self)

    def writing_paused(self) -> None:
        """`send` waits by itself."""

    def writing_resumed(self) -> None: ...

    @property
    def visibly_unfinished(self) -> bool:
        """Whether closing now shows the client that the response is not whole."""
        return self._left != UNTIL_CLOSE

    @property
    def answers_head(self) -> bool:
        """Whether no answer to this request may have a body."""
        return self._request.method == "HEAD"

    async def run(self, application: Application, scope: dict[str, Any]) -> None:
        try:
            await application(scope, self.receive, self.send)
        except NotTaken:
            self._connection.cut_off(self)
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
        if self._request.expects_continue and not self._continued:
            self._continued = True
            if not self.started and not self._block and not self.gone:
                self._connection.transport.write(CONTINUE)
        while not self.gone and not self.complete:
            if self._piece or (self.body_complete and not self._body_given):
                return self._next_piece()
            if self._arrival is None:
                self._arrival = asyncio.Event()
            self._arrival.clear()
            await self._arrival.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
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
            # After a piece, not before the next: whoever makes the next one would hold it meanwhile.
            if not self.complete and self._connection.flow.write_paused:
                await self._connection.flow.drain()

    # -------------------------------------------------------------------------------------------------------

    def _next_piece(self) -> dict[str, Any]:
        body, self._piece = self._piece, b""
        self._body_given = self.body_complete
        if not self.body_complete:
            self._connection.resume_body()
        return {"type": "http.request", "body": body, "more_body": not self.body_complete}

    def _prepare(self, status: int, headers: Any) -> None:
        lines = read_headers(status, headers)
        self._keep_alive = self._keep_alive and not lines.closes
        self._frame(status, lines.block, lines.length, has_date=lines.has_date)

    def _frame(self, status: int, lines: bytes, length: int | None, *, has_date: bool) -> None:
        """Make the head of whole header lines known to be clean; `length` of the body, if they say it."""
        state = self._connection.server_state
        # An answer before the end of the upload: whether the rest of it comes is in doubt, so nothing follows it.
        keep_alive = self._keep_alive and self.body_complete and not state.draining
        framing = b""
        if self._head_only or status in BODILESS:
            self._head_only = True
            length = 0
        elif length is None and self._request.version == "1.1":
            length, framing = CHUNKED, CHUNKED_LINE
        elif length is None:
            length, keep_alive = UNTIL_CLOSE, False
        self._block = b"%b%b%b%b%b\r\n" % (
            status_line(status), lines, framing, b"" if keep_alive else b"connection: close\r\n",
            b"" if has_date else state.date_line,
        )  # fmt: skip
        self._keep_alive = keep_alive
        self._left = length

    def _send_body(self, body: bytes, *, more: bool) -> None:
        block, self._block = self._block, b""
        end = b""
        if self._head_only:
            body = b""
        elif self._left == CHUNKED:
            block, end = _framed_chunk(block, body, last=not more)
        else:
            self._count(len(body), last=not more)
        self.started = True
        transport = self._connection.transport
        if len(body) >= _COPY_BYTES:
            transport.writelines([part for part in (block, body, end) if part])
        elif block or body or end:
            transport.write(block + body + end)
        if not more:
            self.complete = True
            if self._arrival is not None:
                self._arrival.set()
            self._connection.response_complete(keep_alive=self._keep_alive)

    def _count(self, size: int, *, last: bool) -> None:
        left = self._left
        if left != UNTIL_CLOSE:
            if size > left or (last and size < left):
                raise BadResponse("the response body does not have the announced length")
            self._left = left - size

    def _wake(self) -> None:
        if self._arrival is not None:
            self._arrival.set()


def _framed_chunk(block: bytes, body: bytes, *, last: bool) -> tuple[bytes, bytes]:
    """What goes before and behind the body."""
    if body:
        return b"%b%x\r\n" % (block, len(body)), b"\r\n" + LAST_CHUNK if last else b"\r\n"
    return block, LAST_CHUNK if last else b""
