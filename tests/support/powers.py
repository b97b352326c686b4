"""What gives power over the gateway, row by row: what nobody but a superuser may change, take back or add."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from django.apps import apps
from django.contrib.auth.models import Group, User
from django.db import connection

from authgate.models.issuers import TokenIssuer
from authgate.models.people import IdentityProvider, Person, Session, UsedOnce
from authgate.models.policy import PolicyRevision
from authgate.models.service_tokens import ServiceToken
from authgate.models.trust import MintedToken, Revocation, RevokedToken, SigningKey
from authgate.policy import revisions
from authgate.policy.compiler import compile_rows
from authgate.policy.document import to_plain
from authgate.state.service_tokens import gives_power

Facts = set[Any]


def digest() -> dict[str, list[Any]]:
    """All rows as the database has them, but for logs and the browser sessions of Django."""
    skipped = ("admin.LogEntry", "sessions.Session", "contenttypes.ContentType", "auth.Permission")
    every = (model._meta for model in apps.get_models(include_auto_created=True) if model._meta.label not in skipped)
    return {meta.label: _rows(meta.db_table, meta.pk.column) for meta in every}


def _rows(table: str, key: str) -> list[Any]:
    name = connection.ops.quote_name
    with connection.cursor() as cursor:  # Django's own query takes ten times as long
        cursor.execute(f"SELECT * FROM {name(table)} ORDER BY {name(key)}")
        return [*map(repr, cursor.fetchall())]


def _opening(*_: Any) -> Facts:
    """By the live revision and by the rows, each in words of JSON: true is another value than 1."""
    found = set()
    for of, document in (("live", revisions.live_document()), ("rows", compile_rows())):
        plain = to_plain(document)
        opening = {name for name, role in plain["roles"].items() if role.get("admin", "none") != "none"}
        found |= {json.dumps([of, name, plain["roles"][name]["admin"]]) for name in opening}
        found |= {json.dumps([of, grant]) for grant in plain["grants"] if grant["role"] in opening}
    return found


def _columns(model: Any, **conditions: Any) -> Callable[[], Facts]:
    return lambda: {repr(row) for row in model.objects.filter(**conditions).values_list()}


def _accounts(*, local: bool, **conditions: Any) -> Facts:
    accounts = User.objects.filter(**conditions)
    of = accounts.exclude(username__startswith="sso:") if local else accounts.filter(username__startswith="sso:")
    return {repr(row) for row in of.values_list(*_ACCOUNT)}


def _powerful_tokens() -> Facts:
    """Whose roles open anything of the gateway, by the live policy."""
    return {repr((token.pk, token.roles)) for token in ServiceToken.objects.all() if gives_power(token)}


def _values(model: Any, *names: str, **conditions: Any) -> Callable[[], Facts]:
    return lambda: {repr((model._meta.label, *row)) for row in model.objects.filter(**conditions).values_list(*names)}


_ACCOUNT = ("pk", "username", "password", "is_active", "is_staff", "is_superuser", "groups", "user_permissions")
_KEY = ("kid", "purpose", "algorithm", "public_jwk", "private_key")
# By model: what may neither come nor go, what may not go, and what may not come.
Watch = dict[str, Callable[[], Facts]]
FIXED: Watch = {
    "authgate.Role": _opening,
    "authgate.RoleGrant": _opening,
    "authgate.IdentityProvider": _columns(IdentityProvider),
    "authgate.TokenIssuer": _columns(TokenIssuer),
    "auth.User": lambda: _accounts(local=True),
    "auth.Group": _values(Group, "pk", "name", "permissions"),
}
KEPT: Watch = {
    "authgate.PolicyRevision": _columns(PolicyRevision),
    "authgate.Person": _values(Person, "pk", "provider", "provider_subject", is_active=False),
    "authgate.Session": _values(Session, "sid", "person", "ended_at", ended_at__isnull=False),
    "authgate.RevokedToken": _values(RevokedToken, "jti", "expires_at"),
    "authgate.SigningKey": _values(SigningKey, *_KEY, "retired_at", retired_at__isnull=False),
    "authgate.Revocation": _values(Revocation, "issuer", "subject"),
    "authgate.MintedToken": _columns(MintedToken),
    # What has ended is never taken up again.
    "authgate.ServiceToken": _values(ServiceToken, "pk", "digest", "ended_at", ended_at__isnull=False),
    "authgate.UsedOnce": _columns(UsedOnce),
    "auth.User": lambda: _accounts(local=False, is_active=False),
}
NOT_ADDED: Watch = {
    "authgate.ServiceToken": _powerful_tokens,
    "authgate.Person": _values(Person, "pk", "provider", "provider_subject", is_active=True),
    "authgate.Session": _values(Session, "sid", "person", "expires_at", "claims", ended_at=None),
    "auth.User": lambda: _accounts(local=False, is_active=True),
}
# Routes and what they lead to are the staff's to edit, who are permitted to: they open services, never the admin.
POWERLESS = {"authgate.Upstream", "authgate.RateLimit", "authgate.Route"}
# Nobody can post to these; links between accounts, groups and permissions are watched with the accounts.
UNREGISTERED = {
    "authgate.StateVersion", "authgate.Route_roles", "authgate.UsedOnce", "authgate.EventPoll",
    "authgate.HandOver", "auth.Permission",
    "auth.Group_permissions", "auth.User_groups", "auth.User_user_permissions",
}  # fmt: skip


def facts() -> dict[str, tuple[Facts, Facts, Facts]]:
    watches = (FIXED, KEPT, NOT_ADDED)
    # Each once: roles and grants are watched by one question, which is the slowest.
    found: dict[Any, Facts] = {look: look() for watch in watches for look in watch.values()}
    labels = sorted({label for watch in watches for label in watch})
    return {label: tuple(found.get(watch.get(label), set()) for watch in watches) for label in labels}  # type: ignore[misc]


def gains(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What was gained or undone between the two, in words; nothing where all is well."""
    found = []
    for label, (fixed, kept, added) in before.items():
        now_fixed, now_kept, now_added = after[label]
        found += [f"{label}: {fact!r} changed" for fact in fixed ^ now_fixed]
        found += [f"{label}: {fact!r} is gone" for fact in kept - now_kept]
        found += [f"{label}: {fact!r} was added" for fact in now_added - added]
    keys = SigningKey.objects.values_list("public_jwk", flat=True)
    found += [f"authgate.SigningKey: {key}" for key in keys if "hostile" in str(key)]
    return found
