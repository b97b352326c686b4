"""Answers of the gateway's own pages: whole before anything is sent, so that no client holds what many share."""

from __future__ import annotations

import asyncio
from typing import Any

from proxy.pipeline.budget import Budget, Loan
from proxy.pipeline.downstream import Send
from proxy.server.http1.taking import NotTaken

_MIB = 1024 * 1024
SECONDS = 60.0  # for a client to take an answer, and one more for each 16 KiB of it
_BYTES_PER_SECOND = 16 * 1024
# The free part is more than a redirect or a refusal has: what a form has done is always answered.
budget = Budget(total=64 * _MIB, share=16 * _MIB, free=4 * 1024)
# Operators whose cookies say so: whoever fills the other one keeps none of them out.
budget_of_known = Budget(total=32 * _MIB, share=16 * _MIB, free=4 * 1024)


class Answer:
    """One response, whole."""

    def __init__(self, loan: Loan) -> None:
        self._loan = loan
        self._messages: list[dict[str, Any]] = []
        self._size = 0

    async def take(self, message: dict[str, Any]) -> None:
        """The `send` of whatever makes the answer. Raises BudgetSpent."""
        size = len(message.get("body", b""))
        self._loan.grow(size)
        self._size += size
        self._messages.append(message)

    async def give(self, send: Send) -> None:
        """Nothing that others need is held meanwhile. Raises NotTaken, which cuts it: its end is never sent."""
        try:
            async with asyncio.timeout(SECONDS + self._size / _BYTES_PER_SECOND):
                for message in self._messages:
                    await _until_taken(message, send)
        except TimeoutError as error:
            raise NotTaken from error


async def _until_taken(message: dict[str, Any], send: Send) -> None:
    """The end of an answer comes apart: a server waits for the client only where more is to follow."""
    if message.get("body") and not message.get("more_body"):
        await send({**message, "more_body": True})
        message = {"type": "http.response.body", "body": b""}
    await send(message)
