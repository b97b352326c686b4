"""The answer of the gate."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import msgspec

from authgate.policy.table import RouteEntry
from authgate.reason import Reason
from authgate.request import Identity, RequestFacts
from authgate.state.snapshot import Snapshot

# Until an issuer that gave no answer is asked again; until a connection to a service may be free.
_RETRY_SECONDS = {Reason.ISSUER_UNAVAILABLE: 5, Reason.UPSTREAM_BUSY: 1}
_PUBLIC = Reason.PUBLIC  # the look-up in the class costs more than a comparison


class McpCall(NamedTuple):
    """A call in the body of a request to an MCP server, for the log."""

    method: str
    tool: str  # of tools/call
    refused: Reason | None  # None: as the request as a whole


class CallRefused(NamedTuple):
    """A call in the body of the request whose caller waits for an answer (JSON-RPC)."""

    id: str | int
    reason: Reason


class Denied(msgspec.Struct, frozen=True, gc=False):
    """The request gets an answer of the gateway's own. `entry` and `identity` are what was known by then."""

    reason: Reason
    revision: int = 0
    entry: RouteEntry | None = None
    identity: Identity | None = None
    retry_after: int = 0  # whole seconds, on RATE_LIMITED, ISSUER_UNAVAILABLE and UPSTREAM_BUSY
    missing_roles: tuple[str, ...] = ()  # any one of them would do, on MISSING_ROLE
    allowed: bool = False  # the gate let it in, and then the service or the gateway failed
    rule: str = ""  # for the log, what exactly refused a credential or a body
    calls: tuple[CallRefused, ...] = ()  # answered one by one
    is_batch: bool = False  # of calls


class Allowed(msgspec.Struct, frozen=True, gc=False):
    """The request may go to the service of `entry`, with everything that it was let in by."""

    facts: RequestFacts
    snapshot: Snapshot
    entry: RouteEntry
    identity: Identity | None
    reason: Reason  # PUBLIC, AUTHENTICATED or ROLE

    allowed: ClassVar[bool] = True

    @property
    def revision(self) -> int:
        return self.snapshot.revision

    @property
    def is_private(self) -> bool:
        """Whether the answer is for this caller alone, and for no cache that others share."""
        return self.identity is not None or self.entry.reason is not _PUBLIC

    def refused(self, reason: Reason) -> Denied:
        """It may not go there after all."""
        return Denied(reason, self.revision, self.entry, self.identity)

    def failed(self, reason: Reason) -> Denied:
        """What was let in came to nothing."""
        return Denied(reason, self.revision, self.entry, self.identity, retry_seconds(reason), allowed=True)


Decision = Allowed | Denied


def retry_seconds(reason: Reason) -> int:
    """After how long it is worth another try; 0: nobody knows."""
    return _RETRY_SECONDS.get(reason, 0)
