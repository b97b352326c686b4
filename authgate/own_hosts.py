"""The hosts on which the gateway answers for itself. Requests and the validator of policy read the same list."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache

from django.conf import settings

from authgate.wire.authority import HostRefused, Origin, is_loopback, parse_authority, parse_origin

_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


def public_origin() -> Origin:
    return parse_origin(settings.AUTHGATE_PUBLIC_URL)


def public_host() -> str:
    """As requests are reduced to it: lower case, IPv6 compressed and in brackets."""
    return public_origin().authority.host


def public_port() -> int:
    return public_origin().port


def own_hosts() -> frozenset[str]:
    """The public host, those of AUTHGATE_ALLOWED_HOSTS, and on this machine alone each of its usual names."""
    return _own_hosts(settings.AUTHGATE_PUBLIC_URL, tuple(settings.AUTHGATE_ALLOWED_HOSTS))


def exposed_host() -> str | None:
    """One of the own hosts by which others than this machine reach the gateway; None when it is for this one alone."""
    return min((host for host in own_hosts() if not is_loopback(host)), default=None)


@lru_cache(maxsize=16)
def _own_hosts(public_url: str, allowed: tuple[str, ...]) -> frozenset[str]:
    public = parse_origin(public_url).authority.host
    return frozenset((public, *_well_formed(allowed), *(_LOOPBACK if is_loopback(public) else ())))


def _well_formed(hosts: tuple[str, ...]) -> Iterator[str]:
    for host in hosts:
        with suppress(HostRefused):  # authgate.E002 reports it, and no request can carry it
            yield parse_authority(host.encode()).host
