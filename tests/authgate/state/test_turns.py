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


@pytest.mark.parametrize(
    ("took", "apart"), [(None, 0.001), (0.0, 0.0), (0.064, 0.001), (0.192, 0.003), (0.256, 0.004), (60.0, 0.004)]
)
def test_how_far_apart_calls_begin_by_how_long_they_took(took, apart):
    turns = Turns(48, 5.0)
    for _ in range(200):
        turns.give_back(took)
    turns._next_at = at = time.monotonic() + 60
    turns._begin()
    assert turns._next_at - at == pytest.approx(apart, abs=1e-6)


def test_one_call_changes_little_of_what_is_known():
    turns = Turns(48, 5.0)
    turns.give_back(0.064 + 0.8)
    assert turns._took == pytest.approx(0.064 + 0.1)


@pytest.mark.parametrize("took", [0.0, 60.0])
def test_a_loop_that_was_late_makes_up_for_a_few_turns_at_once(took):
    async def main():
        turns = Turns(20, 5.0)
        turns._took = took
        turns._next_at = time.monotonic() + 60
        waiting = [asyncio.create_task(turns.take()) for _ in range(10)]
        await asyncio.sleep(0)
        turns._let_begin()
        assert len(turns._waiting) == 9
        turns._next_at = 0.0
        turns._let_begin()
        assert len(turns._waiting) == 4
        await asyncio.wait_for(asyncio.gather(*waiting), 5)
        assert turns._free == 10

    asyncio.run(main())


def test_nobody_begins_before_the_next_turn_or_who_waits():
    async def main():
        turns, order = Turns(3, 5.0), []

        async def call(name):
            await turns.take()
            order.append(name)

        turns._next_at = time.monotonic() + 0.05
        first = asyncio.create_task(call("first"))
        await asyncio.sleep(0)
        assert order == []
        turns._next_at = 0.0
        await asyncio.gather(call("second"), first)
        assert order == ["first", "second"]

    asyncio.run(main())


def test_without_a_free_place_no_timer_runs():
    async def main():
        turns = Turns(1, 60.0)
        await turns.take()
        waiting = asyncio.create_task(turns.take())
        await asyncio.sleep(0)
        assert turns._timer is None
        turns.give_back()
        assert turns._timer is not None
        await asyncio.wait_for(waiting, 5)

    asyncio.run(main())


def test_who_gave_up_is_passed_over():
    async def main():
        turns = Turns(1, 60.0)
        await turns.take()
        impatient, patient = asyncio.create_task(turns.take()), asyncio.create_task(turns.take())
        await asyncio.sleep(0)
        first = turns._waiting[0]
        for _ in range(2):  # as when its time is over at the moment that its turn comes
            turns._give_up(first)
        with pytest.raises(TimeoutError):
            await impatient
        assert len(turns._waiting) == 1
        turns.give_back()
        await asyncio.wait_for(patient, 5)
        assert turns._free == 0

    asyncio.run(main())
