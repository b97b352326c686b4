"""Asks the provider again who somebody is, with the refresh token it gave."""

from __future__ import annotations

import logging
import time
from datetime import datetime, timedelta
from typing import Any

from django.db import close_old_connections, transaction
from django.db.models import Q
from django.utils import timezone

from authgate.models.people import Session
from authgate.oidc.claims import ProvenPerson, person_claims
from authgate.oidc.id_token import read_proven, verify_refreshed
from authgate.oidc.provider import ProviderClient, TokenSet
from authgate.outbound.errors import ProviderError
from authgate.sealing import SealBroken, unseal_text
from authgate.sessions import store

logger = logging.getLogger(__name__)

# Longer than one call to the provider may take: a refresh token sent twice looks stolen, and the provider would end
# everything that ever came from it (RFC 9700 4.14.2).
LOCK = timedelta(seconds=15)
RETRY = timedelta(seconds=60)
_OVER = frozenset(("not_allowed", "invalid_id_token"))
# What a refreshed ID token is compared with, and may leave out itself (Core 12.2).
_LASTING = ("iss", "azp", "nonce", "auth_time", "sid")


def is_due(session: Session, now: datetime) -> bool:
    locked = session.refresh_lock_until is not None and session.refresh_lock_until > now
    due = session.refresh_at is not None and session.refresh_at <= now
    return bool(session.sealed_refresh_token) and due and not locked


def refresh(session: Session) -> Session | None:
    """None: the session has ended. As it is while somebody else asks, or nobody answers."""
    client = ProviderClient(session.person.provider)
    try:
        client.metadata()  # before the lock: it may take as long as the call that the lock is for
    except ProviderError as error:
        return _later(session, error)
    locked = _lock(session.sid)
    return session if locked is None else _refresh(locked, client)


def _lock(sid: str) -> Session | None:
    """One at a time over all workers and machines: an UPDATE that only one of them wins."""
    now = timezone.now()
    free = Q(refresh_lock_until=None) | Q(refresh_lock_until__lte=now)
    due = Session.objects.filter(free, sid=sid, ended_at=None, refresh_at__lte=now)
    if not due.update(refresh_lock_until=now + LOCK):
        return None
    # Read only now: the refresh token may have been rotated since it was found to be due.
    return Session.objects.select_related("person__provider").get(sid=sid)


def _refresh(session: Session, client: ProviderClient) -> Session | None:
    try:
        close_old_connections()  # others need them while the provider takes its time
        used = unseal_text(session.sealed_refresh_token, purpose="refresh token", place=session.sid)
        tokens = client.refresh(used)
    except SealBroken:
        return _over(session, "its refresh token cannot be opened")
    except ProviderError as error:
        return (
            _over(session, "ended by the provider") if error.oauth_error == "invalid_grant" else _later(session, error)
        )
    if not _keep_rotated(session, tokens):
        return None
    try:
        proven = _prove(session, client, tokens)
    except ProviderError as error:
        if not (error.is_final or error.code in _OVER):
            return _later(session, error)
        logger.warning("session of %s ends with its refresh: %s: %s", session.person.subject, error.code, error.detail)
        return _over(session, f"refused: {error.code}")
    return session if proven is None else _store(session, proven, tokens)


def _prove(session: Session, client: ProviderClient, tokens: TokenSet) -> ProvenPerson | None:
    """By the rules of the first time, and the same person. None: the provider says nothing of them."""
    provider, metadata = session.person.provider, client.metadata()
    subject = session.person.provider_subject
    lasting = {name: session.claims[name] for name in _LASTING if name in session.claims} | {"sub": subject}
    if tokens.id_token:
        said = verify_refreshed(
            tokens.id_token,
            provider,
            metadata,
            client.keys,
            original=lasting,
            access_token=tokens.access_token,
            now=time.time(),
        )
    elif metadata.userinfo_endpoint:
        said = _said_before(session)
    else:
        return None
    return person_claims(provider, lasting | said, client.userinfo(tokens.access_token, subject=subject))


def _said_before(session: Session) -> dict[str, Any]:
    """A provider may leave the ID token out of a refresh (Core 12.2): what the last one said still holds."""
    if not session.sealed_id_token:
        return {}
    try:
        return read_proven(unseal_text(session.sealed_id_token, purpose="id token", place=session.sid))
    except SealBroken:
        raise ProviderError("invalid_id_token", "the ID token of sign-in cannot be opened") from None


def _keep_rotated(session: Session, tokens: TokenSet) -> bool:
    """At once: whatever fails from here on, the one before is worth nothing any more."""
    store.seal_refresh_token(session, tokens)
    return _update(
        session,
        sealed_refresh_token=session.sealed_refresh_token,
        refresh_at=store.next_refresh(tokens, timezone.now()),
        refresh_lock_until=None,
    )


def _store(session: Session, proven: ProvenPerson, tokens: TokenSet) -> Session | None:
    store.take_claims(session, proven)
    store.seal_id_token(session, tokens)
    with transaction.atomic():
        store.describe(session.person, proven)
        live = _update(
            session,
            claims=session.claims,
            provider_sid=session.provider_sid,
            sealed_id_token=session.sealed_id_token,
        )
    return session if live else None


def _update(session: Session, **values: Any) -> bool:
    """False: the session has ended meanwhile, and stays as it is."""
    return Session.objects.filter(sid=session.sid, ended_at=None).update(**values) > 0


def _over(session: Session, reason: str) -> Session | None:
    """End the session, unless our lock expired and another worker has refreshed it. Returns that one."""
    current = Session.objects.select_related("person__provider").filter(sid=session.sid, ended_at=None).first()
    if current is not None and current.sealed_refresh_token != session.sealed_refresh_token:
        return current
    store.end(session.sid, reason)
    return None


def _later(session: Session, error: ProviderError) -> Session:
    logger.warning("session of %s not refreshed: %s: %s", session.person.subject, error.code, error.detail)
    _update(session, refresh_at=timezone.now() + RETRY)
    return session
