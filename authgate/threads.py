"""Bounded threads for calls that block: identity providers and the database."""

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
    """The limit of waiting calls is reached: answer 503 at once."""


class Threads:
    """A pool that runs `size` calls at a time; eight times as many may wait for their turn."""

    def __init__(self, name: str, size: int) -> None:
        self._pool = ThreadPoolExecutor(size, name)
        self._places = Semaphore(9 * size)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Raises TooBusy. If the caller is cancelled, the call runs on and keeps its place until it ends."""
        if not self._places.acquire(blocking=False):
            raise TooBusy
        try:
            # Log lines of the thread count for this client.
            context = copy_context()
            future = self._pool.submit(_with_own_connections, lambda: context.run(function, *args, **kwargs))
        except BaseException:
            self._places.release()
            raise
        future.add_done_callback(lambda _: self._places.release())
        return await asyncio.wrap_future(future)


class Lanes:
    """Shared threads, of which one key takes at most `width` at a time."""

    def __init__(self, threads: Threads, width: int) -> None:
        self._threads = threads
        self._width = width
        self._lanes: dict[str, asyncio.Semaphore] = {}
        self._users: Counter[str] = Counter()

    async def run(self, key: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Raises TooBusy, also when too many calls wait for this key alone."""
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
    """Calls with one result for all callers of a key: while one runs, the others wait for it without a thread."""

    def __init__(self, threads: Threads, most_waiting: int) -> None:
        self._threads = threads
        self._most_waiting = most_waiting
        self._under_way: dict[str, asyncio.Task[Any]] = {}
        self._waiting: Counter[str] = Counter()

    async def run(self, key: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> None:
        """Raises TooBusy, also when too many calls wait for this key, and the exceptions of `function`."""
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
        # Retrieves the exception: maybe no caller is left to do so.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task


class Turns:
    """Turns for Django's synchronous pages, each of which has its own thread and its own connection to the database.

    Only `size` of them run at a time, and `waiting` more wait for their turn. A turn is taken outside Django: Django
    cancels a page when its client disconnects, but the page's thread and its database connection live on.
    """

    def __init__(self, size: int, *, waiting: int, share: int) -> None:
        """`share`: the places that one client may take."""
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
    """Runs work that keeps a processor busy, such as a password's hash or a new key: one at a time in a process, at a
    low priority. The caller waits.
    """
    return _quiet_thread(os.getpid()).submit(function, *args, **kwargs).result()


@lru_cache(maxsize=1)
def _quiet_thread(process: int) -> ThreadPoolExecutor:
    """The thread of this process: none survives a fork."""
    return ThreadPoolExecutor(1, "quiet", _step_back)


def _step_back() -> None:
    if sys.platform == "linux":  # only there a thread has its own priority
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
# For pages without a rate limit: one client takes two threads at most, so that others can still sign in.
database_lanes = Lanes(database_threads, 2)
# Anybody may send a logout token, so these threads are not those of sign-ins, and one provider never takes all of them.
logout_threads = Threads("logout", 8)
logout_lanes = Lanes(logout_threads, 2)
# The same of security events, beside them: a provider that sends thousands delays none of its own logouts.
event_threads = Threads("events", 4)
event_lanes = Lanes(event_threads, 2)
admin_turns = Turns(8, waiting=64, share=18)
# All strangers together take half of these turns and wait in places of their own, however many addresses they have.
admin_turns_of_strangers = Turns(4, waiting=32, share=9)
