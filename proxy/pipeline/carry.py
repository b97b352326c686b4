"""The ASGI way of an allowed request to its service and back: HTTP/2, and sessions whose cookie is renewed. Decides
nothing."""

from __future__ import annotations

import asyncio
from typing import Any

from authgate.decision import Allowed
from authgate.gate.body import is_too_large
from authgate.gate.mcp import Checked, check_body, check_head
from authgate.observe.access_log import Record
from authgate.pages.responses import send_refusal
from authgate.reason import Reason
from authgate.wire.headers import RawHeaders
from proxy.buffers import ClientReads
from proxy.exchange import Downstream, Exchange
from proxy.failures import CLIENT_LEFT, SHUTDOWN, Failure
from proxy.headers import BadFraming, request_body_length
from proxy.pipeline.compression import Compressor
from proxy.pipeline.downstream import AsgiDownstream, Receive, Send
from proxy.pipeline.mcp_bodies import Body, BodyDenied, read_whole
from proxy.pipeline.mcp_filter import find_filter
from proxy.pipeline.passage import Passage
from proxy.upstream.connection import UpstreamConnection
from proxy.upstream.targets import UpstreamUnreachable
from proxy.upstream.worker import current_worker


async def carry(allowed: Allowed, record: Record, scope: dict[str, Any], receive: Receive, send: Send) -> None:
    if allowed.facts.wants_upgrade:
        # Only the server's own HTTP/1.1 shows the bytes of its connections.
        await send_refusal(record, allowed.refused(Reason.UPGRADE_NOT_SUPPORTED), send)
        return
    try:
        length = _body_length(scope)
    except BadFraming:
        await send_refusal(record, allowed.refused(Reason.BAD_FRAMING), send)
        return
    if is_too_large(allowed, length or 0):
        await send_refusal(record, allowed.refused(Reason.BODY_TOO_LARGE), send)
        return
    if allowed.entry.mcp is not None:
        await _carry_mcp(allowed, record, length or 0, scope, receive, send)
        return
    if allowed.reason is Reason.CORS_PREFLIGHT:
        length = 0  # over HTTP/2 a body may come that nothing has announced: nobody was asked who sends it
    first, more = b"", False
    if length != 0:
        # Also what sends "100 Continue": only now that the gate has let the request in.
        message = await receive()
        if message["type"] == "http.disconnect":
            record.cut = CLIENT_LEFT
            return
        first, more = message.get("body", b""), message.get("more_body", False)
        if length is None and not more:
            length = len(first)
        if is_too_large(allowed, len(first)):
            await send_refusal(record, allowed.refused(Reason.BODY_TOO_LARGE), send)
            return
    carrier = _Carrier(Passage(allowed, record), length, first, more)
    client = scope.get("extensions", {}).get("authgate.connection")
    await carrier.run(receive, send, client)


async def _carry_mcp(
    allowed: Allowed, record: Record, announced: int, scope: dict[str, Any], receive: Receive, send: Send
) -> None:
    """To an MCP server: nothing is sent before all of the body was decided."""
    body = Body(allowed)
    try:
        if (objection := check_head(allowed, announced)) is not None:
            raise BodyDenied(objection)
        if not await read_whole(body, receive):
            record.cut = CLIENT_LEFT
            return
        whole = body.whole()
        if is_too_large(allowed, len(whole)):
            raise BodyDenied(allowed.refused(Reason.BODY_TOO_LARGE))
        checked = check_body(allowed, whole)
        record.mcp_calls = checked.calls
        if checked.denied is not None:
            raise BodyDenied(checked.denied)
        carrier = _Carrier(Passage(allowed, record), len(whole), whole, False, checked)
        await carrier.run(receive, send, scope.get("extensions", {}).get("authgate.connection"))
    except BodyDenied as error:
        await send_refusal(record, error.denied, send)
    finally:
        body.give_back()


def _body_length(scope: dict[str, Any]) -> int | None:
    headers: RawHeaders = scope["headers"]
    length = request_body_length(headers)
    if length == 0 and scope["http_version"] not in ("1.0", "1.1"):
        # HTTP/2 may carry a body without saying how long it is (RFC 9113 8.1).
        return length if any(name == b"content-length" for name, _ in headers) else None
    return length


class _Carrier:
    """A passage, a connection, an exchange, and another try where one is allowed."""

    __slots__ = ("_checked", "_entry", "_first", "_length", "_missed", "_more", "_passage", "_record", "_worker")

    def __init__(
        self, passage: Passage, length: int | None, first: bytes, more: bool, checked: Checked | None = None
    ) -> None:
        """`checked`: the body, of a request to an MCP server."""
        self._checked = checked
        self._passage = passage
        self._record = passage.record
        self._entry = passage.allowed.entry
        self._length = length
        self._first = first
        self._more = more
        self._missed: dict[str, str] = {}  # targets that failed it, and why
        self._worker = current_worker()

    async def run(self, receive: Receive, send: Send, client: ClientReads | None) -> None:
        passage, record = self._passage, self._record
        downstream = AsgiDownstream(passage, receive, self._worker.loop)
        found = find_filter(downstream, passage.allowed, self._checked) if self._checked is not None else None
        reader: Downstream = found or downstream
        if self._entry.route.compress:
            reader = Compressor(reader, passage.allowed)
        downstream.exchange = Exchange(reader, self._entry.timeouts, client, passage.ends_at)
        try:
            started = await self._begin(downstream, kept=True)
            while not started and self._may_repeat(downstream.failure):
                started = await self._begin(downstream, kept=False)
            if started:
                await downstream.send_response(send)
            elif downstream.over is not None:
                await send_refusal(record, passage.objected(downstream.over), send)
            elif downstream.failure is not None:
                await self._refuse(downstream.failure.reason, send)
            else:
                record.cut = CLIENT_LEFT
        except UpstreamUnreachable as error:
            downstream.failure = passage.unreachable(error, self._missed)
            await self._refuse(downstream.failure.reason, send)
        except asyncio.CancelledError:
            record.cut = SHUTDOWN
            raise
        finally:
            downstream.close()
            self._report(downstream.failure)

    def _may_repeat(self, failure: Failure | None) -> bool:
        return failure is not None and self._length == 0 and self._passage.may_repeat(failure, self._missed)

    def _report(self, failure: Failure | None) -> None:
        if failure is not None:
            self._passage.report(failure)
        elif self._missed:
            self._passage.report_missed(self._missed)

    async def _begin(self, downstream: AsgiDownstream, *, kept: bool) -> bool:
        connection = await self._connection(kept=kept)
        try:
            head = self._passage.request_head(connection.target, self._length)
        except BaseException:
            connection.abort()
            raise
        if self._passage.is_revoked():  # while it waited
            connection.abort()
            downstream.over = Reason.TOKEN_REVOKED
            return False
        downstream.restart()
        downstream.exchange.begin(
            connection, head, head_only=self._passage.allowed.facts.method == "HEAD", chunked=self._length is None,
            body=self._length != 0,
        )  # fmt: skip
        if self._length != 0:
            downstream.upload(self._first, more=self._more)
        return await downstream.started()

    async def _connection(self, *, kept: bool) -> UpstreamConnection:
        allowed = self._passage.allowed
        connection = self._worker.take_idle(allowed) if kept else None
        return connection or await self._passage.connect(self._missed, fresh=not kept)

    async def _refuse(self, reason: Reason, send: Send) -> None:
        await send_refusal(self._record, self._passage.allowed.failed(reason), send)
