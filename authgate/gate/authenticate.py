"""Who sends this request, by its bearer token or session cookie. Not what they may do."""

from __future__ import annotations

import time

from authgate.authn.credentials import Credential, beside_the_services, check_form, find_credential
from authgate.authn.tokens import verify
from authgate.reason import Reason
from authgate.request import Identity, InvalidCredential
from authgate.state.snapshot import Snapshot
from authgate.wire.headers import Headers, RawHeaders


def authenticate(headers: RawHeaders, snapshot: Snapshot, pass_authorization: bool = False) -> Identity | None:
    """None: no credential of ours. Raises InvalidCredential: one is there and is not good, so stop.

    `pass_authorization`: the route hands the Authorization header to its service.
    """
    if not isinstance(headers, Headers):
        headers = Headers(headers)
    trust = snapshot.trust
    found: tuple[bytes, Credential | None] | None = headers.credential
    if found is None or found[0] != trust.session_cookie:
        found = headers.credential = (trust.session_cookie, find_credential(headers, trust.session_cookie))
    credential = found[1]
    if pass_authorization:
        # Not kept with the headers: it depends on our keys of this moment, and on the route.
        credential = beside_the_services(credential, headers, trust)
    if credential is None:
        return None
    now = time.time()
    identity = snapshot.identities.get(credential.key, now, trust.revoked)
    return _verify_identity(credential, snapshot, now) if identity is None else identity


def _verify_identity(credential: Credential, snapshot: Snapshot, now: float) -> Identity:
    if not snapshot.knows_credentials:
        raise InvalidCredential(Reason.TRUST_UNKNOWN)
    kind, unverified_token, key = credential
    check_form(kind, unverified_token)
    claims = verify(unverified_token, snapshot.trust, kind, now)
    session_id = claims.session_id if credential.by_cookie else ""
    provider = claims.subject.partition("|")[0] if session_id else ""
    identity = Identity(
        subject=claims.subject,
        issuer=snapshot.trust.issuer,
        expires_at=claims.expires_at,
        by_cookie=credential.by_cookie,
        token_id=claims.token_id,
        session_id=session_id,
        email=claims.email,
        name=claims.name,
        roles=claims.roles | snapshot.grants.roles_of(claims.all, provider),
        claims=claims.all,
    )
    snapshot.identities.put(key, identity)
    return identity
