"""Service tokens, made and ended. The token itself is known to whoever makes it, once."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.utils import timezone

from authgate.authn.service_tokens import digest_of, new_token
from authgate.models import versions
from authgate.models.people import IdentityProvider
from authgate.models.service_tokens import LONGEST_DAYS, ServiceToken
from authgate.policy import revisions
from authgate.policy.powers import Actor
from authgate.policy.turns import require, turn_of

DEFAULT_DAYS = 90
WARNED_BEFORE = timedelta(days=14)


class Made(NamedTuple):
    row: ServiceToken
    token: str  # kept nowhere


def create(
    name: str,
    actor: Actor,
    *,
    lasts: timedelta = timedelta(days=DEFAULT_DAYS),
    roles: Iterable[str] = (),
    networks: Iterable[str] = (),
    routes: Iterable[str] = (),
    owner: str = "",
) -> Made:
    """Raises ValidationError or PermissionDenied."""
    with turn_of(actor, "staff"):
        row = ServiceToken(
            name=name, owner=owner, roles=sorted(set(roles)), networks=list(networks), routes=sorted(set(routes))
        )
        row.created_by = actor.name[:150]
        if _gives_power(row.roles):
            require(actor, "superuser")
        _check_policy(row)
        return make(row, lasts, timedelta(days=LONGEST_DAYS))


def end(tokens: QuerySet[ServiceToken], actor: Actor, reason: str = "revoked") -> int:
    """How many had not ended before; personal ones too. Raises PermissionDenied."""
    with turn_of(actor, "staff"):
        return end_these(tokens, reason)


def make(row: ServiceToken, lasts: timedelta, longest: timedelta) -> Made:
    """Raises ValidationError. For an operation, in its transaction."""
    if not timedelta() < lasts <= longest:
        raise ValidationError({"expires_at": f"must be within {longest.days} days"})
    # One that has expired does not keep its name from the next.
    of_name = ServiceToken.objects.filter(person=row.person, name=row.name, ended_at=None)
    end_these(of_name.filter(expires_at__lte=timezone.now()), "expired")
    if of_name.exists():
        raise ValidationError({"name": "a token with this name is in force already: end it first, or choose another"})
    token = new_token()
    row.digest = digest_of(token.encode("ascii")).hex()
    row.expires_at = timezone.now() + lasts
    row.full_clean()
    row.save(force_insert=True)
    return Made(row, token)


def end_these(tokens: QuerySet[ServiceToken], reason: str) -> int:
    """How many had not ended before. For an operation, in its transaction."""
    live = tokens.filter(ended_at=None)
    if not live.exists():
        return 0
    versions.bump_service_tokens()  # first: two that end the same ones wait for each other here
    return live.update(ended_at=timezone.now(), end_reason=reason[:40])


def in_force(now: datetime) -> QuerySet[ServiceToken]:
    """As far as their own rows say."""
    return ServiceToken.objects.filter(ended_at=None, expires_at__gt=now)


def expiring(now: datetime) -> QuerySet[ServiceToken]:
    """Those of services that somebody should replace soon."""
    return in_force(now).filter(person=None, expires_at__lte=now + WARNED_BEFORE).order_by("expires_at")


def _gives_power(roles: Iterable[str]) -> bool:
    """Whether one of these opens anything of the gateway itself. A token opens no page of the admin, but who has such
    a role is for a superuser to decide.
    """
    known = revisions.live_powers().roles
    return any(role in known and known[role].admin != "none" for role in roles)


def _check_policy(row: ServiceToken) -> None:
    """What the live policy does not know would only look as if it meant something."""
    errors: dict[str, Any] = {}
    policy = revisions.live_document()
    known = {"roles": policy.roles.keys(), "routes": {route.name for route in policy.routes}}
    for field, names in known.items():
        if unknown := sorted(set(getattr(row, field)) - names):
            errors[field] = f"the live policy has no {field.removesuffix('s')} {', '.join(map(repr, unknown))}"
    if IdentityProvider.objects.filter(slug="service").exists():
        errors["name"] = "an identity provider has the slug 'service': its people would have the same subjects"
    if errors:
        raise ValidationError(errors)
