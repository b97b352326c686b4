"""The pace of a long walk over routes: at once, or with room for requests in between."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

T = TypeVar("T")

# A computing thread holds the interpreter for 5 ms at a stretch, and the event loop waits that long each time it
# comes back from the kernel. With short bursts of work, callers do not notice the wait.
_WORK_SECONDS = 0.001
_REST_SECONDS = 0.001


class Pace(Protocol):
    def __call__(self, items: Iterable[T], /) -> Iterable[T]: ...


def at_once(items: Iterable[T], /) -> Iterable[T]:
    return items


def politely(items: Iterable[T], /) -> Iterator[T]:
    until = time.perf_counter() + _WORK_SECONDS
    for item in items:
        yield item
        if time.perf_counter() > until:
            time.sleep(_REST_SECONDS)
            until = time.perf_counter() + _WORK_SECONDS
