"""Threads for what waits: identity providers and the database. Never Django's own, and never without a bound."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Semaphore
from typing import ParamSpec, TypeVar

from django.db import close_old_connections

P = ParamSpec("P")
T = TypeVar("T")


class TooBusy(Exception):
    """As many wait already as may: answer 503 at once."""


class Threads:
    """`size` calls at a time, and eight times as many that wait for their turn."""

    def __init__(self, name: str, size: int) -> None:
        self._pool = ThreadPoolExecutor(size, name)
        self._places = Semaphore(9 * size)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Raises TooBusy. A caller that goes away leaves its call running, which keeps its place until it ends."""
        if not self._places.acquire(blocking=False):
            raise TooBusy
        try:
            future = self._pool.submit(_with_own_connections, lambda: function(*args, **kwargs))
        except BaseException:
            self._places.release()
            raise
        future.add_done_callback(lambda _: self._places.release())
        return await asyncio.wrap_future(future)


def _with_own_connections(call: Callable[[], T]) -> T:
    close_old_connections()
    try:
        return call()
    finally:
        close_old_connections()


# A provider that hangs must not keep anybody from a page that asks only the database.
provider_threads = Threads("provider", 32)
database_threads = Threads("database", 8)
# Anybody may send a logout token: never the threads of those who sign in.
logout_threads = Threads("logout", 4)
