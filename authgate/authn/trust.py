"""What tokens are verified by: one immutable value, swapped whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from authgate.authn.issuers import Issuer
from authgate.authn.keys import KeyPair
from authgate.authn.revocations import Revocations
from authgate.authn.service_tokens import ServiceToken


@dataclass(frozen=True, slots=True, eq=False)
class TrustSnapshot:
    """Keys of one purpose never verify what is meant for the other. In each mapping the newest key comes first."""

    issuer: str
    audience: str
    session_cookie: bytes
    token_keys: Mapping[str, KeyPair]
    assertion_keys: Mapping[str, KeyPair]
    token_signer: KeyPair
    assertion_signer: KeyPair
    revoked: frozenset[str]  # IDs of tokens and sessions
    jwks: bytes
    has_providers: bool = False  # whether people can sign in anywhere
    issuers: Mapping[str, Issuer] = field(default_factory=lambda: MappingProxyType({}))  # by the text of `iss`
    issued_before: Revocations | None = None  # None: of no subject and no issuer anything is revoked
    service_tokens: Mapping[bytes, ServiceToken] = field(default_factory=lambda: MappingProxyType({}))  # by digest
