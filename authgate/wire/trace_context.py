"""The trace that a request belongs to: the header `traceparent` (W3C Trace Context, 3.2)."""

from __future__ import annotations

import re

import msgspec

from authgate.wire.headers import Headers

# Later versions may go on after another "-" (3.2.1).
_TRACEPARENT = re.compile(rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = 1


class Trace(msgspec.Struct, frozen=True, gc=False):
    """As it came."""

    trace_id: str
    parent_id: str
    sampled: bool
    line: bytes


def read_trace(headers: Headers) -> Trace | None:
    """None: there is none, or it is malformed and counts as none (4.3)."""
    found = headers.values(b"traceparent")
    if not found:
        return None
    match = _TRACEPARENT.fullmatch(found[0]) if len(found) == 1 else None
    if match is None or (match[1] == b"00" and match[5] is not None):
        return None
    return Trace(match[2].decode(), match[3].decode(), bool(int(match[4], 16) & _SAMPLED), found[0])


def span_id_of(request_id: str) -> str:
    """Of the gateway's own part of the trace. Both IDs are random, so one half of the longer serves as the shorter."""
    return request_id[16:]


def traceparent(trace_id: str, request_id: str, *, sampled: bool) -> bytes:
    """As the service receives it, with the gateway as its parent."""
    return b"00-%b-%b-0%d" % (trace_id.encode("ascii"), span_id_of(request_id).encode("ascii"), sampled)
