"""Between an exchange and its client, on routes that say so: the response in gzip, if both sides are for it."""

from __future__ import annotations

import re
import zlib

from authgate.decision import Allowed
from authgate.wire.framing import BODILESS
from authgate.wire.headers import Headers
from proxy.exchange import Downstream
from proxy.failures import Failure
from proxy.response_headers import Layout, Values, layout_of

LEVEL = 4  # of 9: a block is compressed while all other requests of the worker wait
# The window of 8 KiB and this take some 100 KiB for each response that is under way, instead of 260.
_GZIP_WINDOW, _MEMORY = 16 + 13, 7
SHORTEST = 860  # bytes: less fits into one packet either way
_PARTIAL = 206
_TYPES = re.compile(
    rb"(?:text/(?!event-stream)[a-z0-9.+-]+|application/(?:json|javascript|xml|wasm|rtf|sql|yaml|toml)"
    rb"|(?:application|image)/[a-z0-9.-]+\+(?:json|xml))\s*(?:;.*)?",
    re.IGNORECASE | re.DOTALL,
)
_NO_TRANSFORM = re.compile(rb"\bno-transform\b", re.IGNORECASE)
# What makes a compressed body wrong or dangerous: one that is coded already, a piece of one, one whose bytes were
# counted or signed, and one that comes with a secret (BREACH).
_AGAINST = frozenset(
    (
        b"content-encoding", b"content-range", b"set-cookie", b"digest", b"content-digest", b"repr-digest",
        b"content-md5", b"signature",
    )
)  # fmt: skip
_DROPPED = frozenset((b"content-length", b"accept-ranges"))
_OWN_SITE = ((), (b"same-origin",), (b"none",))


class Compressor:
    """A Downstream in front of another one."""

    __slots__ = ("_downstream", "_is_asked", "_is_pending", "_zlib")

    def __init__(self, downstream: Downstream, allowed: Allowed) -> None:
        facts = allowed.facts
        self._downstream = downstream
        self._is_asked = facts.method != "HEAD" and _takes_gzip(facts.headers) and _is_of_own_site(facts.headers)
        self._is_pending = False  # bytes are in the compressor that the client does not have
        self._zlib: zlib._Compress | None = None

    def response_head(self, status: int, layout: Layout, values: Values) -> None:
        if status not in BODILESS and status > 199 and _is_compressible(layout, values):
            layout, values = _with(layout, values, b"vary", b"Accept-Encoding")
            if self._is_asked and status != _PARTIAL and _is_long(layout, values):
                layout, values = _as_gzip(layout, values)
                self._zlib = zlib.compressobj(LEVEL, zlib.DEFLATED, _GZIP_WINDOW, _MEMORY)
        self._downstream.response_head(status, layout, values)

    def response_data(self, data: bytes) -> None:
        if self._zlib is not None:
            data = self._zlib.compress(data)
            self._is_pending = True
        if data:
            self._downstream.response_data(data)

    def response_so_far(self) -> None:
        if self._zlib is not None and self._is_pending:
            self._is_pending = False
            self._downstream.response_data(self._zlib.flush(zlib.Z_SYNC_FLUSH))
        self._downstream.response_so_far()

    def response_end(self) -> None:
        if self._zlib is not None:
            self._downstream.response_data(self._zlib.flush())
            self._zlib = None
        self._downstream.response_end()

    def response_failed(self, failure: Failure) -> None:
        self._zlib = None
        self._downstream.response_failed(failure)

    def response_strayed(self, target: str, what: str) -> None:
        self._downstream.response_strayed(target, what)

    def request_writable(self) -> None:
        self._downstream.request_writable()

    def still_waiting(self) -> None:
        self._downstream.still_waiting()

    def trust_changed(self) -> None:
        self._downstream.trust_changed()


def _takes_gzip(headers: Headers) -> bool:
    """RFC 9110 12.5.3; a client that says nothing may not know gzip."""
    wanted = {}
    for item in b",".join(headers.values(b"accept-encoding")).lower().split(b","):
        coding, _, weight = item.partition(b";")
        wanted[coding.strip()] = weight.replace(b" ", b"").partition(b"q=")[2].strip(b"0.") != b"" or not weight.strip()
    return wanted.get(b"gzip", wanted.get(b"*", False))


def _is_of_own_site(headers: Headers) -> bool:
    """A page of another site that makes a browser ask again and again could guess what is secret in the answer by its
    length (BREACH)."""
    return headers.values(b"sec-fetch-site") in _OWN_SITE


def _is_compressible(layout: Layout, values: Values) -> bool:
    if not _AGAINST.isdisjoint(layout.names):
        return False
    pairs = layout.pairs(values)
    kinds = [value for name, value in pairs if name == b"content-type"]
    if len(kinds) != 1 or _TYPES.fullmatch(kinds[0]) is None:
        return False
    return not any(name == b"cache-control" and _NO_TRANSFORM.search(value) for name, value in pairs)


def _is_long(layout: Layout, values: Values) -> bool:
    if layout.length_at < 0:
        return True
    length = values[layout.length_at]
    return length.isdigit() and int(length) >= SHORTEST


def _as_gzip(layout: Layout, values: Values) -> tuple[Layout, Values]:
    kept = [(name, value) for name, value in layout.pairs(values) if name not in _DROPPED]
    kept = [(name, _weakened(value) if name == b"etag" else value) for name, value in kept]
    return _layout_and_values([*kept, (b"content-encoding", b"gzip")])


def _weakened(etag: bytes) -> bytes:
    """The same content, and not the same bytes (RFC 9110 8.8.1)."""
    return etag if etag.startswith(b"W/") else b"W/" + etag


def _with(layout: Layout, values: Values, name: bytes, value: bytes) -> tuple[Layout, Values]:
    return layout_of((*layout.names, name)), (*values, value)


def _layout_and_values(pairs: list[tuple[bytes, bytes]]) -> tuple[Layout, Values]:
    return layout_of(tuple([name for name, _ in pairs])), tuple([value for _, value in pairs])
