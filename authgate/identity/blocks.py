"""What a service is told of a caller, ready to send."""

from __future__ import annotations

import time

from authgate.bounded import Bounded
from authgate.identity.assertion import ASSERTION_SECONDS, mint_assertion
from authgate.identity.headers import build_identity_headers
from authgate.identity.told import build_told_headers
from authgate.policy.table import RouteEntry
from authgate.request import Identity
from authgate.state.snapshot import Snapshot
from authgate.wire.headers import header_block

# An assertion is replaced a minute before its end, so that a slow service can verify it.
_KEPT_SECONDS = ASSERTION_SECONDS - 60
_MAX_BLOCKS = 20_000


class IdentityBlocks:
    """Identity headers per caller and route, ready to send: signing an assertion costs more than the request."""

    def __init__(self) -> None:
        self._snapshot: Snapshot | None = None
        # Each with the time when its assertion was made.
        self._blocks: Bounded[tuple[Identity, RouteEntry], tuple[bytes, int]] = Bounded(_MAX_BLOCKS)
        self._nobody = header_block(build_identity_headers(None, ""))

    def block(self, identity: Identity | None, entry: RouteEntry, snapshot: Snapshot) -> bytes:
        if identity is None:
            return self._nobody if entry.told is None else self._nobody + entry.told.empty
        if snapshot is not self._snapshot:
            # Keys, roles and routes may have changed; and the old ones must not be kept alive from here.
            self._snapshot = snapshot
            self._blocks.clear()
        kept = self._blocks.get((identity, entry))
        # An assertion of the future was made before the clock was set back; services would refuse it.
        if kept is not None and 0 <= time.time() - kept[1] < _KEPT_SECONDS:
            return kept[0]
        return self._build(identity, entry, snapshot)

    def _build(self, identity: Identity, entry: RouteEntry, snapshot: Snapshot) -> bytes:
        now = int(time.time())
        assertion = mint_assertion(identity, entry, snapshot.trust, now)
        block = header_block(build_identity_headers(identity, assertion))
        if entry.told is not None:
            block += header_block(build_told_headers(entry.told, identity))
        self._blocks.put((identity, entry), (block, now))
        return block
