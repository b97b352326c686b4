"""Threads for what waits: identity providers and the database. Never without a bound."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import lru_cache
from threading import Semaphore
from typing import Any, ParamSpec, TypeVar

from django.db import close_old_connections

P = ParamSpec("P")
T = TypeVar("T")


_NICE = 10


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
            # What is logged there is logged for this client.
            context = copy_context()
            future = self._pool.submit(_with_own_connections, lambda: context.run(function, *args, **kwargs))
        except BaseException:
            self._places.release()
            raise
        future.add_done_callback(lambda _: self._places.release())
        return await asyncio.wrap_future(future)


class Lanes:
    """Threads that many share, of which no one key takes more than `width` at a time."""

    def __init__(self, threads: Threads, width: int) -> None:
        self._threads = threads
        self._width = width
        self._lanes: dict[str, asyncio.Semaphore] = {}
        self._users: Counter[str] = Counter()

    async def run(self, key: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Raises TooBusy, also when many wait for this key alone."""
        if self._users[key] >= 9 * self._width:
            raise TooBusy
        self._users[key] += 1
        lane = self._lanes.setdefault(key, asyncio.Semaphore(self._width))

        async def in_lane() -> T:
            try:
                async with lane:
                    return await self._threads.run(function, *args, **kwargs)
            finally:
                self._users[key] -= 1
                if not self._users[key]:
                    del self._users[key], self._lanes[key]

        return await _to_its_end(in_lane())


class Shared:
    """Calls whose answer is the same for all who ask meanwhile: they wait for the one under way, and take no thread."""

    def __init__(self, threads: Threads, most_waiting: int) -> None:
        self._threads = threads
        self._most_waiting = most_waiting
        self._under_way: dict[str, asyncio.Task[Any]] = {}
        self._waiting: Counter[str] = Counter()

    async def run(self, key: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> None:
        """Raises TooBusy, also when many wait for this key, and what `function` raises."""
        if self._waiting[key] >= self._most_waiting:
            raise TooBusy
        self._waiting[key] += 1
        try:
            task = self._under_way.get(key) or self._begin(key, self._threads.run(function, *args, **kwargs))
            await asyncio.shield(task)
        finally:
            self._waiting[key] -= 1
            if not self._waiting[key]:
                del self._waiting[key]

    def _begin(self, key: str, call: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = self._under_way[key] = asyncio.get_running_loop().create_task(call)
        task.add_done_callback(lambda _: self._under_way.pop(key))
        # Nobody may be left who waits for it.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task


class Turns:
    """Django runs each of its synchronous pages in a thread of its own, with a connection to the database of its own.

    So only `size` of them run at a time, and `waiting` more wait for their turn. A turn is taken outside Django: Django
    cancels a page when its client disconnects, but the page's thread and its database connection live on.
    """

    def __init__(self, size: int, *, waiting: int, share: int) -> None:
        """`share`: of all places, those that one client may have."""
        self._turns = asyncio.Semaphore(size)
        self._places = size + waiting
        self._share = share
        self._held: Counter[str] = Counter()

    async def run(self, client: str, page: Callable[[], Awaitable[T]]) -> T:
        """Raises TooBusy."""
        if not self._places or self._held[client] >= self._share:
            raise TooBusy
        self._places -= 1
        self._held[client] += 1
        try:
            async with self._turns:
                return await page()
        finally:
            self._places += 1
            self._held[client] -= 1
            if not self._held[client]:
                del self._held[client]


def quietly(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """For what keeps a processor busy by itself, a password's hash or a new key: one at a time in a process, and the
    kernel lets everything else go first. The caller waits.
    """
    return _quiet_thread(os.getpid()).submit(function, *args, **kwargs).result()


@lru_cache(maxsize=1)
def _quiet_thread(process: int) -> ThreadPoolExecutor:
    """Of this process: no thread survives a fork."""
    return ThreadPoolExecutor(1, "quiet", _step_back)


def _step_back() -> None:
    if sys.platform == "linux":  # where a thread has a priority of its own
        os.nice(_NICE)


_unfinished: set[asyncio.Task[Any]] = set()


async def _to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """A client that disconnects stops waiting. The thread runs on, so its place stays taken until the thread ends."""
    task = asyncio.get_running_loop().create_task(work)
    _unfinished.add(task)
    task.add_done_callback(_unfinished.discard)
    return await asyncio.shield(task)


def _with_own_connections(call: Callable[[], T]) -> T:
    close_old_connections()
    try:
        return call()
    finally:
        close_old_connections()


# A provider that hangs must not keep anybody from a page that asks only the database.
provider_threads = Threads("provider", 32)
database_threads = Threads("database", 8)
# For pages that are asked for as often as anybody likes: so many of one client that others still sign in.
database_lanes = Lanes(database_threads, 2)
# Anybody may send a logout token: never the threads of those who sign in, and of these not all for one provider.
logout_threads = Threads("logout", 8)
logout_lanes = Lanes(logout_threads, 2)
admin_turns = Turns(8, waiting=64, share=18)
# Of these turns strangers all together take half and keep none of the places, whatever number of addresses they have.
admin_turns_of_strangers = Turns(4, waiting=32, share=9)
