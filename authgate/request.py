"""What is known of a request: its facts, and the caller whom its credential proves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, final

import msgspec

from authgate.reason import Reason
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


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Identity:
    """A caller whose credential was verified. Never built from anything unverified.

    Compared by object identity: caches of what is derived from it hang on the very object.
    """

    subject: str
    issuer: str
    expires_at: int  # seconds since the epoch
    by_cookie: bool = field(kw_only=True)  # which a browser sends by itself, whoever wrote the page
    token_id: str = ""
    key_id: str = ""  # of the gateway's key that has signed it; empty for all else
    issued_at: int = 0  # 0: the credential does not say
    issuer_slug: str = OWN_ISSUER  # by which routes name the issuer
    audiences: frozenset[str] = frozenset()  # of an issuer's token: those that it is for, of the ones taken here
    scopes: frozenset[str] = frozenset()  # of a token (RFC 6749 3.3); a session has none
    session_id: str = ""  # of a browser's sign-in; an access token has none, even as the cookie
    email: str = ""
    name: str = ""
    roles: frozenset[str] = frozenset()
    claims: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def credential(self) -> str:
        """The word for it in the log and on /auth/me."""
        return "session" if self.by_cookie else "bearer"


class InvalidCredential(Exception):
    """A credential was presented and is not good: stop here, never try the next kind."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason
