"""Whose a host is by the policy that this process runs: a service's, or the gateway's."""

from __future__ import annotations

from authgate.own_hosts import own_hosts
from authgate.state.snapshot import Snapshot


def is_known(host: str, snapshot: Snapshot | None) -> bool:
    """Whether somebody who runs the gateway has named this host. Any other is what a client wrote."""
    return host in own_hosts() or is_services(host, snapshot)


def is_services(host: str, snapshot: Snapshot | None) -> bool:
    """Whether this host is a service's, and only the auth prefix on it is ours. Never one of our own, whatever a route
    says: its passwords would be the service's.
    """
    return host not in own_hosts() and snapshot is not None and snapshot.table.names_host(host)
