"""Memory that the workers of one `serve` share: each has a place of its own there, which every other may read.

A worker that dies leaves its place, with all that is in it, to the next one, by the lock that the kernel takes back.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from contextlib import suppress

PLACES = 256  # of workers


class Places:
    def __init__(self, name: str, size: int) -> None:
        """`size` of each place, in bytes: whole pages."""
        self.size = size
        self._name = name
        self._memory = -1
        self._own: int | None = None
        self._pid = 0

    def prepare(self) -> None:
        """Before workers are forked. Without it, or without memory, each knows of itself alone."""
        with suppress(OSError):
            if self._memory < 0:
                flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
                self._memory = os.memfd_create(f"authgate-{self._name}", flags)
                # Cut short, it would kill every process that touches what it has mapped (SIGBUS).
                fcntl.fcntl(self._memory, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)

    def own(self) -> int | None:
        """The place of this process: the first that nobody alive has (a record lock: of this process alone)."""
        if self._pid != os.getpid():
            self._pid, self._own = os.getpid(), None
        if self._own is None and self._memory >= 0:
            for place in range(PLACES):
                with suppress(OSError):
                    fcntl.lockf(self._memory, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
                    self._own = place
                    break
        return self._own

    def used(self) -> range:
        """The places that were ever written."""
        try:
            return range(-(-os.fstat(self._memory).st_size // self.size) if self._memory >= 0 else 0)
        except OSError:
            return range(0)

    def read(self, place: int, begin: int, length: int) -> bytes:
        """Raises OSError."""
        return os.pread(self._memory, length, place * self.size + begin)

    def write(self, place: int, begin: int, content: bytes) -> None:
        """Raises OSError."""
        os.pwrite(self._memory, content, place * self.size + begin)

    def map_own(self) -> mmap.mmap | None:
        """The place of this process, as memory."""
        with suppress(OSError):
            if (place := self.own()) is not None:
                # Had now: a page that the kernel cannot give later would kill the process that touches it.
                os.posix_fallocate(self._memory, place * self.size, self.size)
                return mmap.mmap(self._memory, self.size, offset=place * self.size)
        return None
