"""How the targets of upstreams are, by what each worker has last written into its place of shared memory.

What a worker wrote that has died is not read any more a few seconds later.
"""

from __future__ import annotations

import struct
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Literal

import msgspec

from authgate.policy.schema import Strict, Upstream
from authgate.state.places import Places

FRESH_SECONDS = 5.0
PLACE_BYTES = 1 << 20
_TRIES = 3
_REMEMBERED_SECONDS = 0.1  # for a page that asks for each upstream
_HEADER = struct.Struct("=dQQ")  # when it was written, by the clock of the machine; its length; how often


class TargetState(msgspec.Struct, frozen=True, array_like=True):
    """Of one target, in one worker. Times are seconds since the epoch; 0: none."""

    upstream: str
    target: str
    is_down: bool  # by its health checks
    left_out_until: float
    is_failing: bool  # it could not be connected to, or failed several times in a row, and has not recovered
    in_flight: int
    last_error: str
    last_error_at: float


_decoder = msgspec.msgpack.Decoder(list[TargetState])


class Board:
    def __init__(self) -> None:
        self._places = Places("upstreams", PLACE_BYTES)
        self._times = 0
        self._own: Sequence[TargetState] = ()
        self._found: list[Sequence[TargetState]] = []
        self._read_at = 0.0
        self.prepare = self._places.prepare

    def write(self, states: Sequence[TargetState]) -> None:
        """Of this worker."""
        self._own = states
        with suppress(OSError):
            if (place := self._places.own()) is not None:
                self._write(place, _fit(states, self._places.size))

    def read(self) -> list[Sequence[TargetState]]:
        """Of all workers that live. An empty one has had no request."""
        now = time.time()
        if abs(now - self._read_at) > _REMEMBERED_SECONDS:
            found = [self._read_again(place) for place in self._places.used()]
            self._found = [states for states in found if states is not None] or [self._own]
            self._read_at = now
        return self._found

    def _read_again(self, place: int) -> list[TargetState] | None:
        """It may be written at this very moment."""
        tries = (self._read(place) for _ in range(_TRIES))
        return next((states for states in tries if states is not None), None)

    def _write(self, place: int, content: bytes) -> None:
        self._times += 1
        # Until all is there, the head is of no reading.
        self._places.write(place, 0, _HEADER.pack(0, 0, self._times))
        self._places.write(place, _HEADER.size, content)
        self._places.write(place, 0, _HEADER.pack(time.time(), len(content), self._times))

    def _read(self, place: int) -> list[TargetState] | None:
        with suppress(OSError, msgspec.MsgspecError, struct.error):
            head = self._places.read(place, 0, _HEADER.size)
            written_at, length, _ = _HEADER.unpack(head)
            if abs(time.time() - written_at) > FRESH_SECONDS:
                return None
            content = self._places.read(place, _HEADER.size, length)
            if self._places.read(place, 0, _HEADER.size) == head:
                return _decoder.decode(content)
        return None


def _fit(states: Sequence[TargetState], size: int) -> bytes:
    """Of too many targets, those with something to tell come first."""
    most = size - _HEADER.size
    content = msgspec.msgpack.encode(states)
    if len(content) <= most:
        return content
    ranked: Iterable[TargetState] = sorted(states, key=lambda s: not (s.is_down or s.is_failing or s.in_flight))
    kept, size = [], 8
    for state in ranked:
        size += len(msgspec.msgpack.encode(state))
        if size > most:
            break
        kept.append(state)
    return msgspec.msgpack.encode(kept)


board = Board()


class TargetHealth(Strict, frozen=True, omit_defaults=False):
    """Of one target, over all workers of this machine."""

    target: str
    health: Literal["up", "failing", "down", "unused"]
    in_flight: int = 0
    left_out_until: str | None = None
    last_error: str | None = None
    last_error_at: str | None = None


class UpstreamHealth(Strict, frozen=True, omit_defaults=False):
    name: str
    targets: tuple[TargetHealth, ...]


def health_of(upstreams: Mapping[str, Upstream]) -> list[UpstreamHealth]:
    """In the order of the policy."""
    found: defaultdict[tuple[str, str], list[TargetState]] = defaultdict(list)
    for states in board.read():
        for state in states:
            found[state.upstream, state.target].append(state)
    return [
        UpstreamHealth(
            name=name,
            targets=tuple([_joined(target, found[name, target]) for target in dict.fromkeys(upstream.targets)]),
        )
        for name, upstream in upstreams.items()
    ]


def _joined(target: str, states: Sequence[TargetState]) -> TargetHealth:
    if not states:
        return TargetHealth(target=target, health="unused")
    worst = max(states, key=lambda state: (state.is_down, state.is_failing))
    last = max(states, key=lambda state: state.last_error_at)
    until = max(state.left_out_until for state in states)
    return TargetHealth(
        target=target,
        health="down" if worst.is_down else "failing" if worst.is_failing else "up",
        in_flight=sum(state.in_flight for state in states),
        left_out_until=_time(until),
        last_error=last.last_error or None,
        last_error_at=_time(last.last_error_at),
    )


def _time(seconds: float) -> str | None:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds") if seconds else None
