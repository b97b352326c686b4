"""The cookies of a request, pair by pair (RFC 6265 5.4)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


def cookie_line(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The Cookie header. HTTP/2 may split it (RFC 9113 8.2.3), and a client may repeat it: all of it counts."""
    return b"; ".join([value for name, value in headers if name == b"cookie"])


def cookie_pairs(line: bytes) -> Iterator[bytes]:
    """Each `name=value` without the white space around it. What a name twice or none at all means, the caller says."""
    return (pair.strip(b" \t") for pair in line.split(b";"))
