"""What is counted: a request when it ends, the rest where it happens. Nothing here names a person or a path.

Routes and upstreams are those of the policy that this worker runs, and no more than a bound of them. What a client
sends makes no series, except by the reason and the status of its answer.
"""

from __future__ import annotations

import asyncio
import os
import time
from bisect import bisect_left
from collections.abc import Mapping
from typing import NamedTuple

from authgate.observe.access_log import Record
from authgate.policy.schema import PolicyDocument
from authgate.policy.table import RouteEntry
from authgate.reason import Reason
from authgate.state import watcher
from authgate.state.places import Places
from authgate.state.snapshot import current
from authgate.tally import SPARE, Key, Moving, identity_lookups, read_entries, tally

MOST_NAMED = 500  # routes, and upstreams, that have series of their own: the first ones of the policy
NO_ROUTE, OWN_PAGE, OTHER = "(none)", "(gateway)", "(other)"  # no route can have such a name
BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
FRESH_SECONDS = 5.0
FLUSH_SECONDS = 0.05
_BEYOND = len(BOUNDS) + 1  # the place of the sum, behind a bucket for each bound and the last one
_NUMBERS = _BEYOND + 1
_TRIES = 50
_TRY_SECONDS = 0.002
_MICRO = 1_000_000

# The first word of a key says what it counts.
REQUESTS, DURATION, ANSWER, CUT, LIMITED = "requests", "duration", "answer", "cut", "limited"
REFUSED_EARLY = "refused_early"
EJECTED, RETRIED, CACHE, SIGN_IN, STARTS, WORKER = "ejected", "retried", "cache", "sign_in", "starts", "worker"
_OF_ROUTE, _OF_UPSTREAM = (REQUESTS, DURATION), (ANSWER, EJECTED, RETRIED)
SIGNED_IN = "signed_in"
STATES = ("waiting", "responding", "tunnel")
_GAUGES = ("beat", "pid", "revision", "ready", "age", "lag", *STATES)
_IDENTITY_HIT: Key = (CACHE, "identity", "hit")
_IDENTITY_MISS: Key = (CACHE, "identity", "miss")
_ROUTE_HIT: Key = (CACHE, "route", "hit")
_ROUTE_MISS: Key = (CACHE, "route", "miss")
# Before all others, so that they never move (authgate/tally.py).
_FIRST: tuple[Key, ...] = (_IDENTITY_HIT, _IDENTITY_MISS, _ROUTE_HIT, _ROUTE_MISS, (STARTS,))

places = Places("metrics", 1 << 19)


class Named(NamedTuple):
    routes: frozenset[str]
    upstreams: frozenset[str]

    def has(self, key: Key) -> bool:
        if key[0] in _OF_ROUTE:
            return key[1] in self.routes
        return key[0] not in _OF_UPSTREAM or key[1] in self.upstreams


class _Places(NamedTuple):
    """Of the numbers that a request is added to."""

    requests: int
    duration: int
    answer: int


_document: PolicyDocument | None = None
_named = Named(frozenset(), frozenset())
_known: dict[tuple[str | None, int, str | None], _Places] = {}
_pending: list[tuple[RouteEntry | None, Reason | None, int, float, float | None, str | None]] = []
_lookups: object = None
_looked_up = (0, 0)  # hits and misses that are counted already


def begin() -> None:
    """In each worker, before its first request. Counters go on where a worker that died has left them."""
    if (memory := places.map_own()) is not None:
        tally.lay(memoryview(memory))
    _known.clear()
    for key in _FIRST:
        tally.at(key)
    for name in _GAUGES:
        tally.set((WORKER, name), 0)
    tally.add((STARTS,))


def count(record: Record) -> None:
    """A request that has ended. Counted with others a moment later, which costs each of them a third (measured)."""
    if not _pending:
        asyncio.get_running_loop().call_later(FLUSH_SECONDS, flush)
    decision = record.decision
    entry, reason = (decision.entry, decision.reason) if decision is not None else (None, None)
    seconds = time.monotonic() - record.started_at
    _pending.append((entry, reason, record.status, seconds, record.upstream_seconds, record.cut))


