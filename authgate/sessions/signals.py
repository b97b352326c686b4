"""What a security event does here: it ends sessions, refuses tokens and keeps people out. No event lets anybody in."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from authgate.authn.foreign import is_caller
from authgate.models.people import Person, Session, UsedOnce
from authgate.models.trust import Revocation
from authgate.oidc.log_words import listed
from authgate.oidc.security_event import EventType, SecurityEvent
from authgate.oidc.subject_identifier import SubjectId
from authgate.policy.powers import Actor, Machine
from authgate.policy.turns import turn_of
from authgate.sessions import activation, revoking, store
from authgate.sessions.live import count
from authgate.state import revocation

_SIGNS_OUT = (EventType.SESSION_REVOKED, EventType.SESSIONS_REVOKED, EventType.CREDENTIAL_CHANGE)
# A session that is revoked says nothing about tokens; these speak of the whole account.
_ENDS_TOKENS = (
    EventType.SESSIONS_REVOKED, EventType.CREDENTIAL_CHANGE, EventType.ACCOUNT_DISABLED, EventType.ACCOUNT_PURGED,
)  # fmt: skip
MOST_SUBJECTS = 10_000  # of one issuer whose tokens are refused one by one
_KEEPS_OUT = (EventType.ACCOUNT_DISABLED, EventType.ACCOUNT_PURGED)


class Sender(NamedTuple):
    """Whose events these are: they reach only what rests on this sender's word."""

    slug: str
    issuer: str
    audiences: frozenset[str]
    is_issuer: bool = False  # of access tokens; else a provider of sign-in


def react_once(event: SecurityEvent, sender: Sender) -> str | None:
    """What was done, for the log. None: it was received before."""
    with transaction.atomic():
        # With the effect or not at all.
        _, is_first = UsedOnce.objects.get_or_create(
            key=used_key(sender.slug, event.jti),
            defaults={"expires_at": datetime.fromtimestamp(event.expires_at, UTC)},
        )
        return react(event, sender, Machine(f"events from {sender.slug}")) if is_first else None


def used_key(slug: str, jti: str) -> str:
    return f"event {hashlib.sha256(f'{slug} {jti}'.encode()).hexdigest()}"


def name_of(event: SecurityEvent) -> str:
    """For the log."""
    return listed([event.uri.rpartition("/")[2] if event.type else event.uri])


def react(event: SecurityEvent, sender: Sender, actor: Actor) -> str:
    """What was done, for the log. Raises PermissionDenied."""
    if event.type is EventType.VERIFICATION:
        return f"the stream works, state {listed([event.state])}"
    if event.type is None or event.type is EventType.ACCOUNT_ENABLED or event.subject is None:
        # Whoever is kept out may have been so by an operator: activating somebody again is an operator's as well.
        return "nothing to do"
    if sender.is_issuer:
        return _refuse_tokens(event, event.subject, sender, actor)
    with turn_of(actor, "staff"):
        people, sessions = _people(event.subject, sender), _sessions(event.subject, sender)
        if event.type is EventType.TOKEN_CLAIMS_CHANGE:
            return _ask_again(people, sessions)
        return _sign_out(event, people, sessions, actor)


def _refuse_tokens(event: SecurityEvent, meant: SubjectId, sender: Sender, actor: Actor) -> str:
    """Whatever the event says of the subject, the tokens that they were given before do not say it."""
    name = meant.subject if meant.issuer == sender.issuer else meant.opaque
    # Nothing is known of an issuer's callers: neither their addresses nor their sessions.
    if not is_caller(name):
        return "names nobody who could be known here"
    subject, reason = f"{sender.slug}|{name}", f"{name_of(event)} event"
    refused = Revocation.objects.filter(subject__startswith=f"{sender.slug}|")
    if refused.count() >= MOST_SUBJECTS and not refused.filter(subject=subject).exists():
        # Each is in the memory of all workers for a year, and an issuer may name as many as it likes.
        revoking.revoke_issuer(sender.slug, reason, actor)
        return f"{subject}, after {MOST_SUBJECTS} others: all tokens of {sender.slug} issued before are refused"
    revoking.revoke_subject(subject, reason, actor)
    return f"{subject}: tokens issued before are refused"


def _sign_out(event: SecurityEvent, people: QuerySet[Person], sessions: QuerySet[Session], actor: Actor) -> str:
    # Waits for a sign-in, which holds this row: its session then ends with the others.
    found = list(people.select_for_update(of=("self",)))
    ended = 0
    if event.type in _KEEPS_OUT:
        ended += sum(activation.deactivate(person, actor) for person in found)
    ended += store.end_these(sessions, f"{name_of(event)} event")
    if event.type in _ENDS_TOKENS:
        for person in found:
            revocation.refuse_all_of(subject=person.subject, reason=f"{name_of(event)} event")
    return f"{_named(found)}: {count(ended, 'session')} ended"


def _ask_again(people: QuerySet[Person], sessions: QuerySet[Session]) -> str:
    """The provider is asked at the next renewal; where it cannot be, the session ends."""
    found, now = list(people.select_for_update(of=("self",))), timezone.now()
    # Where it is being asked at this moment, its answer may be from before the change.
    unasked = Q(sealed_refresh_token="") | Q(refresh_lock_until__gt=now)
    ended = store.end_these(sessions.filter(unasked), "token-claims-change event")
    due = sessions.filter(ended_at=None).update(refresh_at=now)
    return f"{_named(found)}: {count(due, 'session')} to refresh, {count(ended, 'session')} ended"


def _named(people: Iterable[Person]) -> str:
    return ", ".join(person.subject for person in people) or "names nobody who is known here"


def _people(subject: SubjectId, sender: Sender) -> QuerySet[Person]:
    return Person.objects.select_related("provider").filter(_is_meant(subject, sender), provider__slug=sender.slug)


def _is_meant(subject: SubjectId, sender: Sender) -> Q:
    if subject.subject:
        # Somebody of another issuer is somebody else, whatever they are called there.
        return Q(provider_subject=subject.subject) if subject.issuer == sender.issuer else Q(pk__in=())
    if subject.email:
        # Only where this provider vouches for it: elsewhere anybody could have entered it.
        return Q(email__iexact=subject.email, email_verified=True)
    return Q(provider_subject=subject.opaque) if subject.opaque else Q(pk__in=())


def _sessions(subject: SubjectId, sender: Sender) -> QuerySet[Session]:
    """Of these people, or the one that is named as the provider names it."""
    of_people = Q(person__in=_people(subject, sender))
    named = subject.session or subject.opaque
    meant = of_people | Q(provider_sid=named) if named else of_people
    return Session.objects.filter(meant, person__provider__slug=sender.slug)
