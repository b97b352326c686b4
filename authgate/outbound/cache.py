"""What was fetched, kept for a while; fetched once for all who wait, and never under a lock that others need."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from authgate.bounded import Bounded
from authgate.outbound.errors import ProviderError

T = TypeVar("T")
MAX_ENTRIES = 256
# A provider that has just failed is not asked again by everybody who waited for it.
FAILURE_SECONDS = 2.0
_WAIT_SECONDS, _WAIT_ON_FAILURE = 12.0, 1.0


class _Entry(Generic[T]):
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.value: T | None = None
        self.fetched_at = 0.0
        self.failure: ProviderError | None = None
        self.failed_at = 0.0
        self.again_at = float("-inf")

    @contextmanager
    def alone(self) -> Iterator[None]:
        # While a provider fails, one thread waits for it; the others are needed by those whose provider works.
        if not self.lock.acquire(timeout=_WAIT_SECONDS if self.failure is None else _WAIT_ON_FAILURE):
            raise ProviderError("provider_unavailable", "the provider has failed, and is being asked again already")
        try:
            yield
        finally:
            self.lock.release()


class Fetched(Generic[T]):
    """By key; a key holds all that the answer depends on."""

    def __init__(self, ttl: float) -> None:
        self._ttl = ttl
        self._lock = threading.Lock()
        self._entries: Bounded[tuple[str, ...], _Entry[T]] = Bounded(MAX_ENTRIES)

    def get(self, key: tuple[str, ...], fetch: Callable[[], T]) -> T:
        """Raises what `fetch` raises."""
        entry = self._entry(key)
        if (value := self._fresh(entry)) is not None:
            return value
        with entry.alone():
            if (value := self._fresh(entry)) is not None:
                return value
            return self._fetch(entry, fetch)

    def again(self, key: tuple[str, ...], fetch: Callable[[], T], enough: Callable[[T], bool], every: float) -> T:
        """Fetch again when `enough(value)` is false, at most once every `every` seconds.

        Raises ProviderError also when the value is still not enough but was fetched a moment ago, or cannot be fetched:
        the provider may have what is lacking, so callers must not end a session because of it.
        """
        value, entry = self.get(key, fetch), self._entry(key)
        if enough(value):
            return value
        with entry.alone():
            # Whoever waited here has what the other one fetched.
            value = value if entry.value is None else entry.value
            now = time.monotonic()
            if enough(value):
                return value
            if now < entry.again_at + every:
                raise ProviderError(
                    "provider_unavailable", f"its answer of less than {every:.0f} seconds ago has nothing that fits"
                )
            value = self._fetch(entry, fetch)
            entry.again_at = now  # a failure has its own, shorter pause
            return value

    def kept(self, key: tuple[str, ...]) -> T | None:
        """What `get` would give without fetching it. Waits for nobody."""
        entry = self._entries.get(key)
        return None if entry is None else self._fresh(entry)

    def may_ask(self, key: tuple[str, ...], every: float) -> bool:
        """Whether `again` would fetch now."""
        entry, now = self._entries.get(key), time.monotonic()
        if entry is None:
            return True
        return now >= entry.again_at + every and not (entry.failure and now < entry.failed_at + FAILURE_SECONDS)

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
            entry = self._entries.get(key)
            if entry is None:
                entry = _Entry()
                self._entries.put(key, entry)
            return entry