def flush() -> None:
    """On the event loop."""
    for entry, reason, status, seconds, waited, cut in _pending:
        name = entry.route.name if entry is not None else None
        # By value: a reason is slow to hash.
        key = (name, status // 100, reason._value_ if reason is not None else None)
        requests, duration, answer = _known.get(key) or _make(key, entry)
        numbers = tally.numbers
        numbers[requests] += 1
        numbers[duration + bisect_left(BOUNDS, seconds)] += 1
        numbers[duration + _BEYOND] += int(seconds * _MICRO)
        if waited is not None:
            numbers[answer + bisect_left(BOUNDS, waited)] += 1
            numbers[answer + _BEYOND] += int(waited * _MICRO)
        if cut is not None:
            tally.add((CUT, cut))
        if reason is Reason.RATE_LIMITED and entry is not None and entry.limit is not None:
            tally.add((LIMITED, entry.limit.name))
    _pending.clear()
    for number, lookups in enumerate((_IDENTITY_HIT, _IDENTITY_MISS)):
        tally.add(lookups, identity_lookups[number])
        identity_lookups[number] = 0


def _make(key: tuple[str | None, int, str | None], entry: RouteEntry | None) -> _Places:
    named = follow()
    name, status, reason = key
    route = OWN_PAGE if reason is None else NO_ROUTE if name is None else _within(name, named.routes)
    requests = tally.at((REQUESTS, route, f"{status}xx" if status else "none", reason or ""))
    # How long a tunnel was open says nothing about how fast the gateway is.
    duration = tally.at((DURATION, route), _NUMBERS) if status != 1 else SPARE
    upstream = entry.route.upstream if entry is not None else ""
    answer = tally.at((ANSWER, _within(upstream, named.upstreams)), _NUMBERS) if upstream else SPARE
    found = _known[key] = _Places(requests, duration, answer)
    return found


def count_refusal(reason: Reason) -> None:
    """By the server, of what never becomes a request or is no whole one."""
    tally.add((REFUSED_EARLY, reason.value))


def count_sign_in(outcome: str) -> None:
    """`outcome`: SIGNED_IN, or the code of the failure."""
    tally.add((SIGN_IN, outcome))


def count_ejection(upstream: str, target: str) -> None:
    tally.add((EJECTED, upstream, target))


def count_retry(upstream: str) -> None:
    tally.add((RETRIED, _within(upstream, follow().upstreams)))


def follow() -> Named:
    """The names in the policy of this worker. When there is another one, numbers of what it lacks are forgotten."""
    global _document, _named
    snapshot = current()
    document = snapshot.document if snapshot is not None else None
    if document is not _document:
        _document, _named = document, names_of(document)
        tally.keep(_named.has)
        _known.clear()
    return _named


def names_of(document: PolicyDocument | None) -> Named:
    if document is None:
        return Named(frozenset(), frozenset())
    routes = [route.name for route in document.routes[:MOST_NAMED]]
    upstreams = list(document.upstreams)[:MOST_NAMED]
    return Named(frozenset((*routes, NO_ROUTE, OWN_PAGE, OTHER)), frozenset((*upstreams, OTHER)))


def _within(name: str, named: frozenset[str]) -> str:
    return name if name in named else OTHER


# -- once a second ------------------------------------------------------------------------------------------------


def tell(exchanges: Mapping[str, int], lag: float) -> None:
    """How this worker is. `exchanges` by their state; `lag`: seconds that its event loop was late at worst."""
    follow()
    snapshot = current()
    gauges = {
        "pid": os.getpid(),
        "revision": snapshot.revision if snapshot is not None else 0,
        "ready": int(watcher.not_ready() is None),
        "age": int(watcher.age() * _MICRO),
        "lag": int(lag * _MICRO),
        **exchanges,
        "beat": int(time.time() * _MICRO),
    }
    for name, value in gauges.items():
        tally.set((WORKER, name), value)
    _count_lookups()


def _count_lookups() -> None:
    """Of routes by path: Python counts them, anew for each policy."""
    global _lookups, _looked_up
    snapshot = current()
    if snapshot is None:
        return
    find = snapshot.find
    if find is not _lookups:
        _lookups, _looked_up = find, (0, 0)
    info = find.cache_info()  # type: ignore[attr-defined]
    tally.add(_ROUTE_HIT, info.hits - _looked_up[0])
    tally.add(_ROUTE_MISS, info.misses - _looked_up[1])
    _looked_up = (info.hits, info.misses)


# -- for whoever shows them ---------------------------------------------------------------------------------------


def read() -> list[dict[Key, tuple[int, ...]]]:
    """Of every worker there ever was. In a thread: it may wait a moment for one that moves its numbers."""
    found = [_read(place) for place in places.used()]
    return found or [read_entries(lambda begin, length: bytes(tally.memory[begin : begin + length]))]


def _read(place: int) -> dict[Key, tuple[int, ...]]:
    for _ in range(_TRIES):
        try:
            return read_entries(lambda begin, length: places.read(place, begin, length))
        except Moving:
            time.sleep(_TRY_SECONDS)
    return {}  # it died while it moved them
