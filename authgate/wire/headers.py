"""The headers of a request, as they came."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

RawHeaders = list[tuple[bytes, bytes]]


class Headers(RawHeaders):
    """The headers of a request, never changed once they are read.

    Clients repeat their headers on a connection, and the server then passes the same object again. So results derived
    from the headers are cached on it, each by the one module that reads it, together with its other inputs.
    """

    __slots__ = ("credential", "sender", "upstream_lines")

    def __init__(self, pairs: Iterable[tuple[bytes, bytes]] = ()) -> None:
        super().__init__(pairs)
        self.sender: Any = None  # of authgate.gate.facts
        self.credential: Any = None  # of authgate.gate.authenticate
        self.upstream_lines: Any = None  # of proxy.headers


def header_block(headers: RawHeaders) -> bytes:
    """Lines ready to be joined into a head. The values must be free of CR and LF already."""
    return b"".join(b"%b: %b\r\n" % pair for pair in headers)
