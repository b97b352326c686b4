"""What Granian bounds nowhere: requests at work, of all and of each client, and how long an answer lies untaken."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gateway_site.http1.limits import Limits
from gateway_site.http1.refusal import Fault, RequestRefused
from gateway_site.http1.taking import NotTaken
from gateway_site.peers import client_of

PIECE_BYTES = 8 * 1024  # Granian keeps four messages of an answer, whatever their size


class Admission:
    """Of requests. One client may have half of them, and a quarter when half are taken: others get in."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._all = 0
        self._of: Counter[str] = Counter()

    @contextmanager
    def of(self, peer: str) -> Iterator[None]:
        """Raises RequestRefused."""
        client = client_of(peer)
        own = self._of[client] if client is not None else 0
        if self._all >= self._most or (self._all >= self._most // 2 and own >= self._most // 4):
            raise RequestRefused(Fault.SERVER_FULL)
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


async def send_bounded(send: Any, message: dict[str, Any], limits: Limits) -> None:
    """In pieces, each of which is taken in time. Raises NotTaken."""
    body: bytes = message.get("body", b"")
    *starts, last = range(0, max(len(body), 1), PIECE_BYTES)
    try:
        async with asyncio.timeout(limits.write_seconds) as patience:
            for start in starts:
                piece = body[start : start + PIECE_BYTES]
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                patience.reschedule(asyncio.get_running_loop().time() + limits.write_seconds)
            await send({**message, "body": body[last:]} if starts else message)
    except TimeoutError as error:
        raise NotTaken from error
