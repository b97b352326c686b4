"""Who sends this request, by its bearer token or session cookie. Not what they may do."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from authgate.authn.credentials import Credential, check_form, find_credential
from authgate.authn.tokens import Kind, verify
from authgate.decision import Headers, Identity, RawHeaders

if TYPE_CHECKING:
    from authgate.policy.snapshot import Snapshot

_CREDENTIAL_NAMES = {Kind.ACCESS: "bearer", Kind.SESSION: "session"}


def authenticate(headers: RawHeaders, snapshot: Snapshot) -> Identity | None:
    """None: no credential of ours. Raises InvalidCredential: one is there and is not good, so stop."""
    trust = snapshot.trust
    credential = _credential(headers, trust.session_cookie)
    if credential is None:
        return None
    kind, unverified_token, key = credential
    now = time.time()
    identity = snapshot.identities.get(key, now, trust.revoked)
    if identity is None:
        check_form(kind, unverified_token)
        identity = _verify_identity(kind, unverified_token, snapshot, now)
        snapshot.identities.put(key, identity)
    return identity


def _credential(headers: RawHeaders, session_cookie: bytes) -> Credential | None:
    """Looked for, and its key made, once for headers that come again."""
    if not isinstance(headers, Headers):
        return find_credential(headers, session_cookie)
    found: tuple[bytes, Credential | None] | None = headers.credential
    if found is None or found[0] != session_cookie:
        found = headers.credential = (session_cookie, find_credential(headers, session_cookie))
    return found[1]


def _verify_identity(kind: Kind, unverified_token: bytes, snapshot: Snapshot, now: float) -> Identity:
    claims = verify(unverified_token, snapshot.trust, kind, now)
    return Identity(
        subject=claims.subject,
        issuer=snapshot.trust.issuer,
        credential=_CREDENTIAL_NAMES[kind],
        expires_at=claims.expires_at,
        token_id=claims.token_id,
        email=claims.email,
        name=claims.name,
        roles=claims.roles | snapshot.grants.roles_of(claims.all),
        claims=claims.all,
    )
