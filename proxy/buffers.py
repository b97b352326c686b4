"""How much a connection holds while one side is slow: one piece that was read, and nothing that waits to be written."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable

READ_BYTES = 64 * 1024
# Read at once where the other side takes it at once, so that nothing of it waits here: fewer turns for large bodies.
WIDE_READ_BYTES = 256 * 1024
# Writing pauses as soon as the kernel takes no more. Not 0: uvloop's TLS would then be paused for ever.
WRITE_HIGH_WATER = 1

# One for all connections of a process: what was read is copied before anything else is read.
_wide = memoryview(bytearray(WIDE_READ_BYTES))
_narrow = _wide[:READ_BYTES]

# What a socket's kernel memory is, as sock_diag(7) lists it. Linux only; Python has no name for it.
_SO_MEMINFO = 55
_MEMINFO = struct.Struct("=9I")
_SNDBUF, _WMEM_ALLOC, _WMEM_QUEUED = 3, 2, 5
_ROOM = 2 * WIDE_READ_BYTES  # the kernel counts its own bookkeeping, too


class BoundedReads(asyncio.BufferedProtocol):
    """A protocol that gets READ_BYTES at most, where uvloop would read 256 KiB. What was read goes to `consume`.

    Reads are wide while the receiver takes everything at once.
    """

    __slots__ = ("_is_filled",)

    consume: Callable[[bytes], None]

    def __init__(self) -> None:
        self._is_filled = False

    @property
    def receiver(self) -> BoundedReads | None:
        """The connection that takes what is read here. Asked for when much was read, so that little costs nothing."""
        raise NotImplementedError

    def get_buffer(self, sizehint: int) -> memoryview:
        if self._is_filled and (receiver := self.receiver) is not None and receiver.can_take():
            return _wide
        return _narrow

    def buffer_updated(self, nbytes: int) -> None:
        self._is_filled = nbytes >= READ_BYTES
        self.consume(_wide[:nbytes].tobytes())

    def can_take(self) -> bool:
        """Whether the kernel would take a wide piece for this connection at once, by its own count."""
        transport: asyncio.Transport = self.transport  # type: ignore[attr-defined]
        if transport.get_write_buffer_size() or transport.get_extra_info("sslcontext") is not None:
            return False  # TLS keeps what it has encrypted
        raw = transport.get_extra_info("socket")
        try:
            counts = _MEMINFO.unpack(raw.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size))
        except (OSError, AttributeError, struct.error):
            return False
        return bool(counts[_SNDBUF] - max(counts[_WMEM_ALLOC], counts[_WMEM_QUEUED]) >= _ROOM)


class ClientReads(BoundedReads):
    """`uploads_to`: the connection that takes the body of the request which is read now."""

    __slots__ = ("uploads_to",)

    def __init__(self) -> None:
        super().__init__()
        self.uploads_to: BoundedReads | None = None

    @property
    def receiver(self) -> BoundedReads | None:
        return self.uploads_to
