"""Which headers of requests and responses the rules of a route may change."""

from __future__ import annotations

import re

from authgate.wire.foreign_identity import is_foreign_identity
from authgate.wire.framing import HOP_BY_HOP
from authgate.wire.identity_headers import client_may_send

_NAME = re.compile(rb"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
# The gateway adds these where a service does not send them (authgate.security_headers has the values).
SECURITY_DEFAULTS = frozenset(
    (
        b"x-content-type-options", b"x-frame-options", b"referrer-policy", b"permissions-policy",
        b"cross-origin-opener-policy",
    )
)  # fmt: skip
# And these only where a route says so.
SECURITY_OPTIONAL = frozenset(
    (
        b"content-security-policy", b"content-security-policy-report-only", b"cross-origin-embedder-policy",
        b"cross-origin-resource-policy", b"origin-agent-cluster", b"x-permitted-cross-domain-policies",
    )
)  # fmt: skip
# What says who calls, from where and by which page: services decide by it. And by the last two the gate does.
_FIXED_REQUEST = HOP_BY_HOP | {
    b"host", b"content-length", b"expect", b"authorization", b"cookie", b"dpop", b"origin", b"referer",
    b"destination", b"depth",
}  # fmt: skip
# Browsers apply these to the whole host, on which the gateway has pages of its own: Alt-Svc would lead past the
# gateway, Clear-Site-Data sign people out of it, a service worker of a wider scope answer in its place, NEL report the
# URLs of its sign-in elsewhere, and pinned keys shut its visitors out. The request id is the gateway's.
NOT_RETURNED = HOP_BY_HOP | {
    b"alt-svc", b"clear-site-data", b"service-worker-allowed", b"nel", b"public-key-pins", b"x-request-id",
}  # fmt: skip
_FIXED_RESPONSE = NOT_RETURNED | {
    b"content-length", b"content-encoding", b"content-range", b"date", b"strict-transport-security", b"set-cookie",
    b"location", b"content-location", b"refresh", b"report-to", b"reporting-endpoints", b"sourcemap",
}  # fmt: skip


def route_may_change_request(name: bytes) -> bool:
    """Of a name in lower case. Not what the gateway says, nor what it takes from clients."""
    if _NAME.fullmatch(name) is None or len(name) > 100:
        return False
    if name in _FIXED_REQUEST or name.startswith((b"sec-", b"proxy-")) or is_foreign_identity(name):
        return False
    return client_may_send(name)


def route_may_change_response(name: bytes) -> bool:
    if _NAME.fullmatch(name) is None or len(name) > 100:
        return False
    return name not in _FIXED_RESPONSE and not name.startswith((b"sec-websocket-", b"proxy-", b"x-auth-user-"))
