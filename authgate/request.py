"""What is known of a request: its facts, and the caller whom its credential proves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, final

import msgspec

from authgate.reason import Reason
from authgate.wire.address import Network, parse_address
from authgate.wire.authority import Authority
from authgate.wire.headers import Headers

OWN_ISSUER = "gateway"  # of sessions and of the gateway's own tokens, among the slugs of issuers


@final
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


@dataclass(frozen=True, slots=True, eq=False)
class TokenTerms:
    """Where a service token or a personal one may be used. Nothing named: everywhere."""

    number: int
    digest: bytes
    kind: Literal["service_token", "personal_token"]
    networks: tuple[Network, ...] = ()
    routes: frozenset[str] = frozenset()

    def refusal(self, client: str, route: str) -> Reason | None:
        """Why it does not count in a request from this address. `route`: empty for the gateway's own pages."""
        if self.networks and not self._is_from_them(client):
            return Reason.NETWORK_NOT_ALLOWED
        return Reason.ROUTE_NOT_ALLOWED if self.routes and route not in self.routes else None

    def _is_from_them(self, client: str) -> bool:
        address = parse_address(client)
        return address is not None and any(address in network for network in self.networks)


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Identity:
    """A caller whose credential was verified. Never built from anything unverified.

    Compared by object identity: caches of what is derived from it hang on the very object.
    """

    subject: str
    issuer: str
    expires_at: int  # seconds since the epoch
    by_cookie: bool = field(kw_only=True)  # which a browser sends by itself, whoever wrote the page
    by_basic: bool = False  # as a browser also sends by itself, once somebody has typed it
    terms: TokenTerms | None = None  # of a service token or a personal one
    token_id: str = ""
    key_id: str = ""  # of the gateway's key that has signed it; empty for all else
    issued_at: int = 0  # 0: the credential does not say
    issuer_slug: str = OWN_ISSUER  # by which routes name the issuer
    audiences: frozenset[str] = frozenset()  # of an issuer's token: those that it is for, of the ones taken here
    scopes: frozenset[str] = frozenset()  # of a token (RFC 6749 3.3); a session has none
    key_thumbprint: str = ""  # of the key that signs the proof of each request (RFC 9449); empty: none is needed
    session_id: str = ""  # of a browser's sign-in; an access token has none, even as the cookie
    cookie_host: str = ""  # the only host on which this session's cookie counts; empty in those of former versions
    email: str = ""
    name: str = ""
    roles: frozenset[str] = frozenset()
    own_roles: frozenset[str] = frozenset()  # that the credential brings; the others come by the grants
    granted_as: str = ""  # slug under which grants speak of the claims: of an identity provider or an issuer
    claims: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def credential(self) -> str:
        """The word for it in the log and on /auth/me."""
        if self.terms is not None:
            return self.terms.kind
        if self.by_cookie:
            return "session"
        return "dpop" if self.key_thumbprint else "bearer"

    @property
    def is_ambient(self) -> bool:
        """Whether a browser sends this credential by itself, whoever wrote the page."""
        return self.by_cookie or self.by_basic


class InvalidCredential(Exception):
    """A credential was presented and is not good: stop here, never try the next kind.

    `rule`: what exactly it does not meet, for the operator. Whoever sent it is told the reason alone.
    """

    def __init__(self, reason: Reason, rule: str = "") -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.rule = rule
