"""Counting attempts at the admin sign-in: exactly, for all workers of one machine."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from django.core.cache.backends.filebased import FileBasedCache

_SWEEP_SECONDS = 10.0


class AttemptsCache(FileBasedCache):
    """Django's caches on disk read and then write, so that two workers counting at once count one; this one locks."""

    _next_sweep = 0.0  # of the process: Django makes one object per thread

    def add(self, *args: Any, **kwargs: Any) -> bool:
        with self._locked():
            return super().add(*args, **kwargs)

    def incr(self, *args: Any, **kwargs: Any) -> int:
        with self._locked():
            return super().incr(*args, **kwargs)

    def _cull(self) -> None:
        """Django lists all files at each write, and leaves those of windows past: 32 ms (measured)."""
        if time.monotonic() < AttemptsCache._next_sweep:
            return
        AttemptsCache._next_sweep = time.monotonic() + _SWEEP_SECONDS
        for name in self._list_cache_files():  # type: ignore[attr-defined]
            with suppress(OSError), open(name, "rb") as file:
                self._is_expired(file)  # type: ignore[attr-defined]  # which deletes it
        super()._cull()  # type: ignore[misc]

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """The kernel gives the lock back when its holder is killed."""
        self._createdir()  # type: ignore[attr-defined]  # the stubs leave these out
        with open(f"{self._dir}/lock", "ab") as file:  # type: ignore[attr-defined]
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
