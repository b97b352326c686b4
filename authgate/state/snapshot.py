"""What this process decides by right now: one immutable reference, swapped whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache

from authgate.authn.cache import IdentityCache
from authgate.authn.trust import TrustSnapshot
from authgate.policy.rules import GrantRules
from authgate.policy.schema import PolicyDocument
from authgate.policy.table import Found, RouteTable

# With paths of at most so many characters, what a client can make it remember stays below 5 MB.
REMEMBERED_PATHS = 4096
REMEMBERED_LENGTH = 256


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    revision: int
    document: PolicyDocument
    table: RouteTable
    grants: GrantRules
    trust: TrustSnapshot
    identities: IdentityCache  # verified by these keys, with the roles of this policy
    service_identities: IdentityCache = field(default_factory=IdentityCache)  # the same, of service tokens
    knows_credentials: bool = True  # False: which ones were taken away is not known, so that none is good
    find: Callable[[str, str, str], Found] = field(init=False)  # of the table, remembered; for paths not too long

    def __post_init__(self) -> None:
        object.__setattr__(self, "find", lru_cache(REMEMBERED_PATHS)(self.table.find))

    def with_trust(self, trust: TrustSnapshot, identities: IdentityCache) -> Snapshot:
        # Apart from the others: people sign in all the time, which may change what their tokens may do.
        is_same = trust.service_tokens is self.trust.service_tokens
        service_identities = self.service_identities if is_same else IdentityCache()
        other = replace(
            self, trust=trust, identities=identities, service_identities=service_identities, knows_credentials=True
        )
        object.__setattr__(other, "find", self.find)
        return other


_current: Snapshot | None = None


def current() -> Snapshot | None:
    """None until the first load: then nothing is allowed and readiness is red."""
    return _current


def install(snapshot: Snapshot) -> None:
    global _current
    _current = snapshot
