"""Keeping people out, and letting them in again."""

from __future__ import annotations

from django.core.exceptions import PermissionDenied
from django.db import transaction

from authgate.models.people import Person
from authgate.policy.powers import Actor
from authgate.sessions import store


def deactivate(person: Person) -> int:
    """How many sessions it ended."""
    with transaction.atomic():
        # Waits for a sign-in, which holds this row: its session then ends with the others.
        Person.objects.filter(pk=person.pk).update(is_active=False)
        return store.end_all(person, "person deactivated")


def activate(person: Person, actor: Actor) -> None:
    """Raises PermissionDenied: whoever was kept out may be a superuser by their roles, so only one lets them in."""
    with transaction.atomic():
        kept_out = Person.objects.select_for_update().filter(pk=person.pk, is_active=False)
        if kept_out.exists() and actor.access() != "superuser":
            raise PermissionDenied
        kept_out.update(is_active=True)
