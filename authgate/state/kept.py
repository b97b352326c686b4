"""The last good state, in memory that the workers of one `serve` share: what a new one begins with."""

from __future__ import annotations

import fcntl
import os
import struct
from contextlib import suppress
from typing import Generic, TypeVar

import msgspec

from authgate.state.trust import TrustRows

# When its counter was read, by the clock that all processes share and nobody sets; and its length.
_HEADER = struct.Struct("=QQ")


class PolicyState(msgspec.Struct, frozen=True):
    version: int
    file: tuple[int, int] | None
    generation: int
    revision: int
    text: str  # the document; empty before the first revision


class TrustState(msgspec.Struct, frozen=True):
    version: int
    file: tuple[int, int] | None
    generation: int
    rows: TrustRows
    knows_credentials: bool = True  # False: something may have been taken away since


State = TypeVar("State", PolicyState, TrustState)


class Kept(Generic[State]):
    """Two places, written in turn, so that a writer who dies half-way leaves what was there before.

    Read and written like files, never mapped: a place that is shorter than it says holds nothing.
    """

    def __init__(self, kind: type[State]) -> None:
        self._places: list[int] = []
        self._decoder: msgspec.msgpack.Decoder[State] = msgspec.msgpack.Decoder(kind)

    def prepare(self) -> None:
        """Before workers are forked. Without it, or without memory, a new one waits for the database."""
        with suppress(OSError):
            self._places = self._places or [os.memfd_create("authgate-state", os.MFD_CLOEXEC) for _ in range(2)]

    def save(self, state: State, read_at: int) -> bool:
        """Unless another worker has kept a newer one. False when it has to be tried again."""
        if not self._places:
            return True
        try:
            self._save(msgspec.msgpack.encode(state), read_at)
        except OSError:
            return False
        return True

    def load(self) -> State | None:
        for place in sorted(self._places, key=_read_at, reverse=True):
            with suppress(OSError, ValueError):
                return self._decoder.decode(_read(place))
        return None

    def _save(self, content: bytes, read_at: int) -> None:
        # A record lock: of this process alone, and given back by the kernel when it dies.
        fcntl.lockf(self._places[0], fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            older, newer = sorted(self._places, key=_read_at)
            if read_at > _read_at(newer):
                _write(older, content, read_at)
        finally:
            fcntl.lockf(self._places[0], fcntl.LOCK_UN)


def _write(place: int, content: bytes, read_at: int) -> None:
    header, offset = _HEADER.pack(read_at, len(content)), _HEADER.size
    os.ftruncate(place, 0)
    while content:
        written = os.pwrite(place, content, offset)
        content, offset = content[written:], offset + written
    # Last: until then this place holds nothing.
    os.pwrite(place, header, 0)


def _read(place: int) -> bytes:
    header = _header(place)
    read_at, length = header
    content = os.pread(place, length, _HEADER.size)
    if not read_at or len(content) != length or _header(place) != header:
        raise ValueError("nothing is kept here, or it is being replaced")
    return content


def _read_at(place: int) -> int:
    return _header(place)[0]


def _header(place: int) -> tuple[int, int]:
    read_at, length = _HEADER.unpack(os.pread(place, _HEADER.size, 0).ljust(_HEADER.size, b"\0"))
    return read_at, length


policy = Kept(PolicyState)
trust = Kept(TrustState)
