"""Access tokens as credentials of the management API: which of them opens it, and the actor behind one."""

from __future__ import annotations

import time
from dataclasses import dataclass

from authgate.policy import revisions
from authgate.policy.compiler import check
from authgate.policy.errors import PolicyInvalid
from authgate.policy.powers import api_access
from authgate.policy.rules import GrantRules
from authgate.policy.schema import AdminAccess, PolicyDocument
from authgate.request import OWN_ISSUER, Identity
from authgate.state import revocation, signing_keys


def token_access(identity: Identity, document: PolicyDocument) -> AdminAccess:
    """By this policy. A session is no token, and an issuer elsewhere names no operators of this gateway."""
    return api_access(document, identity.roles) if _is_own_token(identity) else "none"


@dataclass(frozen=True)
class TokenOperator:
    """Whoever holds an access token with a role that opens the API."""

    identity: Identity

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
        return revocation.refuses(self.identity) or not signing_keys.still_verifies(self.identity.key_id)


def _is_own_token(identity: Identity) -> bool:
    return not identity.by_cookie and identity.issuer_slug == OWN_ISSUER
