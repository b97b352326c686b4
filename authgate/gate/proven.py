"""The caller whom another issuer's token proves, with the roles of the policy."""

from __future__ import annotations

from authgate.authn.foreign import Proven
from authgate.policy.rules import roles_by
from authgate.reason import Reason
from authgate.request import Identity, InvalidCredential
from authgate.state.snapshot import Snapshot


def identity_of(proven: Proven, slug: str, issuer: str, snapshot: Snapshot) -> Identity:
    """Raises InvalidCredential."""
    trust = snapshot.trust
    if proven.token_id in trust.revoked:
        raise InvalidCredential(Reason.TOKEN_REVOKED, "its ID was revoked")
    if trust.issued_before is not None and trust.issued_before.refuses(slug, proven.subject, proven.issued_at):
        raise InvalidCredential(Reason.TOKEN_REVOKED, "whatever its subject or issuer was given before was revoked")
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
        key_thumbprint=proven.key_thumbprint,
        email=proven.email,
        name=proven.name,
        roles=roles_by(snapshot.grants, proven.claims, slug, proven.roles),
        own_roles=proven.roles,
        granted_as=slug,
        claims=proven.claims,
    )
