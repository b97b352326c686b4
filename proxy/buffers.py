"""How much a connection holds while one side is slow: one piece that was read, and nothing that waits to be written."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable

READ_BYTES = 64 * 1024
# Read at once where the other side takes it at once, so that nothing of it waits here: fewer turns for large bodies.
# As much as uvloop reads for a plain protocol.
WIDE_READ_BYTES = 250 * 1024
# A read of at least this size is a sign that more is on its way.
_MUCH_BYTES = 16 * 1024
# Writing pauses as soon as the kernel takes no more. Not 0: uvloop's TLS would then be paused for ever.
WRITE_HIGH_WATER = 1

# One for all connections of a process: what was read is copied before anything else is read.
_wide = memoryview(bytearray(WIDE_READ_BYTES))
_narrow = _wide[:READ_BYTES]

_RESET = struct.pack("ii", 1, 0)  # linger: on, for no time

# What a socket's kernel memory is, as sock_diag(7) lists it. Linux only; Python has no name for it.
_SO_MEMINFO = 55
_MEMINFO = struct.Struct("=9I")
_SNDBUF, _WMEM_ALLOC, _WMEM_QUEUED = 3, 2, 5
_ROOM = 2 * WIDE_READ_BYTES  # of one wide piece: the kernel counts its own bookkeeping, too


class BoundedReads(asyncio.BufferedProtocol):
    """A protocol that gets READ_BYTES at most, where uvloop would read 256 KiB. What was read goes to `consume`.

    Reads are wide while the receiver takes everything at once.
    """

    __slots__ = ("_streak", "_wide_until")

    consume: Callable[[bytes], None]

    def __init__(self) -> None:
        # Consecutive large reads. Reset to 0 when the receiver changes, or may have been written to by others.
        self._streak = 0
        self._wide_until = 0  # the read of this streak up to which the receiver has room

    @property
    def receiver(self) -> BoundedReads | None:
        """The connection that takes what is read here. Looked up only after a large read: small ones cost nothing."""
        raise NotImplementedError

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer() if self._streak else _narrow

    def buffer_updated(self, nbytes: int) -> None:
        self._streak = nbytes >= _MUCH_BYTES and self._streak + 1
        self.consume(_wide[:nbytes].tobytes())

    def _buffer(self) -> memoryview:
        if self._streak == 1 or self._streak > self._wide_until:
            receiver = self.receiver
            pieces = receiver.room() // _ROOM if receiver is not None else 0
            self._wide_until = self._streak + pieces - 1
        return _wide if self._streak <= self._wide_until else _narrow

    def room(self) -> int:
        """Bytes that the kernel would take for this connection at once, by its own count."""
        transport: asyncio.Transport = self.transport  # type: ignore[attr-defined]
        if transport.get_write_buffer_size() or transport.get_extra_info("sslcontext") is not None:
            return 0  # TLS keeps what it has encrypted
        raw = transport.get_extra_info("socket")
        try:
            counts: tuple[int, ...] = _MEMINFO.unpack(raw.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size))
        except (OSError, AttributeError, struct.error):
            return 0
        return max(0, counts[_SNDBUF] - max(counts[_WMEM_ALLOC], counts[_WMEM_QUEUED]))


class ClientReads(BoundedReads):
    """Of a client, whose body goes to one connection at a time."""

    __slots__ = ("_receiver",)

    def __init__(self) -> None:
        super().__init__()
        self._receiver: BoundedReads | None = None

    @property
    def receiver(self) -> BoundedReads | None:
        return self._receiver

    def upload_to(self, receiver: BoundedReads | None) -> None:
        """None: what it sends now is another request."""
        self._receiver = receiver
        self._streak = 0


def reset(transport: asyncio.Transport) -> None:
    """Drop a connection with RST and whatever is unsent, at once."""
    raw = transport.get_extra_info("socket")
    if raw is not None:  # None: TLS has lost the connection already
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()


def keep_alive(transport: asyncio.Transport) -> None:
    """Have the kernel ask, after a minute of silence, whether the peer is still there (RFC 9293 3.8.4)."""
    raw = transport.get_extra_info("socket")
    if raw is None or raw.family not in (socket.AF_INET, socket.AF_INET6):
        return
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4)):
        if hasattr(socket, name):  # elsewhere than on Linux it is asked after two hours
            raw.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
