"""Sessions as rows: beginning and ending them. How their cookie looks is written in `cookie`."""

from __future__ import annotations

import json
import logging
import secrets
from datetime import datetime, timedelta
from typing import Any

from django.contrib.sessions.models import Session as AccountSession
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from authgate.authn.claims import is_safe_text
from authgate.models import versions
from authgate.models.people import IdentityProvider, Person, Session
from authgate.models.provider_rules import proving
from authgate.models.service_tokens import ServiceToken
from authgate.models.trust import RevokedToken
from authgate.oidc.claims import ProvenPerson
from authgate.oidc.log_words import listed
from authgate.oidc.login_state import Beginning
from authgate.oidc.provider import TokenSet
from authgate.outbound.errors import ProviderError
from authgate.sealing import seal_text
from authgate.sessions.cookie import SESSION_COOKIE_SECONDS, clear_cookie, cookie_for

__all__ = [
    "clear_cookie", "cookie_for", "end", "end_all", "end_everything", "end_others", "end_these", "end_timed_out",
    "start",
]  # fmt: skip

logger = logging.getLogger(__name__)

# Longer than any cookie lives: afterwards the row alone refuses.
REVOKED_FOR = timedelta(minutes=10)
# What nobody needs of a session that has ended, and a thief could use.
_WITHOUT_TOKENS: dict[str, Any] = {"sealed_refresh_token": "", "sealed_id_token": "", "refresh_at": None}
# Of one person at a time; those unused for longest end first.
MOST_SESSIONS = 50
_AT_ONCE = 5000  # databases bound the parameters of a query
_CLAIM_BYTES = 256 * 1024
# Of a person, for as long as there are personal tokens: every worker holds them. What is left out gives no role.
_KEPT_BYTES = 32 * 1024
_TAKEN = ("claims", "provider_sid", "sealed_id_token", "sealed_refresh_token", "refresh_at")  # of a session
_SAID = ("email", "email_verified", "name", "claims")  # of a person, by their provider
# Of one sign-in or one token alone; the last four are Keycloak's and Entra's. Each change of what is kept makes every
# worker read the tokens again.
_PASSING = frozenset((
    "iat", "nbf", "exp", "jti", "sid", "nonce", "auth_time", "at_hash", "c_hash", "s_hash",
    "session_state", "aio", "uti", "rh",
))  # fmt: skip
_LEAST_BETWEEN_REFRESHES = 60
_DEFAULT_BETWEEN_REFRESHES = 3600


def start(
    proven: ProvenPerson,
    tokens: TokenSet,
    provider: IdentityProvider,
    *,
    host: str,
    address: str,
    user_agent: str,
    replaces: str | None,
    beginning: Beginning | None = None,
) -> Session:
    """A new session ID at every sign-in; `replaces` names the one this browser had. Raises ProviderError.

    Tabs that sign in at once have one session: of two, each could be that of another host, and stay after a sign-out.
    """
    if not is_safe_text(f"{provider.slug}|{proven.subject}"):
        raise ProviderError("not_allowed", "the provider's subject is too long or holds characters that are not text")
    now = timezone.now()
    with transaction.atomic():
        person = _person(proven, _unchanged(provider), now)
        joined = None if beginning is None else _join(person, proven, tokens, beginning)
        if replaces and (joined is None or joined.sid != replaces):
            end(replaces, "signed in again")
        if joined is not None:
            return joined
        _make_room(person)
        session = Session(
            sid=secrets.token_hex(16),
            person=person,
            created_at=now,
            last_seen_at=now,
            expires_at=now + timedelta(seconds=person.provider.session_lifetime),
            host=_storable(host, 262),
            address=_storable(address, 64),
            user_agent=_storable(user_agent, 400),
            browser="" if beginning is None else beginning.browser,
        )
        _take(session, proven, tokens, now)
        session.save(force_insert=True)
    return session


