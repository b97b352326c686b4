"""Frames of a WebSocket (RFC 6455), as far as a carrier must know them: where one ends, and how the last is made."""

from __future__ import annotations

_MASKED = 0x80
_CLOSE = 0x88  # whole, and of opcode 8

GOING_AWAY = 1001
TRY_AGAIN_LATER = 1013
# Private codes, after the HTTP status that a request would get.
_CODES = {401: 4401, 403: 4403, 404: 4403, 503: TRY_AGAIN_LATER}


class Frames:
    """Follows the frames that one side sends: between two of them, another one may be put in."""

    __slots__ = ("_head", "_left")

    def __init__(self) -> None:
        self._head = b""  # the unfinished one of a frame
        self._left = 0  # bytes of a frame that are still to come

    @property
    def is_between(self) -> bool:
        return not self._left and not self._head

    def follow(self, data: bytes) -> None:
        size = len(data)
        if self._left >= size:
            self._left -= size
            return
        at = self._left
        if self._head:
            data = self._head + data
            size = len(data)
        while size - at >= 2:
            second = data[at + 1]
            length, head_bytes = second & 0x7F, 2
            if length >= 126:
                extended = 2 if length == 126 else 8
                head_bytes += extended
                length = int.from_bytes(data[at + 2 : at + head_bytes])
            if second & _MASKED:
                head_bytes += 4
            if size - at < head_bytes:
                break
            at += head_bytes + length
        self._left = max(0, at - size)
        self._head = data[at:]


def close_frame(code: int, reason: str) -> bytes:
    """Of a server, which masks nothing. `reason`: at most 123 bytes."""
    payload = code.to_bytes(2) + reason.encode("ascii")
    return bytes((_CLOSE, len(payload))) + payload


def close_code(status: int) -> int:
    """For what a request with this answer would have been refused for."""
    return _CODES.get(status, GOING_AWAY)
