"""The shortcut past ASGI: an allowed request without a body meets a kept upstream connection with no task between.

Everything else (bodies, new connections, the gateway's own pages, limits kept in Redis) takes the application's way.
"""

from __future__ import annotations

import logging
import time

from django.conf import settings
from msgspec.structs import replace

from authgate.decision import Decision
from authgate.observe.access_log import Record, new_request_id
from authgate.pages.responses import answer_refusal
from authgate.policy.table import RouteEntry
from authgate.reason import Reason
from authgate.sessions.renewal import may_be_due
from authgate.wire.headers import RawHeaders
from proxy.exchange import Exchange
from proxy.failures import CLIENT_LEFT, SHUTDOWN, Failure, report, report_oddity
from proxy.headers import BadFraming
from proxy.pipeline import own_pages
from proxy.pipeline.asgi import caused_by, consider, state_of
from proxy.pipeline.downstream import finish_response, response_policy
from proxy.pipeline.lifespan import log_access
from proxy.pipeline.outgoing import build_head
from proxy.pipeline.passage import may_repeat
from proxy.response_headers import Layout, Values
from proxy.server.http1.cycle import Cycle
from proxy.server.http1.head import RequestHead
from proxy.server.http1.protocol import Http1Protocol, Shortcut
from proxy.server.http1.response import BadResponse, read_headers
from proxy.upstream.connection import UpstreamConnection
from proxy.upstream.worker import current_worker

logger = logging.getLogger(__name__)


def start(connection: Http1Protocol, request: RequestHead) -> Cycle:
    """What is the application's to answer is handed over with what was decided, which is not decided again."""
    record = Record(new_request_id())
    received = (
        request.method, connection.scheme, request.raw_path, request.query, connection.peer, request.headers,
    )  # fmt: skip
    decision = consider(record, received)
    if decision is not None and not isinstance(decision, Decision):
        raise RuntimeError("the gate waits, although no limit is kept in Redis")
    if decision is not None and decision.allowed:
        route, identity = decision.route, decision.identity
        assert route is not None  # noqa: S101  what is allowed has a route
        if (identity is None or identity.by_cookie) and may_be_due(decision, request.headers):
            return connection.hand_over(request, state_of(record))
        kept = current_worker().take_idle(route.upstream)
        if kept is not None:
            cycle = DirectCycle(connection, request, record)
            cycle.forward(kept, route, private=route.access != "public" or identity is not None)
            return cycle
    elif decision is not None and not own_pages.has_page(record) and not may_be_due(decision, request.headers):
        cycle = DirectCycle(connection, request, record)
        # Not at once: a client that pipelines refused requests would drive the stack deeper with each of them.
        current_worker().loop.call_soon(cycle.refuse, decision)
        return cycle
    return connection.hand_over(request, state_of(record))


# A limit that is asked for over the network would suspend the gate.
shortcut: Shortcut | None = None if settings.AUTHGATE_REDIS_URL else start


