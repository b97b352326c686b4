from __future__ import annotations

from authgate.models.policy import PolicyRevision, RateLimit, Role, RoleGrant, Route, Upstream
from authgate.models.trust import RevokedToken, SigningKey, StateVersion

__all__ = [
    "PolicyRevision",
    "RateLimit",
    "RevokedToken",
    "Role",
    "RoleGrant",
    "Route",
    "SigningKey",
    "StateVersion",
    "Upstream",
]
