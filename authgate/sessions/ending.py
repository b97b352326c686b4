"""Sessions that an operator ends."""

from __future__ import annotations

from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet

from authgate.models.people import Session
from authgate.policy.powers import Actor
from authgate.sessions import store


def end_by_operator(sessions: QuerySet[Session], actor: Actor) -> int:
    """How many it ended. Raises PermissionDenied for an actor who is no operator any more.

    Which of the staff may end sessions is their account's permission, for the admin to check.
    """
    if actor.access() == "none":
        raise PermissionDenied
    return store.end_these(sessions, "ended in admin")
