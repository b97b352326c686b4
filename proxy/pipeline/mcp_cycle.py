"""A request to an MCP server on the callbacks' way."""

from __future__ import annotations

import asyncio

from authgate.decision import Denied
from authgate.gate.mcp import check_body
from authgate.reason import Reason
from proxy.pipeline.forwarding import WaitingCycle
from proxy.pipeline.mcp_bodies import SECONDS, Body, BodyDenied
from proxy.pipeline.mcp_filter import find_filter
from proxy.pipeline.passage import Passage
from proxy.server.http1.head import RequestHead
from proxy.server.http1.protocol import Http1Protocol
from proxy.upstream.worker import current_worker


class McpCycle(WaitingCycle):
    """Its body is read whole and decided before the first byte is sent."""

    _patience: asyncio.TimerHandle | None = None
    _refused = False

    def __init__(self, connection: Http1Protocol, request: RequestHead, passage: Passage) -> None:
        super().__init__(connection, request, passage)
        self._body = Body(passage.allowed)

    # -- called by the connection ---------------------------------------------------------------------------

    def take_body(self, pieces: list[bytes], *, complete: bool) -> None:
        if self._refused:
            return  # its refusal comes in the next turn: nothing that arrives until then undoes it
        try:
            for piece in pieces:
                self._body.add(piece)
            if complete:
                self._decide()
            else:
                self._read_on()
        except BodyDenied as error:
            self._refuse_soon(error.denied)
        except Exception:
            self._break_off()

    def leave(self) -> None:
        self._stop_waiting()
        super().leave()

    # -------------------------------------------------------------------------------------------------------

    def _read_on(self) -> None:
        if self._patience is None:
            self._patience = current_worker().loop.call_later(SECONDS, self._lose_patience)
        self._connection.resume_body()

    def _decide(self) -> None:
        self._stop_waiting()
        allowed, body = self._passage.allowed, self._body.whole()
        checked = check_body(allowed, body)
        self._record.mcp_calls = checked.calls
        if checked.denied is not None:
            self.body_complete = True
            self._refuse_soon(checked.denied)
        else:
            self._filter = find_filter(self, allowed, checked)
            super().take_body([body], complete=True)

    def _refuse_soon(self, denied: Denied) -> None:
        """In a turn of its own: the connection may not know this cycle yet."""
        self._stop_waiting()
        self._refused = True
        current_worker().loop.call_soon(self.refuse, denied)

    def _lose_patience(self) -> None:
        self._refuse_soon(self._body.refused(Reason.BODY_TIMEOUT))

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()

    def _log(self) -> None:
        if not self._logged:
            self._body.give_back()
            self._filter = None  # the two refer to each other
        super()._log()
