"""Rules that span settings. What is wrong by itself has already stopped start-up in `gateway_site/env.py`."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import DatabaseError

from authgate.host import HostRefused, parse_authority
from authgate.models import IdentityProvider
from authgate.oidc.errors import ProviderError
from authgate.oidc.provider import client_secret_of
from authgate.policy.places import RESERVED

Apps = Sequence[AppConfig] | None


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
def check_static_site(app_configs: Apps, **kwargs: Any) -> Iterator[CheckMessage]:
    site: Path | None = settings.AUTHGATE_STATIC_SITE
    if site is None:
        return
    private = {"AUTHGATE_DATA_DIR": settings.AUTHGATE_DATA_DIR, "the database": _sqlite_file()}
    for name, path in private.items():
        if path is not None and path.resolve().is_relative_to(site.resolve()):
            yield Error(
                f"AUTHGATE_STATIC_SITE {str(site)!r} publishes {name}: {str(path)!r} lies in it.",
                hint="Serve a directory that holds only what everyone may read.",
                id="authgate.E003",
            )


@register(Tags.security)
def check_public_url(app_configs: Apps, **kwargs: Any) -> Iterator[CheckMessage]:
    parts = urlsplit(settings.AUTHGATE_PUBLIC_URL)
    if parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
        yield Warning(
            f"AUTHGATE_PUBLIC_URL {settings.AUTHGATE_PUBLIC_URL!r} is plain http: anyone on the way can read "
            "tokens and sessions.",
            hint="Use https, here (serve --tls-cert) or in front (AUTHGATE_TRUSTED_PROXIES).",
            id="authgate.W001",
        )


@register(Tags.security)
def check_trusted_proxies(app_configs: Apps, **kwargs: Any) -> Iterator[CheckMessage]:
    for network in settings.AUTHGATE_TRUSTED_PROXIES:
        if network.prefixlen == 0:
            yield Warning(
                f"AUTHGATE_TRUSTED_PROXIES contains {network}: every client can choose its own address.",
                hint="Name only the proxies directly in front of the gateway.",
                id="authgate.W002",
            )


@register(Tags.security)
def check_data_dir(app_configs: Apps, **kwargs: Any) -> Iterator[CheckMessage]:
    data, database = settings.AUTHGATE_DATA_DIR, _sqlite_file()
    for path, mode in ((data, "700"), (data / "secret_key", "600"), (database, "600")):
        if path is not None and path.exists() and path.stat().st_mode & 0o077:
            yield Warning(
                f"{str(path)!r} is open to other users of this machine; it guards every signing key.",
                hint=f"chmod {mode} {path}",
                id="authgate.W003",
            )


@register(Tags.database)
def check_shared_state(app_configs: Apps, **kwargs: Any) -> Iterator[CheckMessage]:
    if settings.AUTHGATE_REDIS_URL and _sqlite_file() is not None:
        yield Warning(
            "AUTHGATE_REDIS_URL shares limits between machines, but the policy is in SQLite, on this one only.",
            hint="Set AUTHGATE_DATABASE_URL to PostgreSQL, or leave AUTHGATE_REDIS_URL unset on one machine.",
            id="authgate.W004",
        )


@register(Tags.database)
def check_database_encryption(app_configs: Apps, **kwargs: Any) -> Iterator[CheckMessage]:
    database = settings.DATABASES["default"]
    if _sqlite_file() is not None or _is_local(database["HOST"]):
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


@register(Tags.database)
def check_client_secrets(
    app_configs: Apps, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    try:
        providers = list(IdentityProvider.objects.all()) if databases else []
    except DatabaseError:
        return []  # before the first migration
    return [_unreadable(provider.slug) for provider in providers if not _opens(provider)]


def _opens(provider: IdentityProvider) -> bool:
    try:
        client_secret_of(provider)
    except ProviderError:
        return False
    return True


def _unreadable(slug: str) -> Warning:
    return Warning(
        f"The client secret of the identity provider {slug!r} cannot be opened: nobody can sign in there.",
        hint="AUTHGATE_SECRET_KEY has changed. Enter the client secret again in admin.",
        id="authgate.W007",
    )


def _malformed_host(host: str, problem: str) -> Error:
    return Error(
        f"AUTHGATE_ALLOWED_HOSTS contains {host!r}: {problem}.",
        hint="List names and addresses only, such as gateway.example.com or [2001:db8::1].",
        id="authgate.E002",
    )


def _sqlite_file() -> Path | None:
    database = settings.DATABASES["default"]
    return Path(database["NAME"]) if database["ENGINE"].endswith("sqlite3") else None


def _is_local(host: str) -> bool:
    return not host or host.startswith("/") or _is_loopback(host)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        # RFC 6761 6.3: localhost and every name below it is this machine.
        return host == "localhost" or host.endswith(".localhost")
