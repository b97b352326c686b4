"""The names of headers that tell a service who calls: those that a client may never send, and those of the gateway."""

from __future__ import annotations

import re
from functools import lru_cache

from authgate.wire.foreign_identity import is_foreign_identity
from authgate.wire.framing import is_standard_request

USER_ID, USER_EMAIL = b"x-auth-user-id", b"x-auth-user-email"
USER_NAME, USER_ROLES = b"x-auth-user-name", b"x-auth-user-roles"
ASSERTION = b"x-auth-assertion"
IDENTITY_HEADERS = (USER_ID, USER_EMAIL, USER_NAME, USER_ROLES, ASSERTION)

_OURS = frozenset((*IDENTITY_HEADERS, b"x-request-id", b"x-real-ip"))
# What services, frameworks and other proxies believe about the caller, the method or the target.
_SPOOFABLE = frozenset(
    (
        b"forwarded", b"x-forwarded", b"client-ip", b"true-client-ip", b"x-client-ip", b"x-cluster-client-ip",
        b"cf-connecting-ip", b"cf-connecting-ipv6", b"cf-pseudo-ipv4", b"fastly-client-ip", b"fly-client-ip",
        b"proxy-client-ip", b"http-client-ip", b"x-azure-clientip", b"x-azure-socketip", b"x-nf-client-connection-ip",
        b"x-originating-ip", b"front-end-https", b"x-scheme", b"x-url-scheme",
        b"x-host", b"x-http-host-override", b"x-rewrite-url",
        b"x-http-method-override", b"x-http-method", b"x-method-override", b"proxy",
        b"x-sendfile", b"x-sendfile-type",  # CVE-2025-61780
        b"x-middleware-subrequest",  # CVE-2025-29927
    )
)  # fmt: skip
# CGI and WSGI read X_Auth_User_ID as X-Auth-User-ID (CVE-2025-64484), some servers X.Auth.User.ID as well.
_PLAIN_NAME = re.compile(rb"[a-z0-9-]+")
_OWN_NAME = re.compile(rb"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
_OUR_FAMILY = b"x-auth-user-"
_SPOOFABLE_FAMILIES = (_OUR_FAMILY, b"x-forwarded-", b"x-original-", b"x-accel-", b"x-envoy-", b"wl-proxy-")


@lru_cache(maxsize=512)  # of up to 16 KiB each, and the client chooses them
def client_may_send(name: bytes) -> bool:
    """Whether a header of this lower-case name may go upstream as the client sent it."""
    if _PLAIN_NAME.fullmatch(name) is None or name in _OURS or name in _SPOOFABLE:
        return False
    return not name.startswith(_SPOOFABLE_FAMILIES) and not is_foreign_identity(name)


# Other gateways' names for the caller among the forwarding headers, which clients can never send.
_TELLABLE_FORWARDED = frozenset(
    (
        b"x-forwarded-user", b"x-forwarded-email", b"x-forwarded-groups", b"x-forwarded-preferred-username",
        b"x-forwarded-access-token",
    )
)  # fmt: skip


def route_may_tell(name: bytes) -> bool:
    """Whether a route may set this one to say who calls. Then no client may send it on any route: so none that
    requests need, and none that would tell a service another address, host or method than the policy has decided on."""
    if name in _TELLABLE_FORWARDED or name == b"authorization":
        return True
    is_taken = name in _OURS or name in _SPOOFABLE or name.startswith(_SPOOFABLE_FAMILIES)
    return not is_taken and _OWN_NAME.fullmatch(name) is not None and not is_standard_request(name)


def route_may_pass(name: bytes) -> bool:
    """Whether a route may let this one through, of those that a client may not send: never what the gateway itself
    says, nor what would tell a service another address, host or method than the policy has decided on."""
    return _PLAIN_NAME.fullmatch(name) is not None and is_foreign_identity(name) and not name.startswith(_OUR_FAMILY)
