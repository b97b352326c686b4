"""Asks the provider again who somebody is, with the refresh token it gave."""

from __future__ import annotations

from datetime import datetime

from authgate.models import Session


def is_due(session: Session, now: datetime) -> bool:
    return bool(session.sealed_refresh_token) and session.refresh_at is not None and session.refresh_at <= now


def refresh(session: Session) -> Session | None:
    return session
