"""How much a connection holds while one side is slow: one piece that was read, and nothing that waits to be written."""

from __future__ import annotations

import asyncio

READ_BYTES = 64 * 1024
# Writing pauses as soon as the kernel takes no more. Not 0: uvloop's TLS would then be paused for ever.
WRITE_HIGH_WATER = 1

# One for all connections of a process: what was read is copied before anything else is read.
_shared = memoryview(bytearray(READ_BYTES))


class BoundedReads(asyncio.BufferedProtocol):
    """A protocol with `data_received`, which gets no more than READ_BYTES at a time; uvloop would read 256 KiB."""

    __slots__ = ()

    def get_buffer(self, sizehint: int) -> memoryview:
        return _shared

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(bytes(_shared[:nbytes]))

    def data_received(self, data: bytes) -> None:
        raise NotImplementedError
