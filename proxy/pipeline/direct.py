"""The shortcut past ASGI: an allowed request that is here as a whole meets a kept upstream connection with no task
between.

Everything else (bodies still on their way, new connections, the gateway's own pages, limits kept in Redis) takes the
application's way.
"""

from __future__ import annotations

import logging
from typing import Any

from django.conf import settings

from authgate.decision import Allowed, Denied
from authgate.observe.access_log import Record, new_request_id
from authgate.pages.responses import answer_refusal
from authgate.reason import Reason
from authgate.sessions.renewal import may_be_due
from authgate.state.newest import is_behind
from authgate.wire.headers import RawHeaders
from proxy.exchange import Exchange
from proxy.failures import CLIENT_LEFT, SHUTDOWN, Failure
from proxy.headers import BadFraming
from proxy.pipeline import own_pages
from proxy.pipeline.enter import caused_by, enter_at_once, state_of
from proxy.pipeline.lifespan import log_access
from proxy.pipeline.passage import Passage
from proxy.response_headers import Layout, Values
from proxy.server.http1.cycle import Cycle
from proxy.server.http1.head import RequestHead
from proxy.server.http1.protocol import Http1Protocol, Shortcut
from proxy.server.http1.response import BadResponse, read_headers
from proxy.upstream.connection import UpstreamConnection
from proxy.upstream.worker import current_worker

logger = logging.getLogger(__name__)


def start(connection: Http1Protocol, request: RequestHead, body: bytes) -> Cycle:
    """What is the application's to answer is handed over with what was decided, which is not decided again."""
    if is_behind():
        return connection.hand_over(request, body, {})  # it waits for what is newer
    record = Record(new_request_id())
    received = (
        request.method, connection.scheme, request.raw_path, request.query, connection.peer, request.headers,
    )  # fmt: skip
    entered = enter_at_once(record, received)
    if type(entered) is Allowed:  # isinstance asks the metaclass of a struct, for every request that is refused
        identity = entered.identity
        is_due = (identity is None or identity.by_cookie) and may_be_due(entered, request.headers)
        kept = None if is_due else current_worker().take_idle(entered.entry.upstream)
        if kept is not None:
            cycle = DirectCycle(connection, request, Passage(entered, record))
            cycle.forward(kept, body)
            return cycle
    elif isinstance(entered, Denied) and _is_final(record, entered, request):
        refusal = RefusalCycle(connection, request, record)
        # In a turn of its own: a client that pipelines refused requests would drive the stack deeper with each of them.
        current_worker().loop.call_soon(refusal.refuse, entered)
        return refusal
    return connection.hand_over(request, body, {**state_of(record), "entered": entered})


def _is_final(record: Record, denied: Denied, request: RequestHead) -> bool:
    return not may_be_due(denied, request.headers) and own_pages.find_unrouted(record, denied) is None


# A limit that is asked for over the network would suspend the gate.
shortcut: Shortcut | None = None if settings.AUTHGATE_REDIS_URL else start


class RefusalCycle(Cycle):
    """The client's side of a request that the gateway refuses."""

    _connection: Http1Protocol
    _logged = False
    body_complete = True

    def __init__(self, connection: Http1Protocol, request: RequestHead, record: Record) -> None:
        super().__init__(connection, request)
        self._record = record

    def refuse(self, denied: Denied) -> None:
        if self.gone:
            return
        try:
            self._answer(denied)
        except Exception:
            # Called by the loop, which would leave the client without any answer.
            logger.exception("request %s could not be refused", self._record.request_id, extra=caused_by(self._record))
            self._connection.fail(self)

    def _answer(self, denied: Denied) -> None:
        record = self._record
        answer = answer_refusal(record, denied, self._request.method, self._request.headers)
        record.decision, record.status = denied, answer.status
        record.bytes_sent = 0 if self._request.method == "HEAD" else len(answer.body)
        self._log()
        self._prepare(answer.status, answer.headers)
        self._send_body(answer.body, more=False)

    # -- called by the connection ---------------------------------------------------------------------------

    def give_up(self) -> None:
        self._record.cut = SHUTDOWN
        super().give_up()

    def leave(self) -> None:
        super().leave()
        if not self._logged:
            self._record.cut = self._record.cut or CLIENT_LEFT
            self._log()

    def _log(self) -> None:
        if not self._logged:
            self._logged = True
            log_access(self._record)


class DirectCycle(RefusalCycle):
    """The client's side of an exchange: what the upstream sends is written as it comes."""

    _exchange: Exchange | None = None
    # Pieces of one read, sent together: a write for each would cost many times as much when they are tiny.
    _held = b""
    _more: list[bytes] | None = None

    def __init__(self, connection: Http1Protocol, request: RequestHead, passage: Passage) -> None:
        super().__init__(connection, request, passage.record)
        self._passage = passage

    def forward(self, upstream: UpstreamConnection, body: bytes) -> None:
        passage = self._passage
        self._exchange = exchange = Exchange(self, passage.allowed.entry.timeouts, self._connection)
        try:
            head = passage.request_head(upstream.target, len(body))
        except Exception:
            logger.exception(
                "request %s could not be forwarded", self._record.request_id, extra=caused_by(self._record)
            )
            upstream.abort()
            current_worker().loop.call_soon(self.refuse, passage.allowed.failed(Reason.GATE_ERROR))
            return
        head_only = self._request.method == "HEAD"
        exchange.begin(upstream, head + body, head_only=head_only, chunked=False, body=False)

    # -- Downstream: called by the exchange -----------------------------------------------------------------

    def response_head(self, status: int, layout: Layout, values: Values) -> None:
        passage = self._passage
        block = None if status == 204 else passage.ordinary_lines(layout, values)
        if block is None:
            block, length, has_date = _read_closely(status, passage.response_headers(layout, values))
        else:
            length = int(values[layout.length_at]) if layout.length_at >= 0 else None
            has_date = layout.has_date
        block = b"%bx-request-id: %b\r\n" % (block, self._record.request_id.encode("ascii"))
        self._frame(status, block, length, has_date=has_date)
        passage.head_arrived(status)

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
        self._exchange = None
        passage = self._passage
        if self.started:
            passage.cut(failure)
            self._connection.fail(self)
        elif not self._request.length and passage.may_repeat(failure):
            self._logged = True  # by the application, when it has brought the request to its end
            state: dict[str, Any] = {**state_of(self._record), "entered": passage.allowed, "second_try": True}
            self._connection.hand_over(self._request, b"", state)
        else:
            self.refuse(passage.refuse(failure))

    def response_strayed(self, target: str, what: str) -> None:
        self._passage.report_oddity(target, what)

    def request_writable(self) -> None: ...

    def still_waiting(self) -> None: ...

    # -- called by the connection ---------------------------------------------------------------------------

    def leave(self) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.cancel()
        super().leave()

    def writing_paused(self) -> None:
        if self._exchange is not None:
            self._exchange.pause_response()

    def writing_resumed(self) -> None:
        if self._exchange is not None:
            self._exchange.resume_response()


def _read_closely(status: int, headers: RawHeaders) -> tuple[bytes, int | None, bool]:
    try:
        lines = read_headers(status, headers)
    except BadResponse as error:
        raise BadFraming(str(error)) from error
    return lines.block, lines.length, lines.has_date
