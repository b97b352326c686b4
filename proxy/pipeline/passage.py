"""Carries one allowed request upstream and its response back. Decides nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any

from msgspec.structs import replace

from authgate.observe.access_log import Record
from authgate.pages.responses import send_refusal
from authgate.reason import Reason
from authgate.wire.headers import RawHeaders
from proxy.buffers import ClientReads
from proxy.exchange import Exchange
from proxy.failures import CLIENT_LEFT, SHUTDOWN, Failure, report, report_oddity
from proxy.headers import BadFraming, request_body_length
from proxy.pipeline.downstream import AsgiDownstream, Receive, Send
from proxy.pipeline.outgoing import build_head
from proxy.upstream.connection import UpstreamConnection, UpstreamUnreachable
from proxy.upstream.worker import current_worker

_IDEMPOTENT = frozenset(("GET", "HEAD", "OPTIONS", "PUT", "DELETE"))


async def proxy_view(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """The allowed request is in `scope["state"]["record"]`, which also takes what came of it.

    `scope["state"]["second_try"]`: it was already lost with a kept connection.
    """
    record: Record = scope["state"]["record"]
    try:
        length = _body_length(scope)
    except BadFraming:
        assert record.decision  # noqa: S101
        await send_refusal(record, replace(record.decision, allowed=False, reason=Reason.BAD_FRAMING), send)
        return
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
    passage = _Passage(record, length, first, more)
    client = scope.get("extensions", {}).get("authgate.connection")
    await passage.run(receive, send, client, second_try=scope["state"].get("second_try", False))


def _body_length(scope: dict[str, Any]) -> int | None:
    headers: RawHeaders = scope["headers"]
    length = request_body_length(headers)
    if length == 0 and scope["http_version"] not in ("1.0", "1.1"):
        # HTTP/2 may carry a body without saying how long it is (RFC 9113 8.1).
        return length if any(name == b"content-length" for name, _ in headers) else None
    return length


def may_repeat(method: str) -> bool:
    """Whether a request that had no body may safely arrive twice (RFC 9110 9.2.2).

    A kept connection may have been closed by the upstream just as we wrote.
    """
    return method in _IDEMPOTENT


class _Passage:
    """One request on its way: a connection, an exchange, and at most one second try."""

    __slots__ = ("_decision", "_entry", "_facts", "_first", "_length", "_missed", "_more", "_record", "_worker")

    def __init__(self, record: Record, length: int | None, first: bytes, more: bool) -> None:
        assert record.facts and record.decision and record.decision.route  # noqa: S101  set by the front door
        self._record = record
        self._facts = record.facts
        self._decision = record.decision
        self._entry = record.decision.route
        self._length = length
        self._first = first
        self._more = more
        self._missed: dict[str, str] = {}  # targets without a connection, and why
        self._worker = current_worker()

    async def run(self, receive: Receive, send: Send, client: ClientReads | None, *, second_try: bool) -> None:
        record = self._record
        private = self._entry.access != "public" or self._decision.identity is not None
        downstream = AsgiDownstream(record, receive, self._worker.loop, private=private)
        downstream.exchange = exchange = Exchange(downstream, self._entry.timeouts, client)
        began = time.monotonic()
        try:
            started = await self._begin(downstream, kept=not second_try)
            lost = not started and exchange.stale and not second_try
            if lost and self._length == 0 and may_repeat(self._facts.method):
                started = await self._begin(downstream, kept=False)
            if exchange.head_at:
                record.upstream_seconds = exchange.head_at - began
            if started:
                await downstream.send_response(send)
            elif downstream.failure is not None:
                await self._refuse(downstream.failure.reason, send)
            else:
                record.cut = CLIENT_LEFT
        except UpstreamUnreachable as error:
            slow = isinstance(error.__cause__, TimeoutError)
            reason = Reason.UPSTREAM_TIMEOUT if slow else Reason.UPSTREAM_UNREACHABLE
            downstream.failure = Failure(reason, _each_once(self._missed.values()), ", ".join(self._missed))
            await self._refuse(reason, send)
        except asyncio.CancelledError:
            record.cut = SHUTDOWN
            raise
        finally:
            downstream.close()
            self._report(downstream.failure)

    def _report(self, failure: Failure | None) -> None:
        if failure is not None:
            report(self._record, failure)
        elif self._missed:
            what = f"{_each_once(self._missed.values())}; another target was asked"
            report_oddity(self._record, ", ".join(self._missed), what)

    async def _begin(self, downstream: AsgiDownstream, *, kept: bool) -> bool:
        connection = await self._connection(kept=kept)
        try:
            head = build_head(self._record, connection.target, self._length)
        except BaseException:
            connection.abort()
            raise
        downstream.restart()
        downstream.exchange.begin(
            connection, head, head_only=self._facts.method == "HEAD", chunked=self._length is None,
            body=self._length != 0,
        )  # fmt: skip
        if self._length != 0:
            downstream.upload(self._first, more=self._more)
        return await downstream.started()

    async def _connection(self, *, kept: bool) -> UpstreamConnection:
        upstream = self._entry.upstream
        connection = self._worker.take_idle(upstream) if kept else None
        return connection or await self._worker.connect(upstream, self._entry.timeouts.connect or 0, self._missed)

    async def _refuse(self, reason: Reason, send: Send) -> None:
        await send_refusal(self._record, replace(self._decision, reason=reason), send)


def _each_once(words: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(words))
