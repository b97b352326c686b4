"""Tokens as an attacker or another issuer would write them: any header, any claims, any key."""

from __future__ import annotations

import base64
import json
import time
from functools import cache
from types import MappingProxyType
from typing import Any

from authgate.authn.cache import IdentityCache
from authgate.authn.keys import KeyPair, generate_key_pair
from authgate.authn.trust import TrustSnapshot
from authgate.policy.document import Grant, PolicyDocument
from authgate.policy.rules import GrantRules
from authgate.policy.table import build_table
from authgate.state.snapshot import Snapshot

ISSUER = "http://gateway.test"


def key(name: str = "tokens", algorithm: str = "RS256") -> KeyPair:
    """One key for each name and algorithm, made once."""
    return _made(name, algorithm)


@cache
def _made(name: str, algorithm: str) -> KeyPair:
    return generate_key_pair(algorithm)


def make_trust(*, algorithm: str = "RS256", revoked: tuple[str, ...] = (), **changes: Any) -> TrustSnapshot:
    token_key, assertion_key = key("tokens", algorithm), key("assertions", "ES256")
    values: dict[str, Any] = {
        "issuer": ISSUER,
        "audience": ISSUER,
        "session_cookie": b"auth_token",
        "token_keys": MappingProxyType({token_key.kid: token_key}),
        "assertion_keys": MappingProxyType({assertion_key.kid: assertion_key}),
        "token_signer": token_key,
        "assertion_signer": assertion_key,
        "revoked": frozenset(revoked),
        "jwks": json.dumps({"keys": [token_key.public_jwk, assertion_key.public_jwk]}).encode(),
        **changes,
    }
    return TrustSnapshot(**values)


def make_snapshot(trust: TrustSnapshot | None = None, grants: tuple[Grant, ...] = ()) -> Snapshot:
    document = PolicyDocument(grants=grants)
    return Snapshot(1, document, build_table(document, []), GrantRules(grants), trust or make_trust(), IdentityCache())


def good_claims(**changes: Any) -> dict[str, Any]:
    """The claims of a good token; a change to `...` leaves the claim out."""
    now = int(time.time())
    claims = {
        "iss": ISSUER, "aud": ISSUER, "sub": "alice", "iat": now, "exp": now + 86_400, "jti": "t-1", "roles": ["user"],
        **changes,
    }  # fmt: skip
    return {name: value for name, value in claims.items() if value is not ...}


def good_header(signer: KeyPair, **changes: Any) -> dict[str, Any]:
    header = {"alg": signer.algorithm, "kid": signer.kid, "typ": "at+jwt", **changes}
    return {name: value for name, value in header.items() if value is not ...}


def b64(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def compact(header: bytes, payload: bytes, sign: Any) -> bytes:
    signing_input = b64(header) + b"." + b64(payload)
    return signing_input + b"." + b64(sign(signing_input))


def sign_token(*, signer: KeyPair | None = None, header: Any = None, claims: Any = None) -> bytes:
    """A good token but for the changes; `header` and `claims` may also be the raw bytes."""
    signer = signer or key()
    head = header if isinstance(header, bytes) else json.dumps(good_header(signer, **(header or {}))).encode()
    body = claims if isinstance(claims, bytes) else json.dumps(good_claims(**(claims or {}))).encode()
    return compact(head, body, signer.sign)