class DirectCycle(Cycle):
    """The client's side of an exchange: what the upstream sends is written as it comes."""

    _connection: Http1Protocol
    _exchange: Exchange | None = None
    _began = 0.0
    # Pieces of one read, sent together: a write for each would cost many times as much when they are tiny.
    _held = b""
    _more: list[bytes] | None = None
    _logged = False
    _private = True  # not for caches that others share

    def __init__(self, connection: Http1Protocol, request: RequestHead, record: Record) -> None:
        super().__init__(connection, request)
        self._record = record

    def forward(self, upstream: UpstreamConnection, route: RouteEntry, *, private: bool) -> None:
        record = self._record
        self._private = private
        self._exchange = exchange = Exchange(self, route.timeouts, self._connection)
        self._began = time.monotonic()
        try:
            head = build_head(record, upstream.target, 0)
        except Exception:
            logger.exception("request %s could not be forwarded", record.request_id, extra=caused_by(record))
            upstream.abort()
            current_worker().loop.call_soon(self._refuse_after, Reason.GATE_ERROR)
            return
        exchange.begin(upstream, head, head_only=self._request.method == "HEAD", chunked=False, body=False)

    def refuse(self, decision: Decision) -> None:
        if self.gone:
            return
        try:
            self._answer(decision)
        except Exception:
            # Called by the loop, which would leave the client without any answer.
            logger.exception("request %s could not be refused", self._record.request_id, extra=caused_by(self._record))
            self._connection.fail(self)

    def _refuse_after(self, reason: Reason) -> None:
        """What was let in and came to nothing."""
        decision = self._record.decision
        assert decision is not None  # noqa: S101
        self.refuse(replace(decision, reason=reason))

    def _answer(self, decision: Decision) -> None:
        record = self._record
        answer = answer_refusal(record, decision, self._request.method, self._request.headers)
        record.decision, record.status = decision, answer.status
        record.bytes_sent = 0 if self._request.method == "HEAD" else len(answer.body)
        self._log()
        self._prepare(answer.status, answer.headers)
        self._send_body(answer.body, more=False)

    # -- Downstream: called by the exchange -----------------------------------------------------------------

    def response_head(self, status: int, layout: Layout, values: Values) -> None:
        record = self._record
        exchange = self._exchange
        assert exchange is not None  # noqa: S101
        block = None if status == 204 else response_policy.ordinary_lines(layout, values, private=self._private)
        if block is None:
            headers = finish_response(layout, values, record, private=self._private)
            block, length, has_date = _read_closely(status, headers)
        else:
            length = int(values[layout.length_at]) if layout.length_at >= 0 else None
            has_date = layout.has_date
        block = b"%bx-request-id: %b\r\n" % (block, record.request_id.encode("ascii"))
        self._frame(status, block, length, has_date=has_date)
        record.status = status
        record.upstream_seconds = exchange.head_at - self._began

    def response_data(self, data: bytes) -> None:
        self._record.bytes_sent += len(data)
        if self._more is not None:
            self._more.append(data)
        elif self._held:
            self._more = [self._held, data]
        else:
            self._held = data

    def response_so_far(self) -> None:
        if self._held or self._block:
            self._send_body(self._take_held(), more=True)

    def response_end(self) -> None:
        self._exchange = None
        self._log()
        self._send_body(self._take_held(), more=False)

    def _take_held(self) -> bytes:
        held = self._held if self._more is None else b"".join(self._more)
        self._held, self._more = b"", None
        return held

    def response_failed(self, failure: Failure) -> None:
        exchange, self._exchange = self._exchange, None
        assert exchange is not None  # noqa: S101
        if self.started:
            self._record.cut = failure.reason
            report(self._record, failure)
            self._connection.fail(self)
        elif exchange.stale and may_repeat(self._request.method):
            self._logged = True  # by the application, when it has brought the request to its end
            self._connection.hand_over(self._request, {**state_of(self._record), "second_try": True})
        else:
            report(self._record, failure)
            self._refuse_after(failure.reason)

    def response_strayed(self, target: str, what: str) -> None:
        report_oddity(self._record, target, what)

    def request_writable(self) -> None: ...

    def still_waiting(self) -> None: ...

    # -- called by the connection ---------------------------------------------------------------------------

    def give_up(self) -> None:
        self._record.cut = SHUTDOWN
        super().give_up()

    def leave(self) -> None:
        super().leave()
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.cancel()
        if not self._logged:
            self._record.cut = self._record.cut or CLIENT_LEFT
            self._log()

    def writing_paused(self) -> None:
        if self._exchange is not None:
            self._exchange.pause_response()

    def writing_resumed(self) -> None:
        if self._exchange is not None:
            self._exchange.resume_response()

    def _log(self) -> None:
        if not self._logged:
            self._logged = True
            log_access(self._record)


def _read_closely(status: int, headers: RawHeaders) -> tuple[bytes, int | None, bool]:
    try:
        lines = read_headers(status, headers)
    except BadResponse as error:
        raise BadFraming(str(error)) from error
    return lines.block, lines.length, lines.has_date
