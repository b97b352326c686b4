from __future__ import annotations

import asyncio
import time

import pytest

from authgate.state.turns import Turns


def test_no_more_at_a_time_and_first_come_first_served():
    async def call(turns, number, running, begun):
        await turns.take()
        running.add(number)
        begun.append((number, len(running)))
        await asyncio.sleep(0.005)
        running.discard(number)
        turns.give_back(0.005)

    async def main():
        turns, running, begun = Turns(3, 5.0), set(), []
        await asyncio.gather(*(call(turns, number, running, begun) for number in range(20)))
        assert [number for number, _ in begun] == list(range(20))
        assert max(together for _, together in begun) <= 3

    asyncio.run(main())


def test_calls_that_come_together_begin_apart():
    async def main():
        turns, began = Turns(48, 5.0), []
        for _ in range(50):  # calls of 200 ms
            await turns.take()
            turns.give_back(0.2)

        async def call():
            await turns.take()
            began.append(time.monotonic())

        await asyncio.gather(*(call() for _ in range(20)))
        assert began[-1] - began[0] > 12 * 0.2 / 48 * 0.75

    asyncio.run(main())


def test_who_waits_too_long_gives_up_and_takes_no_turn():
    async def main():
        turns = Turns(1, 0.05)
        await turns.take()
        with pytest.raises(TimeoutError):
            await turns.take()
        turns.give_back()
        await asyncio.wait_for(turns.take(), 1)

    asyncio.run(main())


@pytest.mark.parametrize("has_turn", [False, True])
def test_who_is_cancelled_keeps_no_turn(has_turn):
    async def main():
        turns = Turns(1, 5.0)
        await turns.take()
        waiting = asyncio.create_task(turns.take())
        await asyncio.sleep(0.01)
        if has_turn:
            turns.give_back()
            turns._let_begin()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        if not has_turn:
            turns.give_back()
        await asyncio.wait_for(turns.take(), 1)

    asyncio.run(main())
