"""Whom a service token or a personal one stands for, by the trust and the policy of now; and whether it may be used
here."""

from __future__ import annotations

from authgate.authn.credentials import Credential
from authgate.authn.service_tokens import ServiceToken, digest_of, has_checksum
from authgate.authn.trust import TrustSnapshot
from authgate.policy.rules import roles_by
from authgate.reason import Reason
from authgate.request import OWN_ISSUER, Identity, InvalidCredential, TokenTerms
from authgate.state import last_used
from authgate.state.snapshot import Snapshot


def service_identity(credential: Credential, snapshot: Snapshot, now: float) -> Identity:
    """Raises InvalidCredential."""
    known = snapshot.service_identities.get(credential.key, now, snapshot.trust)
    if known is not None:
        return known
    token = _find(credential.unverified_token, snapshot)
    if token.is_over:
        raise InvalidCredential(
            Reason.TOKEN_REVOKED, f"{token_id_of(token.terms)} was ended, or its person is kept out"
        )
    if _is_revoked(token, snapshot.trust):
        raise InvalidCredential(Reason.TOKEN_REVOKED, f"{token_id_of(token.terms)} or its subject was revoked")
    if token.expires_at <= now:
        raise InvalidCredential(Reason.TOKEN_EXPIRED, token_id_of(token.terms))
    identity = _identity_of(token, snapshot, by_basic=credential.by_basic)
    snapshot.service_identities.put(credential.key, identity)
    return identity


def use(terms: TokenTerms, client: str, route: str) -> Reason | None:
    """Why it may not be used here; else it counts as used now. `route`: empty for the gateway's own pages."""
    refusal = terms.refusal(client, route)
    if refusal is None:
        last_used.note(terms.number)
    return refusal


def identity_of_now(terms: TokenTerms, snapshot: Snapshot, *, by_basic: bool) -> Identity:
    """Of a token that is known: it may stand for less than when it let in what goes on."""
    return _identity_of(snapshot.trust.service_tokens[terms.digest], snapshot, by_basic=by_basic)


def token_id_of(terms: TokenTerms) -> str:
    """By which one can be revoked like any other token, and is found in the log. No token that is minted has it."""
    return f"svc:{terms.number}"


def _is_revoked(token: ServiceToken, trust: TrustSnapshot) -> bool:
    """By its ID, or with all of its subject or of the gateway."""
    if token_id_of(token.terms) in trust.revoked:
        return True
    before = trust.issued_before
    return before is not None and before.refuses(OWN_ISSUER, token.subject, token.issued_at)


def _find(unverified_token: bytes, snapshot: Snapshot) -> ServiceToken:
    if not has_checksum(unverified_token):
        raise InvalidCredential(Reason.INVALID_TOKEN, "a service token that is mistyped or cut: its checksum is wrong")
    token = snapshot.trust.service_tokens.get(digest_of(unverified_token))
    if token is None:
        raise InvalidCredential(Reason.INVALID_TOKEN, "a service token that is not known here, or no longer")
    return token


def _identity_of(token: ServiceToken, snapshot: Snapshot, *, by_basic: bool) -> Identity:
    return Identity(
        subject=token.subject,
        issuer=snapshot.trust.issuer,
        expires_at=token.expires_at,
        by_cookie=False,
        by_basic=by_basic,
        terms=token.terms,
        token_id=token_id_of(token.terms),
        issued_at=token.issued_at,
        audiences=frozenset((snapshot.trust.audience,)),
        email=token.email,
        name=token.name,
        roles=roles_by(snapshot.grants, token.claims, token.provider, token.roles, token.terms),
        own_roles=token.roles,
        granted_as=token.provider,
        claims=token.claims,
    )
