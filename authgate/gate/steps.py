"""Running the gate: its steps ask for what it cannot know by itself, and are told."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

import msgspec

from authgate.policy.table import Limit
from authgate.ratelimit import take, take_here

T = TypeVar("T")


class Take(msgspec.Struct, frozen=True, gc=False):
    """One request of `limit`, for `key`. The answer: seconds to wait, 0.0 when there was one left."""

    limit: Limit
    key: str


Steps = Generator[Take, float, T]


def run_at_once(steps: Steps[T]) -> T:
    """For limits that this machine counts: never waits."""
    try:
        asked = next(steps)
        while True:
            asked = steps.send(take_here(asked.limit, asked.key))
    except StopIteration as done:
        result: T = done.value
        return result


async def run(steps: Steps[T], asked: Take | None = None) -> T:
    """For limits that are kept anywhere. `asked`: what steps that have begun wait for."""
    try:
        asked = asked or next(steps)
        while True:
            wait = take(asked.limit, asked.key)
            asked = steps.send(wait if isinstance(wait, float) else await wait)
    except StopIteration as done:
        result: T = done.value
        return result
