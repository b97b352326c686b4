"""The memory every worker of one machine counts in: its layout, and how it comes into being.

Not a file of the data directory: whoever truncates one that is mapped kills (SIGBUS) every worker that touches it.
This memory has no name, and its size is sealed.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import secrets
from dataclasses import dataclass

# A page that holds the key of the hash, then buckets, in words of 64 bits. A bucket is SLOTS fingerprints followed by
# SLOTS times.
BUCKETS = 1 << 15
SLOTS = 8
BUCKET_WORDS = SLOTS * 2
TABLE_WORD = 512
TABLE_BYTES = (TABLE_WORD + BUCKETS * BUCKET_WORDS) * 8

_HASH_KEY_BYTES = 16
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class StorageError(OSError):
    """The memory cannot be had. The text is one line that says why."""


@dataclass(frozen=True, slots=True, eq=False)
class Storage:
    descriptor: int
    memory: mmap.mmap
    hash_key: bytes


def create_storage() -> Storage:
    """An empty table for this process and those forked from it from now on."""
    try:
        descriptor = os.memfd_create("authgate-limits", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        # Memory that is not there would be a SIGBUS at the first write; here it is an error.
        os.posix_fallocate(descriptor, 0, TABLE_BYTES)
        os.pwrite(descriptor, secrets.token_bytes(_HASH_KEY_BYTES), 0)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
        return map_storage(descriptor)
    except OSError as error:
        needed = f"{TABLE_BYTES >> 20} MiB of memory"
        raise StorageError(f"rate limits: cannot get {needed}: {error.strerror or error}") from error


def map_storage(descriptor: int) -> Storage:
    """The table that another process has made. Nothing may close the descriptor: that drops all its locks (POSIX)."""
    memory = mmap.mmap(descriptor, TABLE_BYTES)
    return Storage(descriptor, memory, memory[:_HASH_KEY_BYTES])