def _join(person: Person, proven: ProvenPerson, tokens: TokenSet, beginning: Beginning) -> Session | None:
    """The session of another tab of this browser, where the person has signed in after this sign-in began. It has what
    the provider said last. The caller holds the person's row.
    """
    found = Session.objects.filter(
        person=person, browser__in=beginning.browsers, created_at__gte=beginning.at, ended_at=None
    ).first()
    if found is None:
        return None
    found.person = person
    _take(found, proven, tokens, timezone.now())
    changed = {name: getattr(found, name) for name in _TAKEN}
    return found if Session.objects.filter(sid=found.sid, ended_at=None).update(**changed) else None


def _take(session: Session, proven: ProvenPerson, tokens: TokenSet, now: datetime) -> None:
    take_claims(session, proven)
    seal_id_token(session, tokens)
    seal_refresh_token(session, tokens)
    if tokens.refresh_token:
        session.refresh_at = next_refresh(tokens, now)


def take_claims(session: Session, proven: ProvenPerson) -> None:
    session.claims = storable_claims(proven.claims)
    if dropped := sorted(proven.claims.keys() - session.claims.keys()):
        logger.warning(
            "claims of %s are not kept, as they are too large or no text: %s", session.person.subject, listed(dropped)
        )
    provider_sid = proven.claims.get("sid")
    session.provider_sid = provider_sid if is_safe_text(provider_sid) else ""


def seal_id_token(session: Session, tokens: TokenSet) -> None:
    """Once it is verified. An answer without one leaves the one that is there."""
    if tokens.id_token:
        session.sealed_id_token = seal_text(tokens.id_token, purpose="id token", place=session.sid)


def seal_refresh_token(session: Session, tokens: TokenSet) -> None:
    """An answer without one leaves the one that is there."""
    if tokens.refresh_token:
        session.sealed_refresh_token = seal_text(tokens.refresh_token, purpose="refresh token", place=session.sid)


def next_refresh(tokens: TokenSet, now: datetime) -> datetime:
    seconds = tokens.expires_in or _DEFAULT_BETWEEN_REFRESHES
    return now + timedelta(seconds=min(max(seconds, _LEAST_BETWEEN_REFRESHES), 24 * 3600))


def end(sid: str, reason: str) -> bool:
    """False: there was no such session, or it had ended."""
    return _end(Session.objects.filter(sid=sid), reason) > 0


def end_others(person: Person, keep_sid: str, reason: str = "signed out elsewhere") -> int:
    return _end(Session.objects.filter(person=person).exclude(sid=keep_sid), reason)


def end_all(person: Person, reason: str) -> int:
    return _end(Session.objects.filter(person=person), reason)


def end_these(sessions: QuerySet[Session], reason: str) -> int:
    return _end(sessions, reason)


def end_where(reason: str, **conditions: Any) -> int:
    return _end(Session.objects.filter(**conditions), reason)


def end_everything(reason: str) -> tuple[int, int]:
    """How many sessions of people have ended, and how many of accounts that signed in to the admin itself."""
    with transaction.atomic():
        ended = end_where(reason)
        accounts, _ = AccountSession.objects.all().delete()
    return ended, accounts


def end_timed_out(now: datetime) -> None:
    """Sessions that have been over for longer than a cookie lives, so no revocation is needed."""
    for provider in IdentityProvider.objects.all():
        # A cookie may have been given out while the idle limit was a longer one.
        idle_since = now - timedelta(seconds=max(provider.session_idle, 2 * SESSION_COOKIE_SECONDS))
        begun_since = now - timedelta(seconds=provider.session_lifetime + 2 * SESSION_COOKIE_SECONDS)
        over = Q(expires_at__lte=now) | Q(last_seen_at__lte=idle_since) | Q(created_at__lte=begun_since)
        Session.objects.filter(over, person__provider=provider, ended_at=None).update(
            ended_at=now, end_reason="timed out", **_WITHOUT_TOKENS
        )


def _make_room(person: Person) -> None:
    """For one more. The caller holds the person's row, so that two sign-ins do not count the same sessions."""
    live = Session.objects.filter(person=person, ended_at=None).order_by("-last_seen_at", "-created_at")
    surplus = list(live.values_list("sid", flat=True)[MOST_SESSIONS - 1 :])
    _end(Session.objects.filter(sid__in=surplus), f"more than {MOST_SESSIONS} sessions")


