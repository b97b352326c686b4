"""The headers of a request, as they came."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from authgate.wire.authority import Authority

RawHeaders = list[tuple[bytes, bytes]]
# Peer and scheme of the connection; then, with what the headers say about them: scheme, authority, client, the list
# of who forwarded, and whether another protocol is asked for.
Sender = tuple[tuple[str, str], str, Authority, str, str, bool]


class Headers(RawHeaders):
    """The headers of a request, never changed once they are read.

    Clients repeat their headers on a connection, and the server then passes the same object again. So results derived
    from the headers are cached on it, each by the one module that reads it, together with its other inputs.
    """

    __slots__ = ("_by_name", "credential", "sender", "upstream_lines")

    def __init__(self, pairs: Iterable[tuple[bytes, bytes]] = ()) -> None:
        super().__init__(pairs)
        self._by_name: dict[bytes, bytes] | None = None
        # Of authgate.gate.facts.
        self.sender: Sender | None = None
        # Of authgate.gate.authenticate: the name of the session cookie, and the Credential that was found, or None.
        self.credential: tuple[bytes, Any] | None = None
        # Of proxy.headers: what the lines are made from besides the headers, and the lines.
        self.upstream_lines: tuple[tuple[object, ...], bytes] | None = None

    def values(self, name: bytes) -> tuple[bytes, ...]:
        """All values of a name in lower case, in order. The headers are walked once, however many names are asked for.

        Unless a name is repeated, or a header was added since: then there are fewer names than headers.
        """
        by_name = self._by_name
        if by_name is None:
            by_name = self._by_name = dict(self)
        if len(by_name) != len(self):
            return tuple([value for known, value in self if known == name])
        found = by_name.get(name)
        return () if found is None else (found,)


def header_block(headers: RawHeaders) -> bytes:
    """Lines ready to be joined into a head. The values must be free of CR and LF already."""
    return b"".join(b"%b: %b\r\n" % pair for pair in headers)
