"""Checks of what the database holds. They run with `check` and at `serve`, and do not keep other commands from
mending what they find.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Info, Warning, register
from django.db import DatabaseError, connection
from django.utils import timezone

from authgate.authn.keys import KeyUnusable
from authgate.models.people import IdentityProvider
from authgate.models.provider_rules import ENDPOINTS
from authgate.oidc.event_endpoint import Transmitter, open_token
from authgate.oidc.provider import client_secret_of
from authgate.outbound.errors import ProviderError
from authgate.own_hosts import exposed_host
from authgate.policy import compiler, revisions
from authgate.policy.errors import PolicyInvalid
from authgate.policy.lost_names import find_lost
from authgate.policy.powers import OPENS_ADMIN
from authgate.sessions.live import count
from authgate.sessions.reseal import count_old
from authgate.sessions.signers import all_signers
from authgate.state import service_tokens
from authgate.state.trouble import missing_file, trouble_of
from authgate.state.trust import unseal_keys
from authgate.wire.authority import leads_to_loopback

# Tag of the checks that read rows.
ROWS = "rows"
KEYS_SEALED = "authgate.W073"

Apps = Sequence[AppConfig] | None
Databases = Sequence[str] | None

# Faults of one policy that are shown.
_MOST = 20
_URLS = ("issuer", *ENDPOINTS)


@register(ROWS)
def check_database(app_configs: Apps, databases: Databases = None, **kwargs: Any) -> list[CheckMessage]:
    try:
        if databases:
            connection.ensure_connection()
    except DatabaseError as error:
        missing = missing_file()
        if "is not there" in missing:  # as on every new machine
            return [Info(f"The database was not checked{missing}.", id="authgate.I030")]
        # Of a file the message says all that can be said.
        is_server = connection.vendor != "sqlite"
        return [
            Warning(
                f"The {trouble_of(error).full}. What is in it was not checked.",
                hint="See that it runs, and AUTHGATE_DATABASE_URL." if is_server else None,
                id="authgate.W012",
            )
        ]
    return []


@register(ROWS)
def check_signing_keys(app_configs: Apps, databases: Databases = None, **kwargs: Any) -> list[CheckMessage]:
    """A changed secret key, which `serve` cannot start with. No key is made here."""
    try:
        if databases:
            unseal_keys()
    except DatabaseError:
        return []  # said above, or before the first migration
    except KeyUnusable as error:
        return [Warning(f"The gateway cannot start: {error}", id=KEYS_SEALED)]
    return []


@register(ROWS)
def check_seals(app_configs: Apps, databases: Databases = None, **kwargs: Any) -> list[CheckMessage]:
    """Whether the secret key before this one is still needed."""
    try:
        old = count_old() if databases and settings.SECRET_KEY_FALLBACKS else None
    except DatabaseError:
        return []  # said above, or before the first migration
    if old is None:
        return []
    if old:
        return [
            Warning(
                f"AUTHGATE_SECRET_KEY_FALLBACK is still needed: {count(old, 'secret')} in the database "
                f"{'is' if old == 1 else 'are'} not sealed with AUTHGATE_SECRET_KEY.",
                hint="manage.py keys reseal",
                id="authgate.W075",
            )
        ]
    return [
        Info(
            "AUTHGATE_SECRET_KEY_FALLBACK is needed by nothing in the database.",
            hint="Take it out of the settings: whoever has it could forge what it seals.",
            id="authgate.I076",
        )
    ]


@register(ROWS)
def check_providers(app_configs: Apps, databases: Databases = None, **kwargs: Any) -> list[CheckMessage]:
    return [message for provider in _enabled_providers(databases) for message in _provider_messages(provider)]


@register(ROWS)
def check_event_polls(app_configs: Apps, databases: Databases = None, **kwargs: Any) -> list[CheckMessage]:
    try:
        transmitters = [signer.transmitter for signer in all_signers()] if databases else []
    except DatabaseError:
        return []  # before the first migration
    return [
        Warning(
            f"The event poll token of {transmitter.slug!r} cannot be opened: its security events are not fetched.",
            hint="The secret key has changed. Enter the token again in admin.",
            id="authgate.W077",
        )
        for transmitter in transmitters
        if not _opens_token(transmitter)
    ]


@register(ROWS)
def check_sign_in(app_configs: Apps, databases: Databases = None, **kwargs: Any) -> list[CheckMessage]:
    """A gateway for machines alone needs no provider, so this is no warning."""
    if not databases or exposed_host() is None or _enabled_providers(databases):
        return []
    return [
        Info(
            "No identity provider is enabled: browsers get a 401 instead of a sign-in.",
            hint="`manage.py provider add`, as in docs/sign-in.md. For programs with tokens alone none is needed.",
            id="authgate.I074",
        )
    ]


@register(ROWS)
def check_policy(app_configs: Apps, databases: Databases = None, **kwargs: Any) -> list[CheckMessage]:
    """What was published by earlier settings, or an earlier version, may be refused by these."""
    try:
        errors = compiler.check(revisions.live_document()) if databases else []
    except DatabaseError:
        return []  # before the first migration
    except PolicyInvalid as error:
        errors = list(error.errors)
    return [
        Warning(
            f"The live policy is not valid any more: {error}. A route with such a fault denies.",
            hint="Correct it in /admin/, or in the policy file and import that.",
            id="authgate.W011",
        )
        for error in errors[:_MOST]
    ]


@register(ROWS)
def check_way_into_the_admin(app_configs: Apps, databases: Databases = None, **kwargs: Any) -> list[CheckMessage]:
    """Without local accounts, only a role opens /admin/, and only at a provider does anybody get one."""
    if settings.AUTHGATE_ADMIN_LOCAL_SIGN_IN != () or not databases:
        return []
    try:
        opens = any(role.admin in OPENS_ADMIN for role in revisions.live_document().roles.values())
    except (DatabaseError, PolicyInvalid):
        return []  # said by the checks above
    missing = "no identity provider is enabled" if not _enabled_providers(databases) else "no role opens /admin/"
    if opens and _enabled_providers(databases):
        return []
    return [
        Warning(
            f"AUTHGATE_ADMIN_LOCAL_SIGN_IN is off, and {missing}: nobody can get into /admin/.",
            hint="Set a provider up and give a role `admin: superuser`, or name the networks that may sign in locally.",
            id="authgate.W040",
        )
    ]


@register(ROWS)
def check_service_tokens(app_configs: Apps, databases: Databases = None, **kwargs: Any) -> list[CheckMessage]:
    try:
        expiring = list(service_tokens.expiring(timezone.now())) if databases else []
    except DatabaseError:
        return []  # before the first migration
    return [
        Warning(
            f"The service token {token.name!r} expires on {token.expires_at:%Y-%m-%d}"
            f"{f' (owner: {token.owner})' if token.owner else ''}.",
            hint="Make another one, hand it out, and revoke this one.",
            id="authgate.W076",
        )
        for token in expiring[:_MOST]
    ]


@register(ROWS)
def check_names_of_tokens(app_configs: Apps, databases: Databases = None, **kwargs: Any) -> list[CheckMessage]:
    try:
        revision = revisions.latest() if databases else None
        lost = list(islice(find_lost(revision.document), _MOST)) if revision is not None else []
    except DatabaseError:
        return []  # before the first migration
    return [
        Warning(
            f"The {one}, which the live policy does not have.",
            hint=f"Revoke the token and make another one. A {one.noun} that gets this name later counts for it.",
            id="authgate.W078",
        )
        for one in lost
    ]


def _enabled_providers(databases: Databases) -> Iterable[IdentityProvider]:
    try:
        return list(IdentityProvider.objects.filter(enabled=True)) if databases else []
    except DatabaseError:
        return []  # before the first migration


def _provider_messages(provider: IdentityProvider) -> list[CheckMessage]:
    messages: list[CheckMessage] = []
    if not _opens(provider):
        messages.append(
            Warning(
                f"The client secret of the identity provider {provider.slug!r} cannot be opened: nobody can sign in "
                "there.",
                hint="The secret key has changed. Enter the client secret again in admin.",
                id="authgate.W007",
            )
        )
    host = exposed_host()
    plain = next((url for url in (getattr(provider, name) for name in _URLS) if _is_plain_loopback(url)), None)
    if host is not None and plain is not None:
        messages.append(
            Error(
                f"The identity provider {provider.slug!r} is asked at {plain}, while others reach this gateway as "
                f"{host}: any process of this machine that takes that port signs in as whoever it likes.",
                hint=f"Disable it, give it an https address, or `manage.py provider remove {provider.slug}`.",
                id="authgate.E004",
            )
        )
    return messages


def _opens(provider: IdentityProvider) -> bool:
    try:
        client_secret_of(provider)
    except ProviderError:
        return False
    return True


def _opens_token(transmitter: Transmitter) -> bool:
    try:
        open_token(transmitter)
    except ProviderError:
        return False
    return True


def _is_plain_loopback(url: str) -> bool:
    return urlsplit(url).scheme == "http" and leads_to_loopback(url)
