"""The body of a request as Granian brings it: waited for only so long, and what nobody reads thrown away."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from proxy.server.http1.limits import Limits

_HTTP1_BODY = frozenset((b"content-length", b"transfer-encoding"))


class RequestBody:
    def __init__(self, scope: dict[str, Any], receive: Any, limits: Limits) -> None:
        self._receive = receive
        self._limits = limits
        names = {name for name, _ in scope["headers"]}
        # HTTP/2 may bring one that no header speaks of.
        self._complete = scope["http_version"] != "2" and names.isdisjoint(_HTTP1_BODY)
        # HTTP/1.1: the client sends nothing before it has heard "100 Continue", which only `receive` makes Granian say.
        self._held_back = scope["http_version"] != "2" and b"expect" in names
        self._gone = False

    async def receive(self) -> dict[str, Any]:
        """Granian waits for ever for the next piece. Whoever sends none for long has left."""
        self._held_back = False
        message: dict[str, Any]
        if self._complete:
            message = await self._receive()
            return message
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                message = await self._receive()
        except TimeoutError:
            message = {"type": "http.disconnect"}
        self._note(message)
        return message

    async def discard(self) -> None:
        """What is left, after the answer: ended before its request, a stream is reset, and many clients then drop an
        answer that they have (RFC 9113 8.1 asks them not to).
        """
        loop, limits, left = asyncio.get_running_loop(), self._limits, self._limits.linger_bytes
        end = loop.time() + limits.linger_seconds
        with suppress(TimeoutError):
            async with asyncio.timeout(limits.linger_silence_seconds) as patience:
                while left > 0 and not (self._complete or self._gone or self._held_back):
                    message = await self._receive()
                    self._note(message)
                    left -= len(message.get("body", b""))
                    patience.reschedule(min(end, loop.time() + limits.linger_silence_seconds))

    def _note(self, message: dict[str, Any]) -> None:
        self._gone = message["type"] == "http.disconnect"
        self._complete = not message.get("more_body", False)
