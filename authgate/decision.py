"""The answer of the gate."""

from __future__ import annotations

import msgspec

from authgate.policy.table import RouteEntry
from authgate.reason import Reason
from authgate.request import Identity


class Decision(msgspec.Struct, frozen=True, gc=False):
    """The gate's answer. `route` and `identity` are what was known when it was taken, also on a refusal."""

    allowed: bool
    reason: Reason
    revision: int = 0
    route: RouteEntry | None = None
    identity: Identity | None = None
    retry_after: int = 0  # whole seconds, on RATE_LIMITED
    missing_roles: tuple[str, ...] = ()  # any one of them would do, on MISSING_ROLE
