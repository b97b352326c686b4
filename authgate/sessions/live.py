"""Which sessions go on, and whom a change would cut off."""

from __future__ import annotations

import operator
from datetime import datetime, timedelta
from functools import reduce
from typing import NamedTuple

from django.db.models import Q, QuerySet
from django.utils import timezone

from authgate.models.people import IdentityProvider, Person, Session
from authgate.models.service_tokens import ServiceToken, in_force
from authgate.sessions.renewal import may_go_on

# What is stored for the provider's own use.
_SEALED = ("sealed_id_token", "sealed_refresh_token")
# The rules that are asked again at each renewal, beside `enabled`.
_RULES = ("session_idle", "session_lifetime", "require_verified_email", "allowed_domains")


class CutOff(NamedTuple):
    """Whom a change signs out."""

    people: int
    sessions: int

    def __str__(self) -> str:
        return f"{count(self.people, 'person', 'people')} with {count(self.sessions, 'live session')}"


def count(number: int, noun: str, plural: str = "") -> str:
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def signed_out(whom: CutOff) -> str:
    return f"This signs out {whom} at once." if whom.sessions else "This signs nobody out."


def ended_tokens(tokens: QuerySet[ServiceToken]) -> tuple[str, ...]:
    """In words; nothing when none of these is in force."""
    number = in_force(timezone.now()).filter(pk__in=tokens.values("pk")).count()
    return (f"This ends {count(number, 'personal token')}, for good.",) if number else ()


def is_live(now: datetime) -> Q:
    """Not ended, and within today's limits of its provider. As `renewal.is_live`, for a database."""
    in_time = [_in_time(provider, now) for provider in IdentityProvider.objects.filter(enabled=True)]
    nothing = Q(pk__in=())
    return Q(ended_at=None, expires_at__gt=now, person__is_active=True) & reduce(operator.or_, in_time, nothing)


def live(sessions: QuerySet[Session]) -> QuerySet[Session]:
    return sessions.filter(is_live(timezone.now()))


def live_sessions(person: Person) -> list[Session]:
    """Latest first."""
    return list(live(Session.objects.filter(person=person)))


def cut_off(sessions: QuerySet[Session]) -> CutOff:
    """By the end of these, as far as they are live."""
    found = live(sessions)
    return CutOff(found.order_by().values("person").distinct().count(), found.count())


def cut_off_by(provider: IdentityProvider) -> CutOff:
    """By saving it: whoever could go on by the row that is stored, and cannot by this one."""
    before = IdentityProvider.objects.filter(pk=provider.pk).first()
    own = live(Session.objects.filter(person__provider_id=provider.pk))
    if before is None or _rules(before) == _rules(provider):
        return CutOff(0, 0)
    if not provider.enabled:
        return cut_off(own)
    lost = [session for session in own.select_related("person").defer(*_SEALED).iterator() if _loses(session, provider)]
    return CutOff(len({session.person_id for session in lost}), len(lost))


def _in_time(provider: IdentityProvider, now: datetime) -> Q:
    begun = now - timedelta(seconds=provider.session_lifetime)
    seen = now - timedelta(seconds=provider.session_idle)
    return Q(person__provider=provider, created_at__gt=begun, last_seen_at__gt=seen)


def _rules(provider: IdentityProvider) -> list[object]:
    return [provider.enabled, *(getattr(provider, name) for name in _RULES)]


def _loses(session: Session, provider: IdentityProvider) -> bool:
    session.person.provider = provider
    return not may_go_on(session)
