"""Codes that take a session from the public host to an application's host, where it gets a cookie of its own.

It stays one session, so its end is the end on every host.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta

from django.utils import timezone

from authgate.models.people import HandOver, Session
from authgate.oidc.departure import Departure
from authgate.outbound.errors import ProviderError
from authgate.sessions import store
from authgate.sessions.renewal import may_go_on, seen

SECONDS = 60


def give(sid: str, departure: Departure) -> str | None:
    """A code for this session; None if that is over."""
    session = Session.objects.select_related("person__provider").filter(sid=sid).first()
    if session is None or not may_go_on(session):
        return None
    code = secrets.token_urlsafe(32)
    HandOver.objects.create(
        digest=_digest(code),
        sid=sid,
        departure=departure.digest,
        expires_at=timezone.now() + timedelta(seconds=SECONDS),
    )
    return code


def take(code: str, departure: Departure | None, *, address: str, replaces: str | None) -> Session:
    """The session. `replaces` names the one that this host had of this browser. Raises ProviderError.

    `departure` is one that this host and this browser have proven to be theirs; None if they have not. The code is
    used up all the same: who sees it in a wrong browser must not have it for the right one.
    """
    row = HandOver.objects.filter(digest=_digest(code)).first()
    # Whoever deletes the row has it: of two that come at once the database lets one.
    if row is None or not HandOver.objects.filter(digest=row.digest).delete()[0]:
        raise ProviderError("login_expired", "the code is unknown, or was used already")
    if departure is None or row.departure != departure.digest:
        raise ProviderError("login_expired", "the code came to another browser or host, or answers another sign-in")
    if row.expires_at <= timezone.now():
        raise ProviderError("login_expired", "the code is too old")
    session = seen(row.sid, address)
    if session is None or not may_go_on(session):
        raise ProviderError("login_expired", "the session has ended since")
    if replaces and replaces != session.sid:
        store.end(replaces, "signed in again")
    return session


def _digest(code: str) -> str:
    return hashlib.sha256(code.encode()).hexdigest()
