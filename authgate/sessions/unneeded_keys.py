"""Signing keys that sign no more retire by themselves, once everything that they have signed has expired."""

from __future__ import annotations

from datetime import datetime, timedelta

from authgate.models.people import Session
from authgate.models.trust import SigningKey
from authgate.state.signing_keys import Purpose, find_current, in_files, signer_of

# A worker that is slow to take the next key up, an assertion or a cookie of five minutes, clocks that differ.
_LEAST = timedelta(hours=1)


def retire_unneeded(now: datetime) -> None:
    """Keys that sign no more, once everything that they have signed has expired. Inside the lock of the trust, when
    sessions that have timed out are ended.
    """
    for purpose in Purpose:
        keys = find_current(purpose)
        signer = None if in_files(purpose) else signer_of(keys, now)
        for key in keys:
            if key is not signer and key.signs_from <= now:
                _let_go(key, now)


def _let_go(key: SigningKey, now: datetime) -> None:
    if key.stopped_at is None:
        # Not by `save`, whose signals would make every worker load its trust again.
        SigningKey.objects.filter(pk=key.pk).update(stopped_at=now)
    elif key.stopped_at + _LEAST < now and not _is_needed(key, key.stopped_at, now):
        key.retired_at = now
        key.save(update_fields=["retired_at"])


def _is_needed(key: SigningKey, stopped_at: datetime, now: datetime) -> bool:
    if key.last_expires_at is not None and key.last_expires_at + _LEAST > now:
        return True
    live = Session.objects.filter(ended_at=None, last_seen_at__lte=stopped_at)
    # Long after its end, the cookie of a session is still what gets its browser another one.
    return key.purpose == Purpose.TOKENS and live.exists()
