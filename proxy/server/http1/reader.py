"""Collects the bytes of one request head, counting while they arrive: nothing unbounded reaches a parser."""

from __future__ import annotations

from authgate.reason import Reason
from proxy.server.http1.limits import Limits
from proxy.server.http1.refusal import RequestRefused

_END = b"\r\n\r\n"
_REQUEST_LINE_EXTRA = 64  # method, two spaces and version around the target


class HeadReader:
    __slots__ = ("_buffer", "_headers_at", "_limits", "_line_at", "_line_count", "_seen", "_small")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._small = min(limits.target_bytes, limits.header_line_bytes, limits.headers_bytes)
        self._buffer = bytearray()
        self._reset()

    @property
    def empty(self) -> bool:
        return not self._buffer

    def take(self) -> tuple[bytes, bytes]:
        """What was read before the line that was refused, and from it on. Nothing more is read here after that."""
        before, rest = bytes(self._buffer[: self._line_at]), bytes(self._buffer[self._line_at :])
        self._buffer.clear()
        return before, rest

    def feed(self, data: bytes) -> tuple[bytes, bytes] | None:
        """A complete head and what follows it, or None while it is incomplete. Raises RequestRefused."""
        if not self._buffer:
            # One empty line before a request line is tolerated (RFC 9112 2.2): old clients end a body with it.
            if data.startswith(b"\r\n"):
                data = data[2:]
            end = data.find(_END)
            if 0 < end <= self._small:
                return data[: end + 4], data[end + 4 :]
        self._buffer += data
        if self._buffer == b"\r\n":
            self._buffer.clear()
        end = self._count_lines()
        if end < 0:
            return None
        head, rest = bytes(self._buffer[:end]), bytes(self._buffer[end:])
        self._buffer.clear()
        self._reset()
        return head, rest

    def _reset(self) -> None:
        self._line_at = 0  # where the current line begins
        self._seen = 0  # up to where it has been searched for its end
        self._line_count = 0
        self._headers_at = 0

    def _count_lines(self) -> int:
        """Where the head ends, or -1."""
        buffer = self._buffer
        while (end := buffer.find(b"\r\n", max(self._line_at, self._seen - 1))) >= 0:
            if end == self._line_at:
                if not self._line_count:
                    raise RequestRefused(Reason.BAD_REQUEST)
                return end + 2
            self._check_line(end - self._line_at)
            self._line_count += 1
            self._line_at = self._seen = end + 2
            self._headers_at = self._headers_at or self._line_at
            self._check_all(self._line_at)
        self._seen = len(buffer)
        if buffer.find(b"\n", self._line_at) >= 0:
            # A bare LF ends a line for some servers and not for others; waiting for CRLF would only hide it.
            raise RequestRefused(Reason.BAD_REQUEST)
        self._check_line(len(buffer) - self._line_at)
        self._check_all(len(buffer))
        return -1

    def _check_line(self, size: int) -> None:
        limits = self._limits
        if self._line_count == 0:
            if size > limits.target_bytes + _REQUEST_LINE_EXTRA:
                raise RequestRefused(Reason.TARGET_TOO_LONG)
        elif size > limits.header_line_bytes:
            is_cookie = self._buffer[self._line_at :][:7].lower() == b"cookie:"
            raise RequestRefused(Reason.COOKIES_TOO_LARGE if is_cookie else Reason.HEADER_TOO_LONG)

    def _check_all(self, size: int) -> None:
        if self._line_count and size - self._headers_at > self._limits.headers_bytes:
            raise RequestRefused(Reason.HEADERS_TOO_LARGE)
        if self._line_count - 1 > self._limits.header_count:
            raise RequestRefused(Reason.TOO_MANY_HEADERS)
