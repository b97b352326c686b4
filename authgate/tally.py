"""Counters and gauges of one process: whole numbers in a piece of memory that others may read.

An entry is a key and the numbers behind it. Adding to one takes no lock: the event loop adds. Threads add only to
entries that were there first, which never move.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

import msgspec

Key = tuple[str, ...]
# How often entries were moved (odd: they are being moved), the bytes in use, the series that found no room; then room
# for the numbers of those, which nobody reads.
_HEAD = struct.Struct("=QQQ")
_WORD = 8
SPARE = 3  # the first word of it
_SPARE_WORDS = 32
_FIRST = (SPARE + _SPARE_WORDS) * _WORD
_ENTRY = struct.Struct("=II")  # bytes of the key, filled up to whole words; numbers behind it
_ALONE_BYTES = 1 << 16  # of a process that shares with nobody

REFUSED: Key = ("refused",)
# How often an identity was remembered, and how often not, since this was told. Service tokens are found without a
# signature, and do not count. A list, because each request adds to it.
identity_lookups = [0, 0]
HIT, MISS = 0, 1

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Key).decode


class Moving(Exception):
    """The entries are being moved: read again."""


class Tally:
    def __init__(self) -> None:
        self.lay(memoryview(bytearray(_ALONE_BYTES)))

    def lay(self, memory: memoryview) -> None:
        """From now on the numbers are in this memory, with those that are there already."""
        self.memory, self.numbers = memory, memory.cast("Q")
        self._at: dict[Key, int] = {}
        moves, used, _ = _HEAD.unpack_from(memory)
        if moves % 2 or used < _FIRST:  # new, or left by a process that died while it moved them
            memory[:_FIRST] = bytes(_FIRST)
            self._set_head(moves + moves % 2, _FIRST)
            return
        for at, key, _ in _entries(memory, used):
            self._at[key] = at // _WORD

    def at(self, key: Key, length: int = 1) -> int:
        """Where the numbers of this key begin. The place is good until the next `keep`."""
        return self._at.get(key) or self._make(key, length)

    def add(self, key: Key, amount: int = 1) -> None:
        self.numbers[self._at.get(key) or self._make(key, 1)] += amount

    def set(self, key: Key, value: int) -> None:
        self.numbers[self._at.get(key) or self._make(key, 1)] = value

    def keep(self, is_wanted: Callable[[Key], bool]) -> None:
        """Forget all other entries, and use their room again. Those before the first of them stay where they are."""
        if all(map(is_wanted, self._at)):
            return
        moves, used, _ = _HEAD.unpack_from(self.memory)
        kept = [(key, numbers) for _, key, numbers in _entries(self.memory, used) if is_wanted(key)]
        self._set_head(moves + 1, used)
        at: dict[Key, int] = {}
        end = _FIRST
        for key, numbers in kept:
            at[key] = begin = self._write(key, numbers, end)
            end = (begin + len(numbers)) * _WORD
        self._at = at  # whole: a thread may look something up meanwhile
        self._set_head(moves + 2, end)

    def _make(self, key: Key, length: int) -> int:
        _, used, _ = _HEAD.unpack_from(self.memory)
        if used + _ENTRY.size + len(_filled(key)) + length * _WORD > len(self.memory):
            self.numbers[2] += 1
            return SPARE
        self._at[key] = begin = self._write(key, (0,) * length, used)
        self.numbers[1] = (begin + length) * _WORD  # last: until then nobody reads it
        return begin

    def _write(self, key: Key, numbers: tuple[int, ...], at: int) -> int:
        """Where the numbers begin."""
        name = _filled(key)
        _ENTRY.pack_into(self.memory, at, len(name), len(numbers))
        self.memory[at + _ENTRY.size : at + _ENTRY.size + len(name)] = name
        begin = (at + _ENTRY.size + len(name)) // _WORD
        for place, number in enumerate(numbers, begin):
            self.numbers[place] = number
        return begin

    def _set_head(self, moves: int, used: int) -> None:
        self.numbers[1], self.numbers[0] = used, moves


def read_entries(read: Callable[[int, int], bytes]) -> dict[Key, tuple[int, ...]]:
    """Of any process. `read`: so many bytes from a place of its memory. Raises Moving."""
    head = read(0, _HEAD.size)
    if len(head) < _HEAD.size:
        return {}
    moves, used, refused = _HEAD.unpack(head)
    content = memoryview(read(0, used))
    if moves % 2 or _HEAD.unpack(read(0, _HEAD.size))[0] != moves:
        raise Moving
    found = {key: numbers for _, key, numbers in _entries(content, used)}
    return {**found, REFUSED: (refused,)} if refused else found


def _entries(memory: memoryview, used: int) -> Iterator[tuple[int, Key, tuple[int, ...]]]:
    """Each with the byte where its numbers begin."""
    at = _FIRST
    while at < used:
        size, length = _ENTRY.unpack_from(memory, at)
        at += _ENTRY.size
        key = _decode(bytes(memory[at : at + size]))
        at += size
        yield at, key, struct.unpack_from(f"={length}Q", memory, at)
        at += length * _WORD


def _filled(key: Key) -> bytes:
    """With spaces, which JSON allows behind it."""
    name = _encode(key)
    return name.ljust(-(-len(name) // _WORD) * _WORD)


tally = Tally()
