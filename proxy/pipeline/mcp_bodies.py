"""Bodies of requests to MCP servers, of which nothing is sent before all of it was read and decided."""

from __future__ import annotations

import asyncio

from authgate.decision import Allowed, Denied
from authgate.gate.mcp import MAX_BODY, too_large
from authgate.reason import Reason
from proxy.pipeline.budget import Budget, BudgetSpent, Loan
from proxy.pipeline.downstream import Receive

_MIB = 1024 * 1024
SECONDS = 30.0
budget = Budget(total=64 * _MIB, share=16 * _MIB, free=16 * 1024)


class BodyDenied(Exception):
    def __init__(self, denied: Denied) -> None:
        super().__init__(denied.reason.value)
        self.denied = denied


class Body:
    """As much of it as has come."""

    __slots__ = ("_allowed", "_loan", "_parts")

    def __init__(self, allowed: Allowed) -> None:
        self._allowed = allowed
        self._loan = Loan(budget, allowed.facts.client)
        self._parts = bytearray()  # not a list: a client may send a byte at a time

    def add(self, part: bytes) -> None:
        """Raises BodyDenied."""
        if len(self._parts) + len(part) > MAX_BODY:
            raise BodyDenied(too_large(self._allowed))
        try:
            self._loan.grow(len(part))
        except BudgetSpent as error:
            raise BodyDenied(self.refused(Reason.BUSY)) from error
        self._parts += part

    def whole(self) -> bytes:
        return bytes(self._parts)

    def refused(self, reason: Reason) -> Denied:
        allowed = self._allowed
        return Denied(reason, allowed.revision, allowed.entry, allowed.identity)

    def give_back(self) -> None:
        """Once: the memory is free for others."""
        self._loan.give_back()


async def read_whole(body: Body, receive: Receive) -> bool:
    """Whether the client is still there. Raises BodyDenied."""
    more = True
    try:
        async with asyncio.timeout(SECONDS):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return False
                body.add(message.get("body", b""))
                more = message.get("more_body", False)
    except TimeoutError as error:
        raise BodyDenied(body.refused(Reason.BODY_TIMEOUT)) from error
    return True
