"""A cache of parsed response heads, keyed by their exact bytes."""

from __future__ import annotations

from typing import NamedTuple

from authgate.bounded import Bounded
from authgate.wire.framing import BODILESS
from proxy.response_headers import Layout, Values

_MAX_HEADS = 512
_MAX_BYTES = 2048  # of one head


class KnownHead(NamedTuple):
    size: int  # bytes of the whole response, body included
    status: int
    layout: Layout
    values: Values


_heads: Bounded[bytes, KnownHead] = Bounded(_MAX_HEADS)


def recall(data: bytes) -> KnownHead | None:
    """Only if `data` is one whole response with such a head, no byte less or more."""
    known = _heads.get(data[: data.find(b"\r\n\r\n", 0, _MAX_BYTES) + 4])
    return known if known is not None and known.size == len(data) else None


def remember(data: bytes, status: int, layout: Layout, values: Values) -> None:
    """`data`: one whole response, read by the parser, after which the connection may be kept."""
    # Only ordinary ones: a head that sets a cookie is somebody's own, and is not kept beyond their answer.
    if not layout.is_ordinary or layout.length_at < 0 or status in BODILESS:
        return
    size = len(data) - int(values[layout.length_at])
    if not 4 < size <= _MAX_BYTES or data.find(b"\r\n\r\n") + 4 != size:
        return
    _heads.put(data[:size], KnownHead(len(data), status, layout, values))
