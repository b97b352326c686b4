"""Who may read the metrics."""

from __future__ import annotations

from django.conf import settings

from authgate.request import Identity, RequestFacts
from authgate.sessions.api_tokens import token_access
from authgate.sessions.operators import access_in_force
from authgate.state.snapshot import Snapshot
from authgate.wire.address import parse_address

# Any of them is the mark of a proxy, also of one that says nothing of its client's address.
_FORWARDING = (
    b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-port", b"x-forwarded-proto",
    b"x-forwarded-server", b"x-real-ip",
)  # fmt: skip


def is_from_its_networks(facts: RequestFacts) -> bool:
    """By the caller's true address. A proxy that is not trusted hides it: then no address opens anything."""
    is_believed = "," in facts.forwarded_for  # the caller, and the trusted proxies after it
    if not is_believed and any(facts.headers.values(name) for name in _FORWARDING):
        return False
    address = parse_address(facts.client)
    return address is not None and any(address in network for network in settings.AUTHGATE_METRICS_NETWORKS)


def may_read_metrics(identity: Identity, snapshot: Snapshot | None) -> bool:
    """With a role that AUTHGATE_METRICS_ROLES names, and whoever may enter /admin/ or use the management API."""
    if not identity.roles.isdisjoint(settings.AUTHGATE_METRICS_ROLES):
        return True
    if identity.session_id:
        return access_in_force(identity) != "none"
    return snapshot is not None and token_access(identity, snapshot.document) != "none"
