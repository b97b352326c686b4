"""How an allowed request gets to its service: at once, or as its body and a connection come."""

from __future__ import annotations

from authgate.gate.body import is_too_large
from authgate.observe import strangers
from authgate.reason import Reason
from authgate.wire.framing import CHUNKED
from proxy.exchange import Downstream, Exchange
from proxy.failures import Failure
from proxy.pipeline.answering import ResponseCycle
from proxy.pipeline.compression import Compressor
from proxy.pipeline.passage import Passage
from proxy.server.http1.cycle import CONTINUE
from proxy.server.http1.head import RequestHead
from proxy.server.http1.protocol import Http1Protocol
from proxy.upstream.connection import UpstreamConnection
from proxy.upstream.targets import UpstreamUnreachable
from proxy.upstream.worker import current_worker


class ForwardingCycle(ResponseCycle):
    _filter: Downstream | None = None  # what the response passes before it comes here

    def forward(
        self, upstream: UpstreamConnection, length: int | None, body: bytes = b"", *, more: bool = False
    ) -> None:
        """`length` of the whole body, None where it goes in chunks; `body`: what goes out with the head."""
        passage = self._passage
        try:
            head = passage.request_head(upstream.target, length)
        except Exception:
            upstream.abort()
            self._break_off()
            return
        entry, downstream = passage.allowed.entry, self._filter or self
        if entry.route.compress:
            downstream = Compressor(downstream, passage.allowed)
        self._exchange = exchange = Exchange(downstream, entry.timeouts, self._connection, passage.ends_at)
        head_only = self._request.method == "HEAD"
        exchange.begin(upstream, head + body, head_only=head_only, chunked=length is None, body=more)


class DirectCycle(ForwardingCycle):
    """A request that is here as a whole, and for which a connection was kept."""

    def response_failed(self, failure: Failure) -> None:
        missed: dict[str, str] = {}
        if not self._request.length and self._passage.may_repeat(failure, missed):
            self._logged = True  # by the cycle that brings the request to its end
            again = WaitingCycle(self._connection, self._request, self._passage)
            self._connection.go_on_with(again)
            again.try_again(missed)
        else:
            super().response_failed(failure)


class WaitingCycle(ForwardingCycle):
    """A request that waits for its body, or for a new connection. It begins with the first piece of the body."""

    body_complete = False
    _begun = False
    _length: int | None = 0  # of the body; None where it goes on in chunks
    _streamed = False  # the body was not here as a whole when it began
    _is_repeated = False
    _taken = 0  # bytes of the body, where they are counted

    def __init__(self, connection: Http1Protocol, request: RequestHead, passage: Passage) -> None:
        super().__init__(connection, request, passage)
        self._missed: dict[str, str] = {}  # targets that failed it, and why
        self._largest = passage.allowed.entry.route.max_body
        if request.expects_continue:
            connection.transport.write(CONTINUE)

    # -- called by the connection ---------------------------------------------------------------------------

    def take_body(self, pieces: list[bytes], *, complete: bool) -> None:
        if self._largest is not None and self._is_too_large(pieces):
            return
        self._piece += b"".join(pieces)
        self.body_complete = complete
        if self._begun:
            self._pass_on()
        else:
            self._begin()

    def leave(self) -> None:
        if self.task is not None:
            self.task.cancel()
        super().leave()

    # -- Downstream: called by the exchange -----------------------------------------------------------------

    def request_writable(self) -> None:
        self._pass_on()

    def response_failed(self, failure: Failure) -> None:
        if self._length == 0 and not self.started and self._passage.may_repeat(failure, self._missed):
            self._exchange = None
            self.try_again(self._missed)
        else:
            self._missed = {}  # the failure is what is told
            super().response_failed(failure)

    # -------------------------------------------------------------------------------------------------------

    def try_again(self, missed: dict[str, str]) -> None:
        """On a new connection: a request without a body was lost."""
        self._begun = self._is_repeated = True
        self._missed = missed
        self._connect()

    def _is_too_large(self, pieces: list[bytes]) -> bool:
        """Then the request has ended."""
        self._taken += sum(map(len, pieces))
        if not is_too_large(self._passage.allowed, self._taken):
            return False
        if self.task is not None:
            self.task.cancel()
        self._drop_exchange()
        if self.started:
            self._record.cut = Reason.BODY_TOO_LARGE
            self._connection.cut_off(self)
        elif not self._logged:
            self.refuse(self._passage.allowed.refused(Reason.BODY_TOO_LARGE))
        return True

    def _begin(self) -> None:
        self._begun = True
        self._passage.begin()
        if self.body_complete:
            self._length = len(self._piece)
        else:
            self._streamed = True
            self._length = None if self._request.length == CHUNKED else self._request.length
        kept = current_worker().take_idle(self._passage.allowed)
        if kept is not None:
            self._forward(kept)
        else:
            self._connect()

    def _connect(self) -> None:
        self.task = current_worker().loop.create_task(self._forward_anew())
        if not self.body_complete:
            # One piece more is read meanwhile: it may be the news that the client has left.
            self._connection.resume_body()

    async def _forward_anew(self) -> None:
        passage = self._passage
        strangers.cause.set(passage.record.cause)
        try:
            upstream = await passage.connect(self._missed, fresh=self._is_repeated)
            self.task = None
            self._forward(upstream)
        except UpstreamUnreachable as error:
            self.task = None
            missed, self._missed = self._missed, {}
            self.refuse(passage.refuse(passage.unreachable(error, missed)))
        except Exception:
            self.task = None
            self._break_off()

    def _forward(self, upstream: UpstreamConnection) -> None:
        if self._passage.is_revoked():  # while it waited
            upstream.abort()
            # In a turn of its own: the connection may not know this cycle yet.
            current_worker().loop.call_soon(self.refuse, self._passage.revoked())
            return
        if self._streamed:
            self.forward(upstream, self._length, more=True)
        else:
            body, self._piece = self._piece, b""
            self.forward(upstream, self._length, body)
        if self._exchange is not None and self._connection.flow.write_paused:
            self._exchange.pause_response()  # the client has not even taken what it was told before
        self._pass_on()

    def _pass_on(self) -> None:
        """To the upstream what has come of the body, unless it takes nothing. Then one piece more is read and kept."""
        exchange = self._exchange
        if exchange is None or exchange.request_sent or exchange.request_paused:
            return
        piece, self._piece = self._piece, b""
        exchange.send_body(piece)
        if self.body_complete:
            exchange.end_body()
        elif piece:
            self._connection.resume_body()

    def _log(self) -> None:
        if self._missed and not self._logged:
            self._passage.report_missed(self._missed)
        super()._log()
