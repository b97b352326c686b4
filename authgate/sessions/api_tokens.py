"""Access tokens as credentials of the management API: which of them opens it, and the actor behind one."""

from __future__ import annotations

import time
from dataclasses import dataclass

from django.utils import timezone

from authgate.authn.compact import read_compact
from authgate.models.trust import RevokedToken, SigningKey
from authgate.policy import revisions
from authgate.policy.compiler import check
from authgate.policy.errors import PolicyInvalid
from authgate.policy.powers import api_access
from authgate.policy.rules import GrantRules
from authgate.policy.schema import AdminAccess, PolicyDocument
from authgate.request import OWN_ISSUER, Identity


def token_access(identity: Identity, document: PolicyDocument) -> AdminAccess:
    """By this policy. A session is no token, and an issuer elsewhere names no operators of this gateway."""
    return api_access(document, identity.roles) if _is_own_token(identity) else "none"


@dataclass(frozen=True)
class TokenOperator:
    """Whoever holds an access token with a role that opens the API."""

    identity: Identity
    kid: str  # of the key that signed the token

    @property
    def name(self) -> str:
        """Unlike any account's: Django lets nobody choose a name with ":"."""
        return f"token:{self.identity.subject}"

    def access(self) -> AdminAccess:
        """By the rows as they are now: the newest revision's, the revocations and the keys."""
        if not _is_own_token(self.identity) or self._has_ended():
            return "none"
        try:
            policy = revisions.live_powers()
        except PolicyInvalid:
            return "none"
        claims = self.identity.claims
        granted = GrantRules(policy.grants, check(policy)).roles_of(claims)
        return api_access(policy, granted.union(claims.get("roles") or ()))

    def _has_ended(self) -> bool:
        if self.identity.expires_at <= time.time():
            return True
        if RevokedToken.objects.filter(jti=self.identity.token_id, expires_at__gt=timezone.now()).exists():
            return True
        return not SigningKey.objects.filter(kid=self.kid, retired_at=None).exists()


def kid_of(verified_token: str) -> str:
    return str(read_compact(verified_token.encode("ascii")).unverified_header["kid"])


def _is_own_token(identity: Identity) -> bool:
    return not identity.by_cookie and identity.issuer_slug == OWN_ISSUER
