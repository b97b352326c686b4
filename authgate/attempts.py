"""Counting attempts at the admin sign-in: exactly, for all workers of one machine."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.cache.backends.filebased import FileBasedCache


class AttemptsCache(FileBasedCache):
    """Django's caches on disk read and then write, so that two workers counting at once count one; this one locks."""

    def add(self, *args: Any, **kwargs: Any) -> bool:
        with self._locked():
            return super().add(*args, **kwargs)

    def incr(self, *args: Any, **kwargs: Any) -> int:
        with self._locked():
            return super().incr(*args, **kwargs)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """The kernel gives the lock back when its holder is killed."""
        self._createdir()  # type: ignore[attr-defined]  # the stubs leave these out
        with open(f"{self._dir}/lock", "ab") as file:  # type: ignore[attr-defined]
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
