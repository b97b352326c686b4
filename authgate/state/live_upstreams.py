"""How the targets of upstreams are, in memory that the workers of one `serve` share: each has a place of its own there.

Read and written like a file, never mapped. A worker that dies leaves its place to the next one, by the lock that the
kernel takes back; what it wrote is not read any more a few seconds later.
"""

from __future__ import annotations

import fcntl
import os
import struct
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Literal

import msgspec

from authgate.policy.schema import Strict, Upstream

FRESH_SECONDS = 5.0
PLACES = 256  # of workers
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
        self._memory = -1
        self._place: int | None = None
        self._pid = 0
        self._times = 0
        self._own: Sequence[TargetState] = ()
        self._found: list[Sequence[TargetState]] = []
        self._read_at = 0.0

    def prepare(self) -> None:
        """Before workers are forked. Without it, or without memory, each knows of itself alone."""
        with suppress(OSError):
            if self._memory < 0:
                self._memory = os.memfd_create("authgate-upstreams", os.MFD_CLOEXEC)

    def write(self, states: Sequence[TargetState]) -> None:
        """Of this worker."""
        self._own = states
        with suppress(OSError):
            if (place := self._find_place()) is not None:
                self._write(place * PLACE_BYTES, _fit(states))

    def read(self) -> list[Sequence[TargetState]]:
        """Of all workers that live. An empty one has had no request."""
        now = time.time()
        if abs(now - self._read_at) > _REMEMBERED_SECONDS:
            found = [self._read_again(place * PLACE_BYTES) for place in range(self._places())]
            self._found = [states for states in found if states is not None] or [self._own]
            self._read_at = now
        return self._found

    def _read_again(self, at: int) -> list[TargetState] | None:
        """It may be written at this very moment."""
        tries = (self._read(at) for _ in range(_TRIES))
        return next((states for states in tries if states is not None), None)

    def _write(self, at: int, content: bytes) -> None:
        self._times += 1
        # Until all is there, the head is of no reading.
        os.pwrite(self._memory, _HEADER.pack(0, 0, self._times), at)
        os.pwrite(self._memory, content, at + _HEADER.size)
        os.pwrite(self._memory, _HEADER.pack(time.time(), len(content), self._times), at)

    def _read(self, at: int) -> list[TargetState] | None:
        with suppress(OSError, msgspec.MsgspecError, struct.error):
            head = os.pread(self._memory, _HEADER.size, at)
            written_at, length, _ = _HEADER.unpack(head)
            if abs(time.time() - written_at) > FRESH_SECONDS:
                return None
            content = os.pread(self._memory, length, at + _HEADER.size)
            if os.pread(self._memory, _HEADER.size, at) == head:
                return _decoder.decode(content)
        return None

    def _places(self) -> int:
        """Those that were ever written."""
        try:
            return -(-os.fstat(self._memory).st_size // PLACE_BYTES) if self._memory >= 0 else 0
        except OSError:
            return 0

    def _find_place(self) -> int | None:
        """The first that nobody alive has (a record lock: of this process alone)."""
        if self._pid != os.getpid():
            self._pid, self._place = os.getpid(), None
        if self._place is None and self._memory >= 0:
            for place in range(PLACES):
                with suppress(OSError):
                    fcntl.lockf(self._memory, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
                    self._place = place
                    break
        return self._place


def _fit(states: Sequence[TargetState]) -> bytes:
    """Of too many targets, those with something to tell come first."""
    most = PLACE_BYTES - _HEADER.size
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
