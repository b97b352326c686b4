"""Who sends this request, by its bearer token or session cookie. Not what they may do."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from authgate.authn.credentials import Credential, beside_the_services, check_form, find_credential
from authgate.authn.foreign import KeysWanted, Proven, verify_foreign
from authgate.authn.ownership import ForeignToken, read_foreign
from authgate.authn.tokens import verify
from authgate.reason import Reason
from authgate.request import Identity, InvalidCredential
from authgate.state.issuer_keys import newer_keys
from authgate.state.snapshot import Snapshot
from authgate.wire.headers import Headers, RawHeaders


class MustAsk(InvalidCredential):
    """The credential may be good, which only its issuer can tell. Whoever cannot wait refuses it.

    `ask` gives the identity or raises InvalidCredential.
    """

    def __init__(self, ask: Callable[[], Awaitable[Identity]]) -> None:
        super().__init__(Reason.ISSUER_UNAVAILABLE)
        self.ask = ask


def authenticate(headers: RawHeaders, snapshot: Snapshot, pass_authorization: bool = False) -> Identity | None:
    """None: no credential of ours. Raises InvalidCredential: one is there and is not good, so stop; or MustAsk.

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
    check_form(credential.kind, credential.unverified_token)
    foreign = None if credential.by_cookie else read_foreign(credential.unverified_token, snapshot.trust)
    if foreign is None:
        return _remember(credential, snapshot, _own_identity(credential, snapshot, now))
    try:
        return _remember(credential, snapshot, _foreign_identity(foreign, snapshot, now))
    except KeysWanted:
        raise MustAsk(lambda: _ask_for_keys(credential, foreign, snapshot)) from None


async def _ask_for_keys(credential: Credential, foreign: ForeignToken, snapshot: Snapshot) -> Identity:
    are_all_known = await newer_keys(foreign.issuer)
    try:
        return _remember(credential, snapshot, _foreign_identity(foreign, snapshot, time.time()))
    except KeysWanted:
        # An issuer that cannot be asked may have made the key that is missing.
        reason = Reason.UNKNOWN_KEY if are_all_known else Reason.ISSUER_UNAVAILABLE
        raise InvalidCredential(reason) from None


def _remember(credential: Credential, snapshot: Snapshot, identity: Identity) -> Identity:
    snapshot.identities.put(credential.key, identity)
    return identity


def _own_identity(credential: Credential, snapshot: Snapshot, now: float) -> Identity:
    claims = verify(credential.unverified_token, snapshot.trust, credential.kind, now)
    session_id = claims.session_id if credential.by_cookie else ""
    provider = claims.subject.partition("|")[0] if session_id else ""
    return Identity(
        subject=claims.subject,
        issuer=snapshot.trust.issuer,
        expires_at=claims.expires_at,
        by_cookie=credential.by_cookie,
        token_id=claims.token_id,
        session_id=session_id,
        issued_at=claims.issued_at,
        audiences=frozenset((snapshot.trust.audience,)),
        scopes=claims.scopes,
        email=claims.email,
        name=claims.name,
        roles=claims.roles | snapshot.grants.roles_of(claims.all, provider),
        claims=claims.all,
    )


def _foreign_identity(foreign: ForeignToken, snapshot: Snapshot, now: float) -> Identity:
    """Raises KeysWanted."""
    issuer = foreign.issuer
    proven = verify_foreign(foreign.token, foreign.unverified, foreign.unverified_claims, issuer, now)
    if proven.token_id in snapshot.trust.revoked:
        raise InvalidCredential(Reason.TOKEN_REVOKED)
    return identity_of(proven, issuer.slug, issuer.issuer, snapshot)


def identity_of(proven: Proven, slug: str, issuer: str, snapshot: Snapshot) -> Identity:
    return Identity(
        subject=proven.subject,
        issuer=issuer,
        expires_at=proven.expires_at,
        by_cookie=False,
        token_id=proven.token_id,
        issued_at=proven.issued_at,
        issuer_slug=slug,
        audiences=proven.audiences,
        scopes=proven.scopes,
        email=proven.email,
        name=proven.name,
        roles=proven.roles | snapshot.grants.roles_of(proven.claims, slug),
        claims=proven.claims,
    )
