"""Deleting people, and the providers they are known by: their sessions end, and nobody who was kept out gets in."""

from __future__ import annotations

from collections.abc import Iterable

from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.db.models.signals import pre_delete
from django.dispatch import receiver

from authgate.models.people import Person
from authgate.policy.powers import Actor
from authgate.policy.turns import turn_of
from authgate.sessions import store
from authgate.sessions.sso_accounts import deactivated_names, lock_account, part_with, username_of

_ADVICE = "Deleting this person would let them in again: leave them as they are, or activate them first."


def delete(people: QuerySet[Person], actor: Actor) -> None:
    """Raises PermissionDenied, or ValidationError while one of them is kept out."""
    with turn_of(actor, "staff"):
        people.delete()


def find_objections(people: Iterable[Person]) -> list[str]:
    """Why these are not to be deleted: a subject that nobody knows may sign in."""
    accounts = deactivated_names()
    reasons = ((person, _why_kept_out(person, accounts)) for person in people)
    return [f"{person} {why}. {_ADVICE}" for person, why in reasons if why]


def _why_kept_out(person: Person, deactivated: set[str]) -> str:
    if not person.is_active:
        return "is deactivated"
    return "has a deactivated account in /admin/" if username_of(person.subject) in deactivated else ""


@receiver(pre_delete, sender=Person)
def part_with_person(instance: Person, **_: object) -> None:
    """Whoever deletes, and whatever they delete it with. Raises ValidationError."""
    for person in Person.objects.select_for_update(of=("self",)).select_related("provider").filter(pk=instance.pk):
        lock_account(person)
        if objections := find_objections([person]):
            raise ValidationError(objections)
        store.end_all(person, "person deleted")
        part_with(person)
