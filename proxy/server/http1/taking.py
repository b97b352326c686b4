"""Whether a client takes what is on its way to it."""

from __future__ import annotations

import asyncio
import fcntl
import math
import struct
import termios
from contextlib import suppress


class NotTaken(Exception):
    """The client has had its time to take an answer: what is left of it is not sent."""


class Taking:
    """Watched while writing is paused, or while a connection that is closing still has something to send."""

    __slots__ = ("_deadline", "_left", "_seconds", "_transport")

    def __init__(self, transport: asyncio.Transport, seconds: float) -> None:
        self._transport = transport
        self._seconds = seconds
        self._left: tuple[int, int] | None = None
        self._deadline = math.inf

    def has_stopped(self, now: float) -> bool:
        left = bytes_left(self._transport)
        if left != self._left:
            self._left = left
            self._deadline = now + self._seconds
        return now >= self._deadline and any(left)


def bytes_left(transport: asyncio.Transport) -> tuple[int, int]:
    """What the client has not taken yet: of our buffer, and of the kernel's.

    The kernel takes more of ours only when it has got rid of a third of its own, which may be megabytes.
    """
    raw = transport.get_extra_info("socket")
    in_kernel = 0
    if raw is not None:  # None: TLS has lost the connection already
        with suppress(OSError):  # not Linux, where this is SIOCOUTQ: what nobody has acknowledged
            (in_kernel,) = struct.unpack("i", fcntl.ioctl(raw.fileno(), termios.TIOCOUTQ, bytes(4)))
    return transport.get_write_buffer_size(), in_kernel
