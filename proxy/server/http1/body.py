"""Request bodies: exactly the bytes that belong to one request, and what follows it."""

from __future__ import annotations

import re

from authgate.reason import Reason
from proxy.server.http1.limits import Limits
from proxy.server.http1.refusal import RequestRefused

# Fifteen digits hold any length that is not an attack; no sign, blank, underscore or "0x" (RFC 9112 7.1).
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(;[\t\x20-\x7e]*)?")
_TRAILER = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*")


class SizedBody:
    """A body of known length."""

    __slots__ = ("complete", "remaining")

    def __init__(self, length: int) -> None:
        self.remaining = length
        self.complete = False

    def feed(self, data: bytes, pieces: list[bytes]) -> bytes:
        """Appends body bytes to `pieces`; returns what lies behind the body."""
        if len(data) < self.remaining:
            self.remaining -= len(data)
            pieces.append(data)
            return b""
        pieces.append(data[: self.remaining])
        self.complete = True
        return data[self.remaining :]


class ChunkedBody:
    """A chunked body. Trailers are read, counted and dropped: nothing of them ever looks like a header."""

    __slots__ = ("_data_left", "_ending", "_extensions", "_in_trailers", "_kept", "_limits", "_trailers", "complete")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._kept = b""  # an unfinished line
        self._data_left = 0
        self._ending = False  # the CRLF behind a chunk's data is due
        self._in_trailers = False
        self._extensions = self._trailers = 0
        self.complete = False

    def feed(self, data: bytes, pieces: list[bytes]) -> bytes:
        """As SizedBody.feed; raises RequestRefused when the framing is broken."""
        if self._kept:
            data, self._kept = self._kept + data, b""
        at, size = 0, len(data)
        while at < size:
            if self._data_left:
                piece = data[at : at + self._data_left]
                pieces.append(piece)
                at += len(piece)
                self._data_left -= len(piece)
                continue
            if self._ending:
                if size - at < 2:
                    if data[at:] != b"\r":
                        raise RequestRefused(Reason.BAD_FRAMING)
                    break
                if data[at : at + 2] != b"\r\n":
                    raise RequestRefused(Reason.BAD_FRAMING)
                self._ending = False
                at += 2
                continue
            end = data.find(b"\r\n", at, at + self._line_limit() + 2)
            if end < 0:
                break
            line, at = data[at:end], end + 2
            if not self._in_trailers:
                self._begin_chunk(line)
            elif line:
                self._count_trailer(line)
            else:
                self.complete = True
                return data[at:]
        self._keep(data[at:])
        return b""

    def _line_limit(self) -> int:
        return self._limits.trailer_bytes if self._in_trailers else self._limits.chunk_line_bytes

    def _begin_chunk(self, line: bytes) -> None:
        match = _SIZE_LINE.fullmatch(line)
        if match is None:
            raise RequestRefused(Reason.BAD_FRAMING)
        self._extensions += len(match[2] or b"")
        if self._extensions > self._limits.chunk_extension_bytes:
            raise RequestRefused(Reason.BAD_FRAMING)
        self._data_left = int(match[1], 16)
        self._ending = self._data_left > 0
        self._in_trailers = not self._ending

    def _count_trailer(self, line: bytes) -> None:
        self._trailers += len(line) + 2
        if self._trailers > self._limits.trailer_bytes or _TRAILER.fullmatch(line) is None:
            raise RequestRefused(Reason.BAD_FRAMING)

    def _keep(self, rest: bytes) -> None:
        """An unfinished line waits for the next bytes, unless it can no longer become a good one."""
        if len(rest) > self._line_limit() + 1 or b"\n" in rest:
            raise RequestRefused(Reason.BAD_FRAMING)
        self._kept = rest


Body = SizedBody | ChunkedBody
