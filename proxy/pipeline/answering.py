"""The client's side of a request on the callbacks' way: how it is refused, and how its response is written."""

from __future__ import annotations

import logging

from authgate.decision import Denied
from authgate.observe.access_log import Record
from authgate.pages.responses import answer_refusal
from authgate.reason import Reason
from authgate.wire.headers import RawHeaders
from proxy.exchange import Exchange
from proxy.failures import CLIENT_LEFT, REVOKED, SHUTDOWN, Failure, cut_by
from proxy.headers import BadFraming
from proxy.pipeline import lifespan
from proxy.pipeline.enter import caused_by
from proxy.pipeline.passage import Passage
from proxy.response_headers import Layout, Values
from proxy.server.http1.cycle import Cycle
from proxy.server.http1.head import RequestHead
from proxy.server.http1.protocol import Http1Protocol
from proxy.server.http1.response import BadResponse, read_headers
from proxy.upstream.worker import current_worker

logger = logging.getLogger(__name__)


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
            logger.exception("a request could not be refused", extra=caused_by(self._record))
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

    def give_way(self) -> None:
        self._record.cut = Reason.SERVER_FULL
        super().give_way()

    def leave(self) -> None:
        super().leave()
        if not self._logged:
            self._record.cut = self._record.cut or CLIENT_LEFT
            self._log()

    def _log(self) -> None:
        if not self._logged:
            self._logged = True
            lifespan.end(self._record)


class ResponseCycle(RefusalCycle):
    """The client's side of an exchange: what the upstream sends is written as it comes."""

    _exchange: Exchange | None = None
    # Pieces of one read, sent together: a write for each would cost many times as much when they are tiny.
    _held = b""
    _more: list[bytes] | None = None

    def __init__(self, connection: Http1Protocol, request: RequestHead, passage: Passage) -> None:
        super().__init__(connection, request, passage.record)
        self._passage = passage

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
        if self.started:
            self._passage.cut(failure)
            self._connection.fail(self)
        else:
            self.refuse(self._passage.refuse(failure))

    def response_strayed(self, target: str, what: str) -> None:
        self._passage.report_oddity(target, what)

    def request_writable(self) -> None: ...

    def still_waiting(self) -> None:
        if self.started and self._left < 0 and (reason := self._passage.objection()) is not None:
            self._record.cut = cut_by(reason)
            self._break_up(reason)

    def trust_changed(self) -> None:
        if not self._passage.is_revoked():
            return
        if self.started:
            self._record.cut = REVOKED
            self._break_up(Reason.TOKEN_REVOKED)
        else:
            self._drop_exchange()
            self.refuse(self._passage.revoked())

    def _break_up(self, reason: Reason) -> None:
        self._drop_exchange()
        self._connection.cut_off(self)

    def _drop_exchange(self) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.cancel()

    # -------------------------------------------------------------------------------------------------------

    def _break_off(self) -> None:
        """For an exception of ours. In a turn of its own: the connection may not know this cycle yet."""
        logger.exception("a request could not be forwarded", extra=caused_by(self._record))
        current_worker().loop.call_soon(self.refuse, self._passage.allowed.failed(Reason.GATE_ERROR))

    # -- called by the connection ---------------------------------------------------------------------------

    def leave(self) -> None:
        self._drop_exchange()
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
