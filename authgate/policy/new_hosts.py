"""Hosts that are new in a policy, and what they need outside of the gateway."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from django.conf import settings

from authgate.models.people import IdentityProvider
from authgate.own_hosts import own_hosts
from authgate.redirect_uri import host_origin, redirect_uri
from authgate.wire.authority import is_loopback

_MOST = 10


class _Route(msgspec.Struct):
    host: str = ""


class _Hosts(msgspec.Struct):
    """Of thousands of routes nothing else is read."""

    routes: list[_Route] = []


_decoder = msgspec.json.Decoder(_Hosts)


def hosts_of(stored: str) -> frozenset[str]:
    """None of a policy that cannot be read."""
    try:
        return frozenset(route.host for route in _decoder.decode(stored).routes if route.host)
    except msgspec.MsgspecError:
        return frozenset()


def warn_of_new(before: str, after: str) -> list[str]:
    """A line for each host that is new in the second of two stored policies."""
    new = sorted(hosts_of(after) - hosts_of(before) - own_hosts())
    providers = IdentityProvider.objects.filter(enabled=True, callbacks=IdentityProvider.Callbacks.EACH) if new else ()
    slugs = sorted(provider.slug for provider in providers)
    lines = [line for host in new if (line := _left_to_do(host, slugs))]
    return lines if len(lines) <= _MOST else [*lines[:_MOST], f"… and {len(lines) - _MOST} more new hosts"]


def _left_to_do(host: str, slugs: Iterable[str]) -> str:
    todo = []
    if host.startswith("*.") and not is_loopback(host):
        # A code goes to whatever server has the name.
        todo.append("point every DNS name below it here (a server elsewhere under one of them could sign in as others)")
    elif not is_loopback(host):
        todo.append("point its DNS name here")
        if settings.SECURE:
            todo.append("have a certificate for it (serve --tls-cert, or at the proxy in front)")
    todo += [f"register {redirect_uri(slug, host_origin(host))} at the provider {slug}" for slug in slugs]
    return f"the host {host} is new: {', '.join(todo)}" if todo else ""
