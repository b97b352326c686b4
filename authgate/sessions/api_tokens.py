"""Access tokens as credentials of the management API: which of them opens it, and the actor behind one."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from django.utils import timezone

from authgate.models.service_tokens import ServiceToken, in_force
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
    """Whoever holds an access token or a service token with a role that opens the API."""

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
        granted = GrantRules(policy.grants, check(policy)).roles_of(self.identity.claims)
        return api_access(policy, granted.union(self._own_roles()))

    def _own_roles(self) -> Iterable[str]:
        if self.identity.terms is None:
            return self.identity.claims.get("roles") or ()
        row = ServiceToken.objects.filter(pk=self.identity.terms.number).first()
        return row.roles if row is not None else ()

    def _has_ended(self) -> bool:
        if self.identity.expires_at <= time.time():
            return True
        if revocation.refuses(self.identity):
            return True
        if self.identity.terms is not None:
            return not in_force(timezone.now()).filter(pk=self.identity.terms.number).exists()
        return not signing_keys.still_verifies(self.identity.key_id)


def _is_own_token(identity: Identity) -> bool:
    """Not a personal one: a role that changes the policy is not for a file on somebody's laptop."""
    is_personal = identity.terms is not None and identity.terms.kind == "personal_token"
    return not identity.by_cookie and not is_personal and identity.issuer_slug == OWN_ISSUER
