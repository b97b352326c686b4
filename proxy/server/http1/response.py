"""The head of a response, and how its body is framed."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import NamedTuple

from authgate.wire.framing import is_length

_KNOWN = {status.value: status.phrase for status in HTTPStatus}
_STATUS_LINES = {status: f"HTTP/1.1 {status} {_KNOWN.get(status, '')}\r\n".encode() for status in range(200, 600)}
# What the server decides itself, or has to look at.
_FRAMING = frozenset(
    (b"content-length", b"transfer-encoding", b"connection", b"keep-alive", b"upgrade", b"trailer", b"date")
)
# Everything but tab and what is printable; CR and LF too, whose number is known.
_CONTROLS = bytes(byte for byte in (*range(0x20), 0x7F) if byte != 0x09)


class BadResponse(RuntimeError):
    """The application sent what must not go out."""


class Lines(NamedTuple):
    """The header lines of a response, and what they say that the server has to know."""

    block: bytes
    length: int | None  # of the body, if they say it
    has_date: bool
    closes: bool


def read_headers(status: int, headers: Iterable[tuple[bytes, bytes]]) -> Lines:
    """Raises BadResponse; nothing has been written then."""
    lines: list[bytes] = []
    length: int | None = None
    has_date = closes = False
    for name, value in headers:
        name = name.lower()
        if name in _FRAMING:
            if name == b"content-length":
                length = _content_length(value, length)
                if status == 204:
                    continue
            elif name == b"date":
                has_date = True
            else:
                closes = closes or (name == b"connection" and b"close" in value.lower())
                continue
        lines.append(b"%b: %b\r\n" % (name, value))
    return Lines(_join(lines), length, has_date, closes)


def status_line(status: int) -> bytes:
    try:
        return _STATUS_LINES[status]
    except KeyError as error:
        raise BadResponse("no final status of HTTP") from error


def _content_length(value: bytes, seen: int | None) -> int:
    if seen is not None or not is_length(value):
        raise BadResponse("repeated or invalid Content-Length")
    return int(value)


def _join(lines: list[bytes]) -> bytes:
    block = b"".join(lines)
    # One CR and one LF for each line, and no other control character: a value that carries one (response
    # splitting) changes the count. One pass over the block costs a fifth of a look at each header.
    if len(block.translate(None, _CONTROLS)) != len(block) - 2 * len(lines):
        raise BadResponse("a header has a control character")
    return block
