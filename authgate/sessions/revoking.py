"""Revoking whatever a subject or an issuer has: access tokens by the time of their issue, sessions by their end."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.db.models import QuerySet

from authgate.models.issuers import TokenIssuer
from authgate.models.people import Person, Session
from authgate.policy.powers import Actor
from authgate.policy.turns import turn_of
from authgate.request import OWN_ISSUER
from authgate.sessions import store
from authgate.state import revocation


def revoke_subject(subject: str, reason: str, actor: Actor) -> int:
    """How many sessions it ended. Raises ValidationError or PermissionDenied."""
    with turn_of(actor, "staff"):
        # Waits for a sign-in, which holds this row: its session then ends with the others.
        list(_people(subject).select_for_update(of=("self",)))
        revocation.refuse_all_of(subject=subject, reason=reason)
        return store.end_these(sessions_of(subject), "revoked")


def revoke_issuer(slug: str, reason: str, actor: Actor) -> int:
    """As above. The gateway itself is one: then all sessions end. Raises ValidationError or PermissionDenied."""
    with turn_of(actor, "superuser"):
        if not is_issuer(slug):
            raise ValidationError({"issuer": f"there is no token issuer {slug!r}"})
        revocation.refuse_all_of(issuer=slug, reason=reason)
        return store.end_these(sessions_from(slug), "revoked")


def is_issuer(slug: str) -> bool:
    return slug == OWN_ISSUER or TokenIssuer.objects.filter(slug=slug).exists()


def sessions_of(subject: str) -> QuerySet[Session]:
    return Session.objects.filter(person__in=_people(subject))


def sessions_from(slug: str) -> QuerySet[Session]:
    return Session.objects.all() if slug == OWN_ISSUER else Session.objects.none()


def _people(subject: str) -> QuerySet[Person]:
    slug, _, name = subject.partition("|")
    return Person.objects.filter(provider__slug=slug, provider_subject=name)
