"""Other issuers of access tokens, as an operator has described them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

import msgspec

from authgate.authn.jwk import PublicKey

Strategy = Literal["jwt", "introspection", "auto"]
ClientAuthentication = Literal["basic", "post", "private_key_jwt"]
Dpop = Literal["off", "optional", "required", "nonce"]  # "nonce": required, and each proof has a nonce of ours


class KeyRing:
    """The keys of an issuer as they were fetched last, set by whoever fetches them. None: not yet."""

    __slots__ = ("keys",)

    def __init__(self, keys: tuple[PublicKey, ...] | None = None) -> None:
        self.keys = keys


class KeySource(msgspec.Struct, frozen=True):
    """All that an issuer's keys depend on: with another one they are other keys."""

    issuer: str
    jwks_url: str = ""  # empty: from discovery
    pasted: str = ""
    ca_certificates: str = ""
    when_asked: bool = False  # fetched for somebody who needs one, never before


@dataclass(frozen=True, slots=True)
class Introspection:
    """How an issuer is asked about tokens (RFC 7662)."""

    endpoint: str  # empty: from discovery
    client_id: str
    authentication: ClientAuthentication
    client_secret: str | None = field(repr=False)  # None: it cannot be opened
    seconds: int  # that an answer holds; 0: every request asks


@dataclass(frozen=True, slots=True, eq=False)
class Issuer:
    """What an operator has said about an issuer."""

    slug: str  # its name here
    issuer: str  # the very text of `iss`
    algorithms: frozenset[str]
    audiences: frozenset[str]
    source: KeySource
    ring: KeyRing
    strategy: Strategy = "jwt"
    strict_type: bool = False  # RFC 9068; else any JWT that is plainly of no other kind
    required_scopes: frozenset[str] = frozenset()
    required_claims: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))  # by claim path
    mapping: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))  # sub, email, … to claim paths
    leeway: int = 5  # seconds that its clock may differ from ours
    max_age: int = 0  # seconds since `iat`; 0: until it expires
    introspection: Introspection | None = None  # unless the strategy is "jwt"
    dpop: Dpop = "off"

    @property
    def needs_dpop(self) -> bool:
        return self.dpop in ("required", "nonce")
