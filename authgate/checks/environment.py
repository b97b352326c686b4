"""Rules that span settings. What is wrong by itself has already stopped start-up in `gateway_site/env.py`."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register

from authgate.checks.files import sqlite_file
from authgate.own_hosts import exposed_host, public_host, public_origin
from authgate.own_pages import RESERVED
from authgate.wire.authority import HostRefused, is_loopback, parse_authority

Apps = Sequence[AppConfig] | None
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Of the largest networks that are private: 10.0.0.0/8 and fc00::/7.
_WIDEST_PREFIX = {4: 8, 6: 7}


@register(Tags.urls)
def check_auth_prefix(app_configs: Apps, **kwargs: Any) -> Iterator[CheckMessage]:
    first_segment = "/" + settings.AUTHGATE_AUTH_PREFIX.split("/")[1]
    if first_segment in RESERVED:
        yield Error(
            f"AUTHGATE_AUTH_PREFIX {settings.AUTHGATE_AUTH_PREFIX!r} takes the place of the gateway's own "
            f"{first_segment} pages.",
            hint="Choose a path of its own, such as /auth.",
            id="authgate.E001",
        )


@register(Tags.security)
def check_allowed_hosts(app_configs: Apps, **kwargs: Any) -> Iterator[CheckMessage]:
    for host in settings.AUTHGATE_ALLOWED_HOSTS:
        try:
            has_port = parse_authority(host.encode()).port is not None
        except HostRefused as error:
            yield _malformed_host(host, str(error))
        else:
            if has_port:
                yield _malformed_host(host, "a port is never compared")


@register(Tags.security)
def check_public_url(app_configs: Apps, **kwargs: Any) -> Iterator[CheckMessage]:
    url = settings.AUTHGATE_PUBLIC_URL
    if public_origin().scheme == "http" and not is_loopback(public_host()):
        yield Warning(
            f"AUTHGATE_PUBLIC_URL {url!r} is plain http: anyone on the way can read tokens and sessions.",
            hint="Use https, here (serve --tls-cert) or in front (AUTHGATE_TRUSTED_PROXIES).",
            id="authgate.W001",
        )
    if is_loopback(public_host()) and (settings.AUTHGATE_TRUSTED_PROXIES or exposed_host()):
        yield Warning(
            f"AUTHGATE_PUBLIC_URL is {url!r}, but AUTHGATE_TRUSTED_PROXIES or AUTHGATE_ALLOWED_HOSTS let others reach "
            "the gateway: cookies without Secure, and tokens whose issuer is this machine.",
            hint="Set AUTHGATE_PUBLIC_URL to the address that people use, such as https://gateway.example.com.",
            id="authgate.W008",
        )


@register(Tags.security)
def check_trusted_proxies(app_configs: Apps, **kwargs: Any) -> Iterator[CheckMessage]:
    for network in _collapsed(settings.AUTHGATE_TRUSTED_PROXIES):
        if network.prefixlen < _WIDEST_PREFIX[network.version]:
            yield Warning(
                f"AUTHGATE_TRUSTED_PROXIES covers all of {network}: strangers in it can choose their own address, and "
                "the host and scheme that their requests are taken for.",
                hint="Name only the proxies directly in front of the gateway.",
                id="authgate.W002",
            )


def _collapsed(networks: Iterable[Network]) -> Iterator[Network]:
    """Put together from the pieces in which they were named."""
    given = list(networks)
    yield from ipaddress.collapse_addresses(part for part in given if isinstance(part, ipaddress.IPv4Network))
    yield from ipaddress.collapse_addresses(part for part in given if isinstance(part, ipaddress.IPv6Network))


@register(Tags.database)
def check_shared_state(app_configs: Apps, **kwargs: Any) -> Iterator[CheckMessage]:
    if settings.AUTHGATE_REDIS_URL and sqlite_file() is not None:
        yield Warning(
            "AUTHGATE_REDIS_URL shares limits between machines, but the policy is in SQLite, on this one only.",
            hint="Set AUTHGATE_DATABASE_URL to PostgreSQL, or leave AUTHGATE_REDIS_URL unset on one machine.",
            id="authgate.W004",
        )


@register(Tags.database)
def check_database_encryption(app_configs: Apps, **kwargs: Any) -> Iterator[CheckMessage]:
    database = settings.DATABASES["default"]
    if sqlite_file() is not None or _is_local(database["HOST"]):
        return
    if database["OPTIONS"].get("sslmode", "prefer") in ("disable", "allow", "prefer"):
        yield Warning(
            f"The connection to PostgreSQL on {database['HOST']!r} may be unencrypted.",
            hint="Add ?sslmode=verify-full&sslrootcert=FILE to AUTHGATE_DATABASE_URL.",
            id="authgate.W005",
        )


@register(Tags.caches)
def check_redis_encryption(app_configs: Apps, **kwargs: Any) -> Iterator[CheckMessage]:
    parts = urlsplit(settings.AUTHGATE_REDIS_URL)
    if parts.scheme == "redis" and not _is_local(parts.hostname or ""):
        yield Warning(
            f"The connection to Redis on {parts.hostname!r} is unencrypted.",
            hint="Use rediss:// in AUTHGATE_REDIS_URL.",
            id="authgate.W006",
        )


def _malformed_host(host: str, problem: str) -> Error:
    return Error(
        f"AUTHGATE_ALLOWED_HOSTS contains {host!r}: {problem}.",
        hint="List names and addresses only, such as gateway.example.com or [2001:db8::1].",
        id="authgate.E002",
    )


def _is_local(host: str) -> bool:
    return not host or host.startswith("/") or is_loopback(host)
