from __future__ import annotations

from authgate.models.people import IdentityProvider, Person, Session, UsedOnce
from authgate.models.policy import PolicyRevision, RateLimit, Role, RoleGrant, Route, Upstream
from authgate.models.trust import RevokedToken, SigningKey, StateVersion

__all__ = [
    "IdentityProvider",
    "Person",
    "PolicyRevision",
    "RateLimit",
    "RevokedToken",
    "Role",
    "RoleGrant",
    "Route",
    "Session",
    "SigningKey",
    "StateVersion",
    "Upstream",
    "UsedOnce",
]
