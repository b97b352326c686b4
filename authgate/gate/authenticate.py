"""Who sends this request, by its bearer token or session cookie. Not what they may do."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from authgate.authn.credentials import (
    Credential,
    beside_the_services,
    check_cookie_host,
    check_form,
    find_credential,
    find_mistyped,
)
from authgate.authn.dpop import bound_key
from authgate.authn.foreign import KeysWanted, verify_foreign
from authgate.authn.issuers import Issuer
from authgate.authn.ownership import ForeignToken, read_foreign
from authgate.authn.revocations import is_issued_before
from authgate.authn.service_tokens import may_be_service_token
from authgate.authn.tokens import verify
from authgate.authn.trust import TrustSnapshot
from authgate.gate.introspect import find_asked, introspect, introspected_key, state_of_now
from authgate.gate.possession import prove_possession
from authgate.gate.proven import identity_of
from authgate.gate.service_tokens import service_identity
from authgate.policy.rules import roles_by
from authgate.policy.schema import Route
from authgate.reason import Reason
from authgate.request import OWN_ISSUER, Identity, InvalidCredential, RequestFacts
from authgate.state.issuer_keys import newer_keys
from authgate.state.snapshot import Snapshot
from authgate.tally import HIT, MISS, identity_lookups
from authgate.wire.headers import Headers, RawHeaders

_KEY_UNKNOWN = "its key is none of those that the issuer published when it was asked last"


def is_still_known(identity: Identity, trust: TrustSnapshot) -> bool:
    """Whether nothing was taken away since that this identity rests on: for what it was let in to and goes on.

    Not whether its credential has expired, nor whether the policy would let it in again.
    """
    if identity.token_id in trust.revoked:
        return False
    if trust.issued_before is not None and is_issued_before(identity, trust.issued_before):
        return False
    if identity.terms is not None:
        token = trust.service_tokens.get(identity.terms.digest)
        return token is not None and not token.is_over
    if identity.issuer_slug != OWN_ISSUER:
        issuer = trust.issuers.get(identity.issuer)
        return issuer is not None and issuer.slug == identity.issuer_slug
    return not identity.key_id or identity.key_id in trust.token_keys


def sent_token(headers: Headers, identity: Identity) -> bytes:
    """The bearer token that this identity was verified by. Empty for every other credential: a session is for the
    gateway alone, a password was meant as one, and a token that is bound to a key is of no use without it."""
    found: tuple[bytes, Credential | None] | None = headers.credential
    credential = found[1] if found is not None else None
    if credential is None or credential.by_cookie or credential.by_basic or credential.is_dpop:
        return b""
    is_by_it = not (identity.is_ambient or identity.session_id or identity.key_thumbprint)
    return credential.unverified_token if is_by_it else b""


class MustAsk(InvalidCredential):
    """The credential may be good, which only its issuer can tell. Whoever cannot wait refuses it.

    `ask` gives the identity or raises InvalidCredential.
    """

    def __init__(self, ask: Callable[[], Awaitable[Identity]]) -> None:
        super().__init__(Reason.ISSUER_UNAVAILABLE)
        self.ask = ask


def authenticate(
    headers: RawHeaders, snapshot: Snapshot, route: Route | None = None, facts: RequestFacts | None = None
) -> Identity | None:
    """None: no credential of ours. Raises InvalidCredential: one is there and is not good, so stop; or MustAsk.

    `route`: None for a page of the gateway's own. `facts`: of the request that is let in by this, which uses up its
    DPoP proof; without them no bound token counts, and a session's cookie does for any host.
    """
    if not isinstance(headers, Headers):
        headers = Headers(headers)
    trust = snapshot.trust
    found: tuple[bytes, Credential | None] | None = headers.credential
    if found is None or found[0] != trust.session_cookie:
        found = headers.credential = (trust.session_cookie, find_credential(headers, trust.session_cookie))
    credential = found[1]
    if route is not None and route.basic and (credential is None or credential.by_cookie):
        # The route asks for a service token as the password: one with a typing error is not "no credential".
        credential = find_mistyped(headers) or credential
    if route is not None and route.pass_authorization and not _is_for_an_issuer(credential, route, trust):
        # Not kept with the headers: it depends on our keys of this moment, and on the route.
        credential = beside_the_services(credential, headers, trust)
    if credential is None:
        return None
    now = time.time()
    identity = snapshot.identities.get(credential.key, now, trust)
    if identity is None:
        try:
            identity = _verify_identity(credential, snapshot, now, route)
        except MustAsk as question:
            ask = question.ask
            raise MustAsk(lambda: _ask_and_prove(ask, credential, snapshot, facts)) from None
    else:
        identity_lookups[HIT] += 1
    if identity.cookie_host and facts is not None:
        check_cookie_host(identity.cookie_host, facts.authority.host)
    if credential.is_dpop or identity.key_thumbprint:
        return _prove_at_once(identity, credential, snapshot, facts)
    return identity


def recognize(facts: RequestFacts, snapshot: Snapshot) -> Identity | None:
    """None: nobody, or a credential that is not good. For what lets nobody in, so no proof is used up."""
    try:
        identity = authenticate(facts.headers, snapshot)
        if identity is not None:
            check_cookie_host(identity.cookie_host, facts.authority.host)
    except InvalidCredential:
        return None
    return identity


def _prove_at_once(
    identity: Identity, credential: Credential, snapshot: Snapshot, facts: RequestFacts | None
) -> Identity:
    """Raises InvalidCredential, or MustAsk where other machines may have seen the proof."""
    is_first = prove_possession(identity, credential, facts, snapshot, time.time())
    if not isinstance(is_first, bool):
        raise MustAsk(lambda: _told(identity, is_first))
    if not is_first:
        raise InvalidCredential(Reason.BAD_PROOF, "it was used before")
    return identity


async def _told(identity: Identity, is_first: Awaitable[bool]) -> Identity:
    if not await is_first:
        raise InvalidCredential(Reason.BAD_PROOF, "it was used before")
    return identity


async def _ask_and_prove(
    ask: Callable[[], Awaitable[Identity]], credential: Credential, snapshot: Snapshot, facts: RequestFacts | None
) -> Identity:
    identity = await ask()
    if not (credential.is_dpop or identity.key_thumbprint):
        return identity
    try:
        return _prove_at_once(identity, credential, snapshot, facts)
    except MustAsk as question:
        return await question.ask()


def _verify_identity(credential: Credential, snapshot: Snapshot, now: float, route: Route | None) -> Identity:
    if not snapshot.knows_credentials:
        raise InvalidCredential(Reason.TRUST_UNKNOWN)
    check_form(credential.kind, credential.unverified_token)
    if not credential.by_cookie and may_be_service_token(credential.unverified_token):
        return service_identity(credential, snapshot, now)
    foreign = None if credential.by_cookie else read_foreign(credential.unverified_token, snapshot.trust)
    if foreign is None:
        issuer = find_asked(credential, route, snapshot.trust)
        if issuer is not None:
            return _look_up(credential, issuer, snapshot, now)
        identity_lookups[MISS] += 1
        return _remember(credential, snapshot, _own_identity(credential, snapshot, now))
    if foreign.issuer.strategy == "introspection":
        return _look_up(credential, foreign.issuer, snapshot, now)
    identity_lookups[MISS] += 1
    try:
        return _remember(credential, snapshot, _foreign_identity(foreign, snapshot, now))
    except KeysWanted:
        raise MustAsk(lambda: _ask_for_keys(credential, foreign)) from None


def _is_for_an_issuer(credential: Credential | None, route: Route, trust: TrustSnapshot) -> bool:
    """Opaque tokens belong to the service of such a route, unless it names an issuer that is asked about them."""
    return credential is not None and bool(route.issuers) and find_asked(credential, route, trust) is not None


def _look_up(credential: Credential, issuer: Issuer, snapshot: Snapshot, now: float) -> Identity:
    """Raises MustAsk, unless the issuer was asked a moment ago."""
    identity = snapshot.identities.get(introspected_key(credential, issuer), now, snapshot.trust)
    identity_lookups[MISS if identity is None else HIT] += 1
    if identity is None:
        raise MustAsk(lambda: introspect(credential, issuer, snapshot))
    return identity


async def _ask_for_keys(credential: Credential, before: ForeignToken) -> Identity:
    are_all_known = await newer_keys(before.issuer, _unverified_issued_at(before))
    snapshot = await state_of_now()
    foreign = read_foreign(credential.unverified_token, snapshot.trust)
    if foreign is None or foreign.issuer.strategy == "introspection":
        raise InvalidCredential(Reason.INVALID_TOKEN, "its issuer was removed or changed meanwhile")
    try:
        return _remember(credential, snapshot, _foreign_identity(foreign, snapshot, time.time()))
    except KeysWanted:
        # An issuer that cannot be asked, or not again yet, may have made the key that is missing.
        reason = Reason.UNKNOWN_KEY if are_all_known else Reason.ISSUER_UNAVAILABLE
        raise InvalidCredential(reason, _KEY_UNKNOWN) from None


def _unverified_issued_at(foreign: ForeignToken) -> float:
    """0: it does not say."""
    issued_at = foreign.unverified_claims.get("iat")
    return issued_at if isinstance(issued_at, int | float) else 0


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
        # The claims of a session are those of a person's provider.
        key_thumbprint="" if claims.session_id else bound_key(claims.all),
        expires_at=claims.expires_at,
        by_cookie=credential.by_cookie,
        token_id=claims.token_id,
        session_id=session_id,
        cookie_host=claims.cookie_host if session_id else "",
        key_id=claims.key_id,
        issued_at=claims.issued_at,
        audiences=frozenset((snapshot.trust.audience,)),
        scopes=claims.scopes,
        email=claims.email,
        name=claims.name,
        roles=roles_by(snapshot.grants, claims.all, provider, claims.roles),
        own_roles=claims.roles,
        granted_as=provider,
        claims=claims.all,
    )


def _foreign_identity(foreign: ForeignToken, snapshot: Snapshot, now: float) -> Identity:
    """Raises InvalidCredential, or KeysWanted."""
    issuer = foreign.issuer
    proven = verify_foreign(foreign.token, foreign.unverified, foreign.unverified_claims, issuer, now)
    return identity_of(proven, issuer.slug, issuer.issuer, snapshot)
