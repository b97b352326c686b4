"""Keeping people out, and letting them in again."""

from __future__ import annotations

from authgate.models.people import Person
from authgate.models.service_tokens import ServiceToken
from authgate.policy.powers import Actor
from authgate.policy.schema import AdminAccess
from authgate.policy.turns import require, turn_of
from authgate.sessions import store
from authgate.state import service_tokens

# Whoever was kept out may be a superuser by their roles.
ACCESS_TO_ACTIVATE: AdminAccess = "superuser"


def deactivate(person: Person, actor: Actor) -> int:
    """How many sessions it ended. Raises PermissionDenied."""
    with turn_of(actor, "staff"):
        # Waits for a sign-in, which holds this row: its session then ends with the others.
        Person.objects.filter(pk=person.pk).update(is_active=False)
        service_tokens.end_these(ServiceToken.objects.filter(person=person), "person deactivated")
        return store.end_all(person, "person deactivated")


def activate(person: Person, actor: Actor) -> None:
    """Raises PermissionDenied."""
    with turn_of(actor, "staff"):
        kept_out = Person.objects.select_for_update().filter(pk=person.pk, is_active=False)
        if kept_out.exists():
            require(actor, ACCESS_TO_ACTIVATE)
            kept_out.update(is_active=True)
