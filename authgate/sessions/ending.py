"""Sessions that an operator ends."""

from __future__ import annotations

from django.db.models import QuerySet

from authgate.models.people import Session
from authgate.policy.powers import Actor
from authgate.policy.turns import turn_of
from authgate.sessions import store


def end_sessions(sessions: QuerySet[Session], actor: Actor, reason: str) -> int:
    """How many it ended. Raises PermissionDenied."""
    with turn_of(actor, "staff"):
        return store.end_these(sessions, reason)


def end_everything(actor: Actor, reason: str) -> tuple[int, int]:
    """How many sessions of people it ended, and how many of local accounts. Raises PermissionDenied."""
    with turn_of(actor, "superuser"):  # as whatever else is done to accounts
        return store.end_everything(reason)
