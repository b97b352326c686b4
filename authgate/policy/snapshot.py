"""What this process decides by right now: one immutable reference, swapped whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from authgate.authn.trust import TrustSnapshot
    from authgate.policy.rules import GrantRules
    from authgate.policy.table import RouteTable


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    revision: int
    table: RouteTable
    grants: GrantRules
    trust: TrustSnapshot


_current: Snapshot | None = None


def current() -> Snapshot | None:
    """None until the first load: then nothing is allowed and readiness is red."""
    return _current
