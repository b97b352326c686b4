"""How the body of a message is framed, and which responses have none (RFC 9110 6.4.1, RFC 9112 6)."""

from __future__ import annotations

import re

# In the place of a number of bytes.
CHUNKED = -1
UNTIL_CLOSE = -2

# Statuses of a final response without a body, whatever its headers say. An interim one (1xx) has none either.
BODILESS = frozenset((204, 304))

CHUNKED_LINE = b"transfer-encoding: chunked\r\n"
LAST_CHUNK = b"0\r\n\r\n"

# Whether a Content-Length is a number. Any of 18 digits fits into 64 bits.
is_length = re.compile(rb"[0-9]{1,18}").fullmatch


def has_body(method: str, status: int) -> bool:
    """Whether the final response to this method has a body."""
    return method != "HEAD" and status not in BODILESS


def is_chunked(coding: bytes) -> bool:
    """Whether a Transfer-Encoding is the one that is spoken here."""
    return coding.lower() == b"chunked"
