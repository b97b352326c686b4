"""The memory in which all workers of one machine count: its layout and its creation.

It is not a file in the data directory: truncating a mapped file kills (SIGBUS) every worker that touches it.
This memory has no name, and its size is sealed.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import secrets
from dataclasses import dataclass

# One page with the key of the hash, then buckets, in words of 64 bits. A bucket is SLOTS fingerprints and then SLOTS
# times.
BUCKETS = 1 << 15
SLOTS = 8
BUCKET_WORDS = SLOTS * 2
TABLE_WORD = 512
TABLE_BYTES = (TABLE_WORD + BUCKETS * BUCKET_WORDS) * 8

_HASH_KEY_BYTES = 16
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class StorageError(OSError):
    """The memory is not available. The text is one line with the reason."""


@dataclass(frozen=True, slots=True, eq=False)
class Storage:
    descriptor: int
    memory: mmap.mmap
    hash_key: bytes


def create_storage(size: int = TABLE_BYTES, purpose: str = "rate limits") -> Storage:
    """An empty table for this process and those that it forks from now on."""
    try:
        descriptor = os.memfd_create(f"authgate {purpose}", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        # Missing memory would be a SIGBUS at the first write; here it is an error.
        os.posix_fallocate(descriptor, 0, size)
        os.pwrite(descriptor, secrets.token_bytes(_HASH_KEY_BYTES), 0)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
        return map_storage(descriptor, size)
    except OSError as error:
        needed = f"{size >> 20} MiB of memory"
        raise StorageError(f"{purpose}: cannot get {needed}: {error.strerror or error}") from error


def map_storage(descriptor: int, size: int = TABLE_BYTES) -> Storage:
    """The table of another process. Nothing may close the descriptor: that would drop all its locks (POSIX)."""
    memory = mmap.mmap(descriptor, size)
    return Storage(descriptor, memory, memory[:_HASH_KEY_BYTES])
