"""Personal tokens, made and ended by the person whose they are, from a session that lives."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from django.conf import settings
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.utils import timezone

from authgate.models.people import IdentityProvider, Person, Session
from authgate.models.service_tokens import ServiceToken, in_force
from authgate.policy.rules import GrantRules
from authgate.sessions.renewal import may_go_on
from authgate.sessions.store import claims_to_keep
from authgate.state import service_tokens
from authgate.state.service_tokens import Made
from authgate.state.token_rows import claims_of

MOST_TOKENS = 50
_MOST_ROWS = 100  # with those that are over, which are kept for a while


def create(
    sid: str, name: str, grants: GrantRules, *, lasts: timedelta, roles: Iterable[str] = (), routes: Iterable[str] = ()
) -> Made:
    """`grants`: of the policy in force. Raises ValidationError, or PermissionDenied when the session is over."""
    with transaction.atomic():
        person = _lock_person(sid)
        row = ServiceToken(
            person=person, name=name, owner=(person.email or person.subject)[:200], roles=sorted(set(roles)),
            routes=sorted(set(routes)), created_by=person.subject[:150],
        )  # fmt: skip
        if not settings.AUTHGATE_PERSONAL_TOKEN_DAYS:
            raise ValidationError("personal tokens are switched off here")
        if missing := set(row.roles) - grants.roles_of(claims_of(person), person.provider.slug):
            raise ValidationError({"roles": f"you do not have {', '.join(sorted(missing))}"})
        _make_room(person)
        return service_tokens.make(row, lasts, timedelta(days=settings.AUTHGATE_PERSONAL_TOKEN_DAYS))


def end(sid: str, number: int) -> bool:
    """False: this person has no such token in force. Raises PermissionDenied when the session is over."""
    with transaction.atomic():
        person = _lock_person(sid)
        return service_tokens.end_these(ServiceToken.objects.filter(pk=number, person=person), "ended by its owner") > 0


def _lock_person(sid: str) -> Person:
    """In the order of those who sign in. Whoever keeps this person out waits, and then finds the new token."""
    session = Session.objects.select_related("person").filter(sid=sid).first()
    if session is None:
        raise PermissionDenied
    provider = IdentityProvider.objects.select_for_update().get(pk=session.person.provider_id)
    person = Person.objects.select_for_update().get(pk=session.person_id)
    session = Session.objects.filter(sid=sid).first()
    if session is None:
        raise PermissionDenied
    person.provider, session.person = provider, person
    if not may_go_on(session):
        raise PermissionDenied
    if person.claims is None:  # signed in with a former version
        person.claims = claims_to_keep(session.claims)
        person.save(update_fields=["claims"])
    return person


def _make_room(person: Person) -> None:
    own = ServiceToken.objects.filter(person=person)
    live = in_force(timezone.now()).filter(person=person)
    if live.count() >= MOST_TOKENS:
        raise ValidationError(f"you have {MOST_TOKENS} tokens: end one first")
    over = own.exclude(pk__in=live.values("pk")).order_by("-created_at", "-pk")
    surplus = over.values_list("pk", flat=True)[_MOST_ROWS - MOST_TOKENS :]
    ServiceToken.objects.filter(pk__in=list(surplus)).delete()
