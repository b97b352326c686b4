"""How the body of a message is framed, and which responses have none (RFC 9110 6.4.1, RFC 9112 6)."""

from __future__ import annotations

import re

# RFC 9110 7.6.1 and what HTTP/1.1 software treats alike.
HOP_BY_HOP = frozenset(
    (
        b"connection", b"keep-alive", b"proxy-connection", b"proxy-authenticate", b"proxy-authorization",
        b"te", b"trailer", b"transfer-encoding", b"upgrade", b"http2-settings",
    )
)  # fmt: skip
_STANDARD = HOP_BY_HOP | {
    b"host", b"cookie", b"cookie2", b"expect", b"dpop", b"origin", b"referer", b"range", b"date", b"via", b"from",
    b"user-agent", b"cache-control", b"pragma", b"max-forwards", b"prefer", b"priority", b"forwarded", b"dnt",
    b"warning", b"link", b"slug", b"destination", b"depth", b"overwrite", b"lock-token", b"timeout", b"last-event-id",
    b"traceparent", b"tracestate", b"baggage", b"alt-used", b"save-data", b"purpose", b"x-requested-with",
    b"authorization", b"want-digest", b"digest", b"x-request-id", b"early-data",
}  # fmt: skip
_STANDARD_FAMILIES = (b"accept", b"content-", b"if-", b"sec-", b"access-control-", b"proxy-", b"mcp-", b"grpc-")


def is_standard_request(name: bytes) -> bool:
    """Whether requests of any client have this header for purposes of HTTP and its relatives."""
    return name in _STANDARD or name.startswith(_STANDARD_FAMILIES)


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
