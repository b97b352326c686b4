"""The paths of health checks, and the host that they are for when they name none."""

from __future__ import annotations

from authgate.own_hosts import public_host
from authgate.wire.headers import RawHeaders

ALIVE = "/health"
PATHS = (ALIVE, "/health/ready")
_RAW_PATHS = tuple(path.encode("ascii") for path in PATHS)


def add_host(headers: RawHeaders, raw_path: bytes) -> None:
    """To a request without Host, which HTTP/1.0 allows and load balancers send: the gateway's, never a service's."""
    if raw_path in _RAW_PATHS:
        headers.append((b"host", public_host().encode("ascii")))
