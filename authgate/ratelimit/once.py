"""What may be used once, such as a DPoP proof: which uses there were, over all processes of one machine.

A use is remembered until its time is over. A full table refuses new ones: forgetting one would let it be used again.
"""

from __future__ import annotations

import os
import struct
import threading
from fcntl import LOCK_UN, lockf
from hashlib import blake2b
from math import ceil

from authgate.ratelimit.locks import AT_ONCE, BUSY, lock_later
from authgate.ratelimit.storage import TABLE_WORD, Storage

# A bucket is SLOTS fingerprints and then SLOTS times. Few large buckets: one of them is full long after a small one
# would be, and hardly before the whole table is.
BUCKETS = 1 << 12
SLOTS = 128
_BUCKET_WORDS = SLOTS * 2
MOST = BUCKETS * SLOTS  # uses remembered
ONCE_BYTES = (TABLE_WORD + MOST * 2) * 8
_DIGEST = struct.Struct("<QQ")


class NoRoom(Exception):
    """Whether it was used before cannot be kept, so it must not be used now."""


class UsedOnce:
    def __init__(self, storage: Storage) -> None:
        self._descriptor = storage.descriptor
        self._words = memoryview(storage.memory).cast("Q")
        self._hash_key = storage.hash_key
        self._renew_thread_lock()
        # Another thread may hold it at the moment of a fork, and that thread does not exist in the child.
        os.register_at_fork(after_in_child=self._renew_thread_lock)

    def take(self, use: str, expires_at: float, now: float) -> bool:
        """False if it was used before. Raises NoRoom. Times are those of the wall clock, as in the proof."""
        bucket, fingerprint = self._place_of(use)
        with self._thread_lock:
            try:
                lockf(self._descriptor, AT_ONCE, 1, bucket)
            except BUSY:
                if not lock_later(self._descriptor, bucket):
                    raise NoRoom from None
            try:
                return self._take(bucket, fingerprint, ceil(expires_at), int(now))
            finally:
                lockf(self._descriptor, LOCK_UN, 1, bucket)

    def _take(self, bucket: int, fingerprint: int, expires_at: int, now: int) -> bool:
        words = self._words
        times = bucket + SLOTS
        fingerprints = words[bucket:times].tolist()
        if fingerprint in fingerprints:
            place = fingerprints.index(fingerprint)
            if words[times + place] >= now:
                return False
        else:
            ends = words[times : times + SLOTS].tolist()
            earliest = min(ends)
            if earliest >= now:
                raise NoRoom
            place = ends.index(earliest)
        # In this order, a worker killed between the two writes has forgotten none that is in force.
        words[times + place] = expires_at
        words[bucket + place] = fingerprint
        return True

    def _place_of(self, use: str) -> tuple[int, int]:
        """The bucket and a fingerprint that is never 0. The hash is keyed, so that collisions cannot be chosen."""
        digest = blake2b(use.encode(), digest_size=16, key=self._hash_key)
        number, fingerprint = _DIGEST.unpack(digest.digest())
        return TABLE_WORD + number % BUCKETS * _BUCKET_WORDS, fingerprint or 1

    def _renew_thread_lock(self) -> None:
        self._thread_lock = threading.Lock()
