"""What was fetched, kept for a while; fetched once for all who wait, and never under a lock that others need."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from authgate.oidc.errors import ProviderError

T = TypeVar("T")
MAX_ENTRIES = 256
# A provider that has just failed is not asked again by everybody who waited for it.
FAILURE_SECONDS = 2.0
_WAIT_SECONDS = 12.0


class _Entry(Generic[T]):
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.value: T | None = None
        self.fetched_at = 0.0
        self.failure: ProviderError | None = None
        self.failed_at = 0.0


class Fetched(Generic[T]):
    """By key; a key holds all that the answer depends on."""

    def __init__(self, ttl: float) -> None:
        self._ttl = ttl
        self._lock = threading.Lock()
        self._entries: dict[tuple[str, ...], _Entry[T]] = {}

    def get(self, key: tuple[str, ...], fetch: Callable[[], T]) -> T:
        """Raises what `fetch` raises."""
        entry = self._entry(key)
        if (value := self._fresh(entry)) is not None:
            return value
        if not entry.lock.acquire(timeout=_WAIT_SECONDS):
            raise ProviderError("provider_unavailable", "the provider is being waited for already")
        try:
            if (value := self._fresh(entry)) is not None:
                return value
            return self._fetch(entry, fetch)
        finally:
            entry.lock.release()

    def put(self, key: tuple[str, ...], value: T) -> None:
        entry = self._entry(key)
        entry.value, entry.fetched_at = value, time.monotonic()

    def _fresh(self, entry: _Entry[T]) -> T | None:
        return entry.value if time.monotonic() < entry.fetched_at + self._ttl else None

    def _fetch(self, entry: _Entry[T], fetch: Callable[[], T]) -> T:
        now = time.monotonic()
        if entry.failure is not None and now < entry.failed_at + FAILURE_SECONDS:
            raise ProviderError(entry.failure.code, entry.failure.detail)
        try:
            value = fetch()
        except ProviderError as error:
            entry.failure, entry.failed_at = error, time.monotonic()
            raise
        entry.value, entry.fetched_at, entry.failure = value, time.monotonic(), None
        return value

    def _entry(self, key: tuple[str, ...]) -> _Entry[T]:
        with self._lock:
            if key not in self._entries and len(self._entries) >= MAX_ENTRIES:
                self._entries.pop(next(iter(self._entries)))
            return self._entries.setdefault(key, _Entry())
