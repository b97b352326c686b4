"""The values that travel through the gate. They decide nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from authgate.host import Authority
    from authgate.policy.table import RouteEntry

RawHeaders = list[tuple[bytes, bytes]]


class Headers(RawHeaders):
    """The headers of a request, never changed once they are read.

    Clients repeat their headers on a connection, and the server then passes the same object again. So results derived
    from the headers are cached on it, each by the one module that reads it, together with its other inputs.
    """

    __slots__ = ("credential", "sender", "upstream_lines")

    def __init__(self, pairs: Iterable[tuple[bytes, bytes]] = ()) -> None:
        super().__init__(pairs)
        self.sender: Any = None  # of authgate.facts
        self.credential: Any = None  # of authgate.authn.authenticate
        self.upstream_lines: Any = None  # of proxy.headers


class Reason(StrEnum):
    """Why a request was let in or refused; one value per outcome, stable, shown to callers and in logs."""

    # let in
    PUBLIC = "public"
    AUTHENTICATED = "authenticated"
    ROLE = "role"
    # 400: the request itself is in doubt
    BAD_TARGET = "bad_target"
    BAD_HOST = "bad_host"
    BAD_HEADER = "bad_header"
    BAD_METHOD = "bad_method"
    BAD_FRAMING = "bad_framing"
    MALFORMED_CREDENTIAL = "malformed_credential"
    # 413, 408: more than a page of the gateway's own reads, or in more time
    BODY_TOO_LARGE = "body_too_large"
    BODY_TIMEOUT = "body_timeout"
    # 401: nobody, or a credential that proves nothing
    NO_CREDENTIAL = "no_credential"
    INVALID_TOKEN = "invalid_token"
    TOKEN_EXPIRED = "token_expired"
    TOKEN_NOT_YET_VALID = "token_not_yet_valid"
    TOKEN_REVOKED = "token_revoked"
    BAD_SIGNATURE = "bad_signature"
    UNKNOWN_KEY = "unknown_key"
    WRONG_ISSUER = "wrong_issuer"
    WRONG_AUDIENCE = "wrong_audience"
    # 403: somebody, but not this
    MISSING_ROLE = "missing_role"
    CROSS_SITE = "cross_site"
    ROUTE_INVALID = "route_invalid"
    LOCAL_SIGN_IN_CLOSED = "local_sign_in_closed"
    # 404
    NO_ROUTE = "no_route"
    ROUTE_DISABLED = "route_disabled"
    # 429, 503
    RATE_LIMITED = "rate_limited"
    NO_POLICY = "no_policy"
    GATE_ERROR = "gate_error"
    BUSY = "busy"
    # 501: let in, but the gateway does not carry it
    UPGRADE_NOT_SUPPORTED = "upgrade_not_supported"
    # 502, 504: let in, but the service behind failed
    UPSTREAM_UNREACHABLE = "upstream_unreachable"
    UPSTREAM_BROKEN = "upstream_broken"
    UPSTREAM_TIMEOUT = "upstream_timeout"


LETTING_IN = frozenset((Reason.PUBLIC, Reason.AUTHENTICATED, Reason.ROLE))


class RequestFacts(msgspec.Struct, frozen=True, gc=False):
    """What the gate may know of a request. A struct: one is built for every request, and many tuples take as long."""

    method: str
    scheme: str  # "http" or "https", as the visitor sees it
    authority: Authority  # canonical host, and the port the visitor used
    path: str  # canonical: the very string that is sent upstream
    query: bytes  # raw, with its "?", behind which there may be nothing
    client: str  # address of the caller, trusted proxies already taken off
    forwarded_for: str  # the caller and the trusted proxies after it, as a list header
    headers: Headers  # raw, names lower case, in order
    wants_upgrade: bool = False  # to a protocol other than HTTP
    as_sent: bool = False  # `path` has no canonical form and is as it came: only for routes that say so


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Identity:
    """A caller whose credential was verified. Never built from anything unverified.

    Compared by object identity: caches of what is derived from it hang on the very object.
    """

    subject: str
    issuer: str
    credential: str  # "bearer" or "session"
    expires_at: int  # seconds since the epoch
    token_id: str = ""
    email: str = ""
    name: str = ""
    roles: frozenset[str] = frozenset()
    claims: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def is_signed_in(self) -> bool:
        """Whether a browser's sign-in made the credential. An access token in the session's cookie is one for machines
        still: it may open routes, and nothing that is kept for operators.
        """
        return self.credential == "session" and bool(self.token_id) and self.claims.get("sid") == self.token_id


class InvalidCredential(Exception):
    """A credential was presented and is not good: stop here, never try the next kind."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


class Decision(msgspec.Struct, frozen=True, gc=False):
    """The gate's answer. `route` and `identity` are what was known when it was taken, also on a refusal."""

    allowed: bool
    reason: Reason
    revision: int = 0
    route: RouteEntry | None = None
    identity: Identity | None = None
    retry_after: int = 0  # whole seconds, on RATE_LIMITED
    missing_roles: tuple[str, ...] = ()  # any one of them would do, on MISSING_ROLE
