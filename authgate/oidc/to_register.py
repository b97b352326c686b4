"""What an operator has to register at an identity provider."""

from __future__ import annotations

from authgate.models.people import IdentityProvider
from authgate.own_hosts import own_hosts, public_host
from authgate.policy import revisions
from authgate.policy.new_hosts import hosts_of
from authgate.redirect_uri import host_origin, redirect_uri


def redirect_uris(provider: IdentityProvider) -> list[str]:
    """All of them, the public one first; `*.` stands for each such host."""
    slug = provider.slug or "<slug>"
    if provider.callbacks != IdentityProvider.Callbacks.EACH:
        return [redirect_uri(slug)]
    hosts = (own_hosts() | live_hosts()) - {public_host()}
    return [redirect_uri(slug), *(redirect_uri(slug, host_origin(host)) for host in sorted(hosts))]


def live_hosts() -> frozenset[str]:
    """Those that routes of the live policy name."""
    revision = revisions.latest()
    return hosts_of(revision.document) if revision else frozenset()