def _end(sessions: QuerySet[Session], reason: str) -> int:
    """The row ends renewal, the revocation ends the cookie that is out: both or neither."""
    now = timezone.now()
    if not sessions.filter(ended_at=None).exists():
        return 0  # without a lock: strangers may ask for the end of sessions that are none
    with transaction.atomic():
        # One after the other, in one order: two that end the same sessions wait for each other here.
        versions.lock("trust")
        seen_at = dict(sessions.filter(ended_at=None).values_list("sid", "last_seen_at"))
        sids = list(seen_at)
        if not sids:
            return 0
        for first in range(0, len(sids), _AT_ONCE):
            ending = Session.objects.filter(sid__in=sids[first : first + _AT_ONCE])
            ending.update(ended_at=now, end_reason=reason[:40], **_WITHOUT_TOKENS)
        # Its cookie was made when it was last seen: by a clock that has been set back since, that is still to come.
        RevokedToken.objects.bulk_create(
            [
                RevokedToken(jti=sid, expires_at=max(now, at) + REVOKED_FOR, reason=f"session: {reason}"[:200])
                for sid, at in seen_at.items()
            ],
            ignore_conflicts=True,
        )
        versions.bump("trust")
    return len(sids)


def _unchanged(provider: IdentityProvider) -> IdentityProvider:
    """As it is now, locked: whoever disables or changes it meanwhile waits, and then sees the new session."""
    current = IdentityProvider.objects.select_for_update().filter(pk=provider.pk, enabled=True).first()
    if current is None:
        raise ProviderError("login_expired", "the provider was removed or disabled since")
    # What was proven by another issuer, or under looser rules, proves nothing here.
    if proving(current) != proving(provider):
        raise ProviderError("login_expired", "the provider was changed since")
    return current


def _person(proven: ProvenPerson, provider: IdentityProvider, now: datetime) -> Person:
    person, _ = Person.objects.get_or_create(provider=provider, provider_subject=proven.subject)
    # Whoever deactivates this person now waits for the session, and then ends it with the others.
    person = Person.objects.select_for_update().get(pk=person.pk)
    if not person.is_active:
        raise ProviderError("not_allowed", f"{person.subject} is deactivated")
    person.provider = provider
    person.last_login_at = now
    person.save(update_fields=["last_login_at"])
    describe(person, proven)
    return person


def describe(person: Person, proven: ProvenPerson) -> None:
    """What the provider says now, also for the person's tokens. Call it in a transaction."""
    before = Person.objects.filter(pk=person.pk).values(*_SAID).first()
    person.email = proven.email if is_safe_text(proven.email) else ""
    person.email_verified = bool(person.email) and proven.claims.get("email_verified") is True
    person.name = proven.name if is_safe_text(proven.name) else ""
    person.claims = claims_to_keep(proven.claims)
    now = {name: getattr(person, name) for name in _SAID}
    if before != now:
        Person.objects.filter(pk=person.pk).update(**now)
        if ServiceToken.objects.filter(person=person, ended_at=None).exists():
            versions.bump_service_tokens()


def claims_to_keep(claims: dict[str, Any]) -> dict[str, Any]:
    """Of a person, beyond the session."""
    return storable_claims({name: value for name, value in claims.items() if name not in _PASSING}, _KEPT_BYTES)


def storable_claims(claims: dict[str, Any], left: int = _CLAIM_BYTES) -> dict[str, Any]:
    """Without what a database would refuse (NUL, half a surrogate pair, NaN), and at most `left` bytes."""
    kept: dict[str, Any] = {}
    # The small ones first: they say who and when, and one that is too large must not push them out.
    for size, name in sorted((_stored_size(name, value), name) for name, value in claims.items()):
        left -= size
        if size and left >= 0:
            kept[name] = claims[name]
    return kept


def _stored_size(name: str, value: Any) -> int:
    """0: not to be stored."""
    try:
        text = json.dumps([name, value], ensure_ascii=False, allow_nan=False)
        return 0 if "\\u0000" in text else len(text.encode("utf-8"))
    except (ValueError, RecursionError):
        return 0


def _storable(text: str, length: int) -> str:
    return text.encode("utf-8", "replace").decode("utf-8").replace("\x00", "")[:length]
