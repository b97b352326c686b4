"""The headers that tell a service who calls: which a client may never send, and which we always set."""

from __future__ import annotations

import json
import re
from functools import lru_cache

from authgate.decision import Identity, RawHeaders

USER_ID, USER_EMAIL = b"x-auth-user-id", b"x-auth-user-email"
USER_NAME, USER_ROLES = b"x-auth-user-name", b"x-auth-user-roles"
ASSERTION = b"x-auth-assertion"
IDENTITY_HEADERS = (USER_ID, USER_EMAIL, USER_NAME, USER_ROLES, ASSERTION)

_OURS = frozenset((*IDENTITY_HEADERS, b"x-request-id", b"x-real-ip"))
# What services, frameworks and other proxies believe about the caller, the method or the target.
_SPOOFABLE = frozenset(
    (
        b"forwarded", b"true-client-ip", b"x-client-ip", b"x-cluster-client-ip", b"cf-connecting-ip",
        b"x-rewrite-url", b"x-http-method-override", b"x-http-method", b"x-method-override",
        b"x-sendfile", b"proxy",
    )
)  # fmt: skip
_SPOOFABLE_FAMILIES = (b"x-forwarded-", b"x-original-", b"x-accel-", b"x-envoy-")
# C0, DEL, C1 and the two Unicode line ends: a reader may take any of them for the end of the header.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@lru_cache(maxsize=4096)
def client_may_send(name: bytes) -> bool:
    """Whether a header of this lower-case name may go upstream as the client sent it.

    Names with "_" never do: CGI and WSGI read X_Auth_User_ID and X-Auth-User-ID as one (CVE-2025-64484).
    """
    if b"_" in name or name in _OURS or name in _SPOOFABLE or name == b"x-forwarded":
        return False
    return not name.startswith(_SPOOFABLE_FAMILIES)


def build_identity_headers(identity: Identity | None, assertion: str) -> RawHeaders:
    """Every identity header, always all of them; empty when nobody is known."""
    if identity is None:
        return [(name, b"") for name in IDENTITY_HEADERS]
    return [
        (USER_ID, header_value(identity.subject)),
        (USER_EMAIL, header_value(identity.email)),
        (USER_NAME, header_value(identity.name)),
        (USER_ROLES, json.dumps(sorted(identity.roles)).encode("ascii")),
        (ASSERTION, assertion.encode("ascii")),
    ]


def header_value(text: str) -> bytes:
    """UTF-8, or empty when a control character could end the header early; the assertion has the exact text."""
    return b"" if _CONTROL.search(text) else text.strip().encode("utf-8", "replace")
