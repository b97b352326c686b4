"""A cache that never grows beyond a bound."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Bounded(Generic[K, V]):
    """Entries by key, `most` of them: the oldest goes when there would be more.

    Threads may share one without a lock: each step is atomic, and of the races between them at worst a few entries
    too many remain.
    """

    __slots__ = ("_entries", "_most", "clear", "get", "pop")

    get: Callable[[K], V | None]
    pop: Callable[[K, None], V | None]
    clear: Callable[[], None]

    def __init__(self, most: int) -> None:
        self._most = most
        # Not a dict: finding its oldest entry means walking over all that were removed before.
        self._entries: OrderedDict[K, V] = OrderedDict()
        # Its own methods, which cost a request no second call.
        self.get, self.pop, self.clear = self._entries.get, self._entries.pop, self._entries.clear

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: K) -> bool:
        return key in self._entries

    def put(self, key: K, value: V) -> None:
        """The entry is the youngest now, also when the key was there."""
        entries = self._entries
        entries.pop(key, None)
        if len(entries) >= self._most:
            try:  # noqa: SIM105  suppress() costs as much as all the rest
                entries.popitem(last=False)
            except KeyError:
                pass
        entries[key] = value
