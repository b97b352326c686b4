"""A WebSocket: a handshake that goes the way of any request, and then frames, which pass both ways unread."""

from __future__ import annotations

from authgate.reason import Reason
from authgate.wire.framing import UNTIL_CLOSE
from authgate.wire.headers import header_block
from authgate.wire.refusal import refusal_of
from authgate.wire.websocket import accept_of
from proxy.buffers import keep_alive
from proxy.failures import SHUTDOWN, cut_by
from proxy.pipeline.forwarding import WaitingCycle
from proxy.response_headers import Layout, Values
from proxy.server.http1.cycle import Cycle
from proxy.upstream.connection import UpstreamConnection
from proxy.websocket import GOING_AWAY, Frames, close_code, close_frame


class TunnelCycle(WaitingCycle):
    _frames: Frames | None = None  # that the service sends, from its 101 on

    def forward(
        self, upstream: UpstreamConnection, length: int | None, body: bytes = b"", *, more: bool = False
    ) -> None:
        super().forward(upstream, length, body, more=more)
        if self._exchange is not None:
            self._exchange.accept = accept_of(*self._request.headers.values(b"sec-websocket-key"))

    # -- Downstream: called by the exchange -----------------------------------------------------------------

    def response_head(self, status: int, layout: Layout, values: Values) -> None:
        if status != 101:
            super().response_head(status, layout, values)
            return
        lines = header_block(self._passage.response_headers(layout, values))
        self._block = b"HTTP/1.1 101 Switching Protocols\r\n%bconnection: Upgrade\r\nupgrade: websocket\r\n%b\r\n" % (
            lines, b"x-request-id: %b\r\n" % self._record.request_id.encode("ascii"),
        )  # fmt: skip
        self._left, self._keep_alive = UNTIL_CLOSE, False
        self._passage.head_arrived(status)
        self._frames = Frames()
        if self._exchange is not None:
            self._exchange.open_tunnel()
        keep_alive(self._connection.transport)
        self._connection.switch_protocols(self._take_frames)

    def response_data(self, data: bytes) -> None:
        if self._frames is not None:
            self._frames.follow(data)
        super().response_data(data)

    def request_writable(self) -> None:
        if self._frames is None:
            super().request_writable()
        else:
            self._connection.flow.resume_reading()

    # -- called by the connection ---------------------------------------------------------------------------

    def _take_frames(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is not None:
            exchange.send_body(data)
            if exchange.request_paused:
                self._connection.flow.pause_reading()

    def leave(self) -> None:
        if self._frames is None:
            super().leave()
            return
        # That the client goes is how most of them end. Its last words, which say why, are on their way to the service.
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.close_tunnel()
        Cycle.leave(self)
        self._log()

    def give_up(self) -> None:
        if self._frames is None:
            super().give_up()
        else:
            self._record.cut = SHUTDOWN
            self._close(GOING_AWAY, "the gateway restarts")

    # -------------------------------------------------------------------------------------------------------

    def _break_up(self, reason: Reason) -> None:
        if self._frames is None:
            super()._break_up(reason)
        else:
            self._close(close_code(refusal_of(reason).status), cut_by(reason))

    def _close(self, code: int, words: str) -> None:
        """So that the client knows why, unless that would be read as a part of what the service has sent."""
        self._drop_exchange()
        frames = self._frames
        if frames is not None and frames.is_between and not self._connection.flow.write_paused:
            self._log()
            self._send_body(self._take_held() + close_frame(code, words), more=False)
        else:
            self._connection.cut_off(self)
