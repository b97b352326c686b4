"""Rate limits on one machine: exact over all its processes, without a server."""

from __future__ import annotations

import functools
import os
import struct
import threading
from fcntl import LOCK_UN, lockf
from hashlib import blake2b
from time import monotonic_ns

from authgate.policy.table import Limit
from authgate.ratelimit.locks import AT_ONCE, BUSY, lock_later
from authgate.ratelimit.storage import BUCKET_WORDS, BUCKETS, SLOTS, TABLE_WORD, Storage

_DIGEST = struct.Struct("<QQ")
_SECOND = 1_000_000_000


class LocalLimits:
    """GCRA: one number per key, the time at which its credit is full again, guarded by a lock on its bucket.

    The locks are POSIX record locks: owned by a process, not inherited by a fork, and released by the kernel
    the moment their owner dies. They do not exclude other threads of the same process, hence the second lock.
    """

    def __init__(self, storage: Storage) -> None:
        self._descriptor = storage.descriptor
        self._words = memoryview(storage.memory).cast("Q")
        self._hash_key = storage.hash_key
        self._place = functools.lru_cache(maxsize=16384)(self._place_of)
        self._renew_thread_lock()
        # Another thread may hold it at the moment of a fork, and that thread does not exist in the child.
        os.register_at_fork(after_in_child=self._renew_thread_lock)

    def take(self, limit: Limit, key: str) -> float:
        bucket, fingerprint = self._place(limit.name, key)
        with self._thread_lock:
            try:
                lockf(self._descriptor, AT_ONCE, 1, bucket)
            except BUSY:
                if not lock_later(self._descriptor, bucket):
                    return limit.interval
            try:
                return self._take(limit, bucket, fingerprint)
            finally:
                lockf(self._descriptor, LOCK_UN, 1, bucket)

    def _take(self, limit: Limit, bucket: int, fingerprint: int) -> float:
        words = self._words
        if words[bucket] == fingerprint:  # most buckets hold one key, in their first slot
            slot, full_again = bucket, words[bucket + SLOTS]
        else:
            slot, full_again = self._find(bucket, fingerprint)
        now = monotonic_ns()
        latest = now + limit.credit_ns
        if full_again < now:
            full_again = now
        elif full_again > latest:
            # The limit was raised. The debt to the old one is cut for good; otherwise the caller would have to pay
            # all of it before the new limit counts.
            full_again = words[slot + SLOTS] = latest
        full_again += limit.interval_ns
        if full_again > latest:
            return (full_again - latest) / _SECOND
        # In this order, a worker killed between the two writes leaves a key without a limit, never a key that is
        # limited by another key's requests.
        words[slot] = fingerprint
        words[slot + SLOTS] = full_again
        return 0.0

    def _find(self, bucket: int, fingerprint: int) -> tuple[int, int]:
        """The slot and the time of a key; for a new key a slot to use, and 0."""
        words = self._words
        fingerprints = words[bucket : bucket + SLOTS].tolist()
        if fingerprint in fingerprints:
            slot = bucket + fingerprints.index(fingerprint)
            return slot, words[slot + SLOTS]
        # A time in the past means the same as an absent key. If there is none, the nearest time is dropped: it
        # forgives least, and forcing this takes more requests, all counted, than are forgiven.
        times = words[bucket + SLOTS : bucket + BUCKET_WORDS].tolist()
        return bucket + times.index(min(times)), 0

    def _place_of(self, name: str, key: str) -> tuple[int, int]:
        """The bucket and a fingerprint that is never 0. The hash is keyed, so that collisions cannot be chosen."""
        digest = blake2b(f"{name}\0{key}".encode(), digest_size=16, key=self._hash_key)
        number, fingerprint = _DIGEST.unpack(digest.digest())
        return TABLE_WORD + number % BUCKETS * BUCKET_WORDS, fingerprint or 1

    def _renew_thread_lock(self) -> None:
        self._thread_lock = threading.Lock()
