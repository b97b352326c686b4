"""Locks on the buckets of a table that all workers of one machine share.

They are POSIX record locks: owned by a process, not inherited by a fork, and released by the kernel the moment their
owner dies. They do not exclude other threads of the same process.
"""

from __future__ import annotations

from fcntl import LOCK_EX, LOCK_NB, lockf
from time import monotonic_ns, sleep

AT_ONCE = LOCK_EX | LOCK_NB
BUSY = (BlockingIOError, PermissionError)  # EAGAIN or EACCES, says POSIX
_PAUSE = 20e-6  # seconds
_PATIENCE = 200_000_000  # nanoseconds to wait for another worker, which needs a few thousand once it runs


def lock_later(descriptor: int, bucket: int) -> bool:
    """False if another process holds the bucket too long (it may be stopped): the event loop cannot wait for it."""
    deadline = 0
    while True:
        try:
            lockf(descriptor, AT_ONCE, 1, bucket)
        except BUSY:
            now = monotonic_ns()
            if now > (deadline := deadline or now + _PATIENCE):
                return False
            # The owner holds it for microseconds, unless it lost its processor. Then it may be waiting for this one,
            # and spinning would keep it waiting.
            sleep(_PAUSE)
        else:
            return True
