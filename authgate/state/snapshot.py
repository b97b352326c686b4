"""What this process decides by right now: one immutable reference, swapped whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
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
    identities: IdentityCache  # new with every snapshot: any change of policy or trust forgets them all
    find: Callable[[str, str, str], Found] = field(init=False)  # of the table, remembered; for paths not too long

    def __post_init__(self) -> None:
        object.__setattr__(self, "find", lru_cache(REMEMBERED_PATHS)(self.table.find))


_current: Snapshot | None = None


def current() -> Snapshot | None:
    """None until the first load: then nothing is allowed and readiness is red."""
    return _current


def install(snapshot: Snapshot) -> None:
    global _current
    _current = snapshot
