"""Running the gate: its steps ask for what it cannot know by itself, and are told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from authgate.policy.table import Limit
from authgate.ratelimit import take, take_here
from authgate.request import Identity, InvalidCredential

T = TypeVar("T")


class Take(msgspec.Struct, frozen=True, gc=False):
    """One request of `limit`, for `key`. The answer: seconds to wait, 0.0 when there was one left."""

    limit: Limit
    key: str


class Prove(msgspec.Struct, frozen=True, gc=False):
    """Who sends a credential that only its issuer can tell about. The answer: the identity, or InvalidCredential."""

    ask: Callable[[], Awaitable[Identity]]


Steps = Generator[Take | Prove, Any, T]


class Asking(NamedTuple, Generic[T]):
    """Steps that have begun, and the question whose answer they wait for."""

    steps: Steps[T]
    asked: Take | Prove


def run_here(steps: Steps[T]) -> T | Asking[T]:
    """For limits that this machine counts: as far as memory knows the answers."""
    try:
        asked = next(steps)
        while type(asked) is Take:
            asked = steps.send(take_here(asked.limit, asked.key))
    except StopIteration as done:
        result: T = done.value
        return result
    return Asking(steps, asked)


def begin(steps: Steps[T]) -> T | Asking[T]:
    """For limits that are kept anywhere: until the first question."""
    try:
        return Asking(steps, next(steps))
    except StopIteration as done:
        result: T = done.value
        return result


async def run(steps: Steps[T], asked: Take | Prove | None = None) -> T:
    """To the end. `asked`: what steps that have begun wait for."""
    try:
        asked = asked or next(steps)
        while True:
            answer = await _answer(asked)
            asked = steps.throw(answer) if isinstance(answer, InvalidCredential) else steps.send(answer)
    except StopIteration as done:
        result: T = done.value
        return result


async def _answer(asked: Take | Prove) -> float | Identity | InvalidCredential:
    if isinstance(asked, Take):
        wait = take(asked.limit, asked.key)
        return wait if isinstance(wait, float) else await wait
    try:
        return await asked.ask()
    except InvalidCredential as refused:
        return refused
