"""What a client's leaving does not give back: the thread goes on, and so does what it holds."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from authgate.threads import Lanes, Shared, Threads, TooBusy, Turns


class Work:
    """Blocks threads until it is told, and knows how many it has blocked at a time."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.now = self.most = 0
        self._lock = threading.Lock()

    def block(self) -> None:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        self.go_on.wait(10)
        with self._lock:
            self.now -= 1


@pytest.fixture
def work():
    work = Work()
    yield work
    work.go_on.set()


async def leave_at_once(begin, count):
    """So many clients, one after the other, that ask and go."""
    for _ in range(count):
        asking = asyncio.ensure_future(begin())
        await asyncio.sleep(0.01)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


def test_who_leaves_frees_no_lane_before_the_call_is_done(work):
    async def scenario() -> None:
        lanes = Lanes(Threads("test", 8), 2)
        await leave_at_once(lambda: lanes.run("one", work.block), 12)
        assert await lanes.run("another", lambda: "served") == "served"
        work.go_on.set()
        assert await asyncio.wait_for(lanes.run("one", lambda: "served"), 5) == "served"

    asyncio.run(scenario())
    assert work.most == 2


def test_too_many_for_one_key_are_refused_and_forgotten_when_done(work):
    async def scenario() -> None:
        lanes = Lanes(Threads("test", 8), 1)
        waiting = [asyncio.ensure_future(lanes.run("one", work.block)) for _ in range(9)]
        await asyncio.sleep(0.05)
        with pytest.raises(TooBusy):
            await lanes.run("one", time.time)
        work.go_on.set()
        await asyncio.gather(*waiting)
        await lanes.run("one", time.time)

    asyncio.run(scenario())


def test_more_than_may_wait_for_a_turn_are_refused(work):
    async def scenario() -> None:
        turns = Turns(1, waiting=8, share=9)
        waiting = [asyncio.ensure_future(turns.run("a", lambda: asyncio.to_thread(work.block))) for _ in range(9)]
        await asyncio.sleep(0.05)
        with pytest.raises(TooBusy):
            await turns.run("b", lambda: asyncio.sleep(0))
        work.go_on.set()
        await asyncio.gather(*waiting)

    asyncio.run(scenario())


def test_one_client_never_has_all_places():
    async def outcomes() -> list[str]:
        turns, released = Turns(1, waiting=5, share=3), asyncio.Event()

        async def ask(client: str) -> str:
            try:
                await turns.run(client, released.wait)
            except TooBusy:
                return f"{client} refused"
            return client

        asked = [asyncio.create_task(ask(client)) for client in "aaaaabbbb"]
        await asyncio.sleep(0)
        released.set()
        answers = await asyncio.gather(*asked)
        return [*answers, await ask("a")]

    assert asyncio.run(outcomes()) == ["a"] * 3 + ["a refused"] * 2 + ["b"] * 3 + ["b refused"] + ["a"]


def test_whoever_asks_for_the_same_waits_for_the_call_under_way():
    calls = []

    def call() -> None:
        calls.append(None)
        time.sleep(0.2)

    async def outcomes() -> list[object]:
        shared = Shared(Threads("test", 1), most_waiting=5)
        return await asyncio.gather(*(shared.run("a", call) for _ in range(7)), return_exceptions=True)

    answers = asyncio.run(outcomes())
    assert (answers[:5], [type(answer) for answer in answers[5:]], len(calls)) == ([None] * 5, [TooBusy] * 2, 1)


def test_a_shared_call_that_fails_fails_all_who_wait_and_nobody_after_them():
    async def outcomes() -> list[object]:
        shared = Shared(Threads("test", 1), most_waiting=5)
        failed = await asyncio.gather(*(shared.run("a", int, "x") for _ in range(2)), return_exceptions=True)
        return [*map(type, failed), await shared.run("a", int)]

    assert asyncio.run(outcomes()) == [ValueError, ValueError, None]
