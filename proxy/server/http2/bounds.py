"""What Granian bounds nowhere: requests at work, of all and of each client, and how long an answer lies untaken."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from authgate.reason import Reason
from proxy.server.http1.limits import Limits
from proxy.server.http1.refusal import RequestRefused
from proxy.server.http1.taking import NotTaken
from proxy.server.peers import client_of

PIECE_BYTES = 8 * 1024
_KEPT_MESSAGES = 5  # of an answer, whatever their size: by Granian four, and by hyper the one that is next
_UNTIMED_BYTES = 2 * 1024  # of an answer so small that its pieces would cost more than it holds


class Admission:
    """Of requests. One client may have half of them, and a quarter when half are taken: others get in."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._all = 0
        self._of: Counter[str] = Counter()

    @property
    def has_room(self) -> bool:
        """Fewer than half are taken."""
        return self._all < self._most // 2

    @contextmanager
    def of(self, peer: str) -> Iterator[None]:
        """Raises RequestRefused."""
        client = client_of(peer)
        own = self._of[client] if client is not None else 0
        if self._all >= self._most or (not self.has_room and own >= self._most // 4):
            raise RequestRefused(Reason.SERVER_FULL)
        self._all += 1
        if client is not None:
            self._of[client] += 1
        try:
            yield
        finally:
            self._all -= 1
            if client is not None:
                self._of[client] -= 1
                if not self._of[client]:
                    del self._of[client]


class BoundedSend:
    """The `send` of one answer: in pieces, each of which is taken in time. Raises NotTaken."""

    def __init__(self, send: Any, limits: Limits) -> None:
        self._send = send
        self._seconds = limits.write_seconds
        self._sent = 0
        self._length: int | None = None  # of the whole, if the head says it

    async def __call__(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            lengths = [value for name, value in message["headers"] if name.lower() == b"content-length"]
            self._length = int(lengths[0]) if lengths else None
        body: bytes = message.get("body", b"")
        self._sent += len(body)
        is_last = not message.get("more_body", False) or self._sent == self._length
        *pieces, last = _pieces(body, apart=is_last and self._sent > _UNTIMED_BYTES)
        try:
            async with asyncio.timeout(self._seconds) as patience:
                for piece in pieces:
                    await self._send({"type": "http.response.body", "body": piece, "more_body": True})
                    patience.reschedule(asyncio.get_running_loop().time() + self._seconds)
                await self._send({**message, "body": last} if pieces else message)
        except TimeoutError as error:
            raise NotTaken from error

    async def linger(self) -> None:
        """Until the client takes something, or leaves: Granian keeps for so long what it has of an answer given up."""
        await self._send({"type": "http.response.body", "body": b"", "more_body": True})


def _pieces(body: bytes, *, apart: bool) -> list[bytes]:
    """The last bytes `apart`, as many as messages are kept: when these have been taken, all before them has left."""
    most = max(len(body) - _KEPT_MESSAGES, 0) if apart else len(body)
    pieces = [body[start : min(start + PIECE_BYTES, most)] for start in range(0, most, PIECE_BYTES)]
    return [*pieces, *(body[at : at + 1] for at in range(most, len(body)))] or [b""]
