"""Access tokens of the gateway's own: minted, and kept in mind until they expire."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from django.db.models import Q, QuerySet
from django.utils import timezone

from authgate.authn.compact import read_compact, read_object
from authgate.authn.tokens import Kind, mint
from authgate.authn.trust import TrustSnapshot
from authgate.models.trust import MintedToken, SigningKey
from authgate.policy.powers import Actor
from authgate.policy.turns import turn_of
from authgate.request import OWN_ISSUER


class Minted(NamedTuple):
    token: str
    row: MintedToken


def mint_access_token(
    trust: TrustSnapshot,
    subject: str,
    actor: Actor,
    *,
    ttl: int,
    audience: str | None = None,
    email: str = "",
    name: str = "",
    roles: Iterable[str] = (),
    extra_claims: Mapping[str, Any],
) -> Minted:
    """Raises ClaimRefused or PermissionDenied. The token itself is kept nowhere."""
    with turn_of(actor, "superuser"):  # it may have any role
        token = mint(
            trust,
            subject,
            kind=Kind.ACCESS,
            now=int(time.time()),
            ttl=ttl,
            audience=audience,
            email=email,
            name=name,
            roles=roles,
            extra_claims=extra_claims,
        )
        return Minted(token, _record(token, trust.token_signer.kid, actor))


def unexpired() -> QuerySet[MintedToken]:
    return MintedToken.objects.filter(expires_at__gt=timezone.now())


def is_refused(token: MintedToken, trust: TrustSnapshot) -> bool:
    """Before its time."""
    if token.jti in trust.revoked or token.kid not in trust.token_keys:
        return True
    before = trust.issued_before
    return before is not None and before.refuses(OWN_ISSUER, token.subject, int(token.minted_at.timestamp()))


def _record(token: str, kid: str, actor: Actor) -> MintedToken:
    claims = read_object(read_compact(token.encode("ascii")).unverified_payload)
    expires_at = datetime.fromtimestamp(claims["exp"], UTC)
    # Until then the key is needed. Without the signals of `save`: nothing changes for the workers.
    is_earlier = Q(last_expires_at=None) | Q(last_expires_at__lt=expires_at)
    SigningKey.objects.filter(is_earlier, kid=kid).update(last_expires_at=expires_at)
    return MintedToken.objects.create(
        jti=claims["jti"],
        subject=claims["sub"],
        roles=claims["roles"],
        audience=claims["aud"],
        kid=kid,
        minted_at=datetime.fromtimestamp(claims["iat"], UTC),
        expires_at=expires_at,
        minted_by=actor.name[:200],
    )
