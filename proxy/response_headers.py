"""What of a response crosses the gateway on its way back. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple

from authgate.bounded import Bounded
from authgate.wire.framing import is_chunked
from authgate.wire.header_rules import NOT_RETURNED
from authgate.wire.headers import RawHeaders, header_block
from authgate.wire.own_cookies import OwnCookies
from proxy.headers import BadFraming, connection_options

_HSTS = b"strict-transport-security"
# So is HSTS: with less than this a service would soon switch it off for the gateway's own pages.
_SHORTEST_HSTS_SECONDS = 30 * 86400
_MAX_AGE = re.compile(rb"max-age\s*=\s*\"?([0-9]+)\"?", re.IGNORECASE)
# What names a place has to be read: from the service's view it may be another one than from the visitor's.
_PLACES = frozenset((b"location", b"content-location", b"refresh", b"set-cookie"))
# An upstream's Connection header must not make these vanish on the way out.
_UNLISTABLE = frozenset(
    (b"set-cookie", b"content-length", b"content-type", b"content-encoding", b"cache-control", b"location",
     b"content-security-policy", b"www-authenticate", b"x-frame-options", b"x-content-type-options")
)  # fmt: skip
_MAX_REMEMBERED = 256
_REMEMBERED_BYTES = 4096  # of the names of one response

Values = tuple[bytes, ...]


class Layout:
    """The names of a response's headers. Services send the same few sets of names, so what follows from names alone
    is worked out once for each; compared by identity."""

    __slots__ = (
        "bytes", "coding_at", "connection_at", "has_date", "has_places", "hsts_at", "is_framed", "is_ordinary",
        "length_at", "names",
    )  # fmt: skip

    def __init__(self, names: tuple[bytes, ...]) -> None:
        self.names = names = tuple([name.lower() for name in names])
        self.bytes = sum(map(len, names))
        self.connection_at = _place(names, b"connection")
        self.length_at = _place(names, b"content-length")
        self.coding_at = _place(names, b"transfer-encoding")
        self.hsts_at = _place(names, _HSTS)
        self.has_date = b"date" in names
        self.has_places = not _PLACES.isdisjoint(names)
        self.is_framed = self.length_at >= 0 or self.coding_at >= 0
        counts = [names.count(name) for name in (b"connection", b"content-length", b"transfer-encoding", _HSTS)]
        # What is not ordinary is looked at header by header.
        is_single = max(counts) < 2 and sum(counts[1:3]) < 2
        self.is_ordinary = is_single and not self.has_places and self.bytes <= _REMEMBERED_BYTES

    def pairs(self, values: Values) -> RawHeaders:
        return list(zip(self.names, values, strict=True))


def _place(names: tuple[bytes, ...], name: bytes) -> int:
    return names.index(name) if name in names else -1


_layouts: Bounded[tuple[bytes, ...], Layout] = Bounded(_MAX_REMEMBERED)


def layout_of(names: tuple[bytes, ...]) -> Layout:
    """Of names as they came, in any case."""
    layout = _layouts.get(names)
    if layout is None:
        layout = Layout(names)
        if layout.bytes <= _REMEMBERED_BYTES:
            _layouts.put(names, layout)
    return layout


class _Plan(NamedTuple):
    """What becomes of the headers of one layout."""

    pick: Callable[[Values], Any]  # of all values those that go on
    lines: bytes  # a template for those values, with our own headers behind


class ResponsePolicy:
    """How responses are finished: security headers an upstream lacks are added, its own are never replaced."""

    def __init__(
        self,
        defaults: RawHeaders,
        own_cookies: OwnCookies,
        removed: frozenset[bytes] = frozenset(),
        added: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        """`removed` of the upstream's, `added` in any case."""
        self._defaults = defaults
        self._dropped = NOT_RETURNED | removed
        self._always = list(added)
        self._own_cookies = own_cookies
        self._unlistable = _UNLISTABLE.union(name for name, _ in defaults)
        self._sets_hsts = any(name == _HSTS for name, _ in defaults)
        self._plans: Bounded[tuple[Layout, bool], _Plan] = Bounded(2 * _MAX_REMEMBERED)

    def finish(self, layout: Layout, values: Values, *, private: bool) -> RawHeaders:
        """The upstream's headers that go on, and ours. Raises BadFraming when its framing is in doubt."""
        pairs = layout.pairs(values)
        if layout.coding_at >= 0:
            _check_chunked(pairs)
        kept = self._keep(pairs)
        return kept + self._added(tuple([name for name, _ in kept]), private)

    def ordinary_lines(self, layout: Layout, values: Values, *, private: bool) -> bytes | None:
        """The same as lines of a head; None when a closer look is needed.

        The values must be free of control characters, as a parser leaves them.
        """
        if not layout.is_ordinary:
            return None
        if layout.connection_at >= 0 and values[layout.connection_at].lower() not in (b"keep-alive", b"close"):
            return None
        if layout.coding_at >= 0 and values[layout.coding_at] != b"chunked":
            return None
        if layout.hsts_at >= 0 and self._sets_hsts and _ends_hsts(values[layout.hsts_at]):
            return None
        plan = self._plans.get((layout, private)) or self._make_plan(layout, private)
        lines: bytes = plan.lines % plan.pick(values)
        return lines

    def _keep(self, headers: RawHeaders) -> RawHeaders:
        listed = connection_options([value for name, value in headers if name == b"connection"])
        return [
            (name, value)
            for name, value in headers
            if name not in self._dropped
            and (name not in listed or name in self._unlistable)
            and not (name == b"set-cookie" and value in self._own_cookies)
            and not (name == _HSTS and self._sets_hsts and _ends_hsts(value))
        ]

    def _added(self, names: tuple[bytes, ...], private: bool) -> RawHeaders:
        if self._always:
            names = (*names, *[name for name, _ in self._always])
        pairs = self._always + [pair for pair in self._defaults if pair[0] not in names]
        # A shared cache must not hand one caller's answer to another.
        if private and b"cache-control" not in names:
            pairs.append((b"cache-control", b"private"))
        return pairs

    def _make_plan(self, layout: Layout, private: bool) -> _Plan:
        kept = [place for place, name in enumerate(layout.names) if name not in self._dropped]
        added = header_block(self._added(tuple([layout.names[place] for place in kept]), private))
        lines = header_block([(layout.names[place].replace(b"%", b"%%"), b"%b") for place in kept])
        plan = _Plan(itemgetter(*kept) if kept else _pick_none, lines + added.replace(b"%", b"%%"))
        self._plans.put((layout, private), plan)
        return plan


@lru_cache(maxsize=64)
def _ends_hsts(value: bytes) -> bool:
    """Also what browsers would not understand: the gateway's own must stand in its place (RFC 6797 6.1)."""
    ages = [_MAX_AGE.fullmatch(directive.strip()) for directive in value.split(b";")]
    seconds = [age[1] for age in ages if age is not None]
    return len(seconds) != 1 or int(seconds[0][:20]) < _SHORTEST_HSTS_SECONDS


def _pick_none(_: Values) -> Values:
    return ()


def _check_chunked(headers: RawHeaders) -> None:
    codings = [value for name, value in headers if name == b"transfer-encoding"]
    if len(codings) != 1 or not is_chunked(codings[0]):
        raise BadFraming("a Transfer-Encoding other than chunked")
