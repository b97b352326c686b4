"""Service tokens, made and ended. The token itself is known to whoever makes it, once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.utils import timezone

from authgate.authn.service_tokens import digest_of, new_token
from authgate.models import versions
from authgate.models.people import IdentityProvider
from authgate.models.service_tokens import LONGEST_DAYS, ServiceToken, in_force
from authgate.policy import compiler, revisions
from authgate.policy.powers import Actor
from authgate.policy.rules import GrantRules
from authgate.policy.turns import require, turn_of

DEFAULT_DAYS = 90
WARNED_BEFORE = timedelta(days=14)
_LONGEST = timedelta(days=LONGEST_DAYS)


class Made(NamedTuple):
    row: ServiceToken
    token: str  # kept nowhere


class Wanted(NamedTuple):
    """A token of a service, as an operator describes it."""

    name: str
    lasts: timedelta = timedelta(days=DEFAULT_DAYS)
    roles: Iterable[str] = ()
    networks: Iterable[str] = ()
    routes: Iterable[str] = ()
    owner: str = ""

    def row(self) -> ServiceToken:
        return ServiceToken(
            name=self.name,
            owner=self.owner,
            roles=sorted(set(self.roles)),
            networks=list(self.networks),
            routes=sorted(set(self.routes)),
        )


def create(wanted: Wanted, actor: Actor) -> Made:
    """Raises ValidationError or PermissionDenied."""
    with turn_of(actor, "staff"):
        row = wanted.row()
        if gives_power(row):
            require(actor, "superuser")
        check(wanted)
        row.created_by = actor.name[:150]
        return make(row, wanted.lasts, _LONGEST)


def check(wanted: Wanted) -> None:
    """Raises ValidationError, with all that is wrong."""
    row = wanted.row()
    _raise_all(lambda: _check_policy(row), lambda: _check_new(row, wanted.lasts, _LONGEST))


def end(tokens: QuerySet[ServiceToken], actor: Actor, reason: str = "revoked") -> int:
    """How many had not ended before; personal ones too. Raises PermissionDenied."""
    with turn_of(actor, "staff"):
        return end_these(tokens, reason)


def make(row: ServiceToken, lasts: timedelta, longest: timedelta) -> Made:
    """Raises ValidationError. For an operation, in its transaction."""
    _check_new(row, lasts, longest)
    # One that has expired does not keep its name from the next.
    end_these(ServiceToken.objects.filter(person=row.person, name=row.name), "expired")
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


def expiring(now: datetime) -> QuerySet[ServiceToken]:
    """Those of services that somebody should replace soon."""
    return in_force(now).filter(person=None, expires_at__lte=now + WARNED_BEFORE).order_by("expires_at")


def gives_power(row: ServiceToken) -> bool:
    """Whether one of its roles opens anything of the gateway itself. No token opens a page of the admin, but who has
    such a role is for a superuser to decide. Raises PolicyInvalid.
    """
    powers = revisions.live_powers()
    # Its name alone may give it a role.
    roles = GrantRules(powers.grants, compiler.check(powers)).roles_of({"sub": row.subject}).union(row.roles)
    return any(role in powers.roles and powers.roles[role].admin != "none" for role in roles)


def _raise_all(*checks: Callable[[], None]) -> None:
    """Raises the ValidationErrors of all of them as one."""
    errors: dict[str, Any] = {}
    for check_part in checks:
        try:
            check_part()
        except ValidationError as error:
            errors = error.update_error_dict(errors)
    if errors:
        raise ValidationError(errors)


def _check_new(row: ServiceToken, lasts: timedelta, longest: timedelta) -> None:
    """Raises ValidationError."""
    _raise_all(
        lambda: _check_time_and_name(row, lasts, longest),
        lambda: row.clean_fields(exclude=["digest", "expires_at"]),
        row.clean,
    )


def _check_time_and_name(row: ServiceToken, lasts: timedelta, longest: timedelta) -> None:
    errors: dict[str, Any] = {}
    if not timedelta() < lasts <= longest:
        errors["expires_at"] = f"must be more than 0 and at most {longest.days} days"
    if in_force(timezone.now()).filter(person=row.person, name=row.name).exists():
        errors["name"] = ValidationError(
            "a token with this name is in force already: end it first, or choose another", code="unique"
        )
    if errors:
        raise ValidationError(errors)


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
