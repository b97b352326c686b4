"""The Django accounts of people who sign in at a provider: what is logged under their name, what they are permitted."""

from __future__ import annotations

import hashlib
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models.signals import post_save, pre_delete, pre_save
from django.dispatch import receiver

from authgate.models.people import Person

# Django lets nobody choose a name with ":", so no local account has such a one.
PREFIX = "sso:"
# No slug begins so: an account with this name is nobody's any more.
_FORMER = f"{PREFIX}#"
_NAME_LENGTH = 150


def username_of(subject: str) -> str:
    name = PREFIX + subject
    return name if len(name) <= _NAME_LENGTH else PREFIX + hashlib.sha256(subject.encode()).hexdigest()


def deactivated_names() -> set[str]:
    accounts = User.objects.filter(username__startswith=PREFIX, is_active=False)
    return set(accounts.values_list("username", flat=True))


def lock_account(person: Person) -> None:
    """Wait for whoever deactivates it now, until the end of the caller's transaction."""
    list(User.objects.select_for_update().filter(username=username_of(person.subject)))


def find_objection(account: User) -> str | None:
    """Why it is not to be deleted: the next request of its person would make it anew."""
    name = account.username
    if account.is_active or not name.startswith(PREFIX) or name.startswith(_FORMER):
        return None
    return (
        f"{name} is deactivated. Deleting it would open /admin/ to this person again: leave it, or activate it first."
    )


@receiver(pre_save, sender=User)
def keep_powerless(instance: User, **_: object) -> None:
    """Whoever saves such an account, even on a page of its own, stores neither power nor a way in past the provider."""
    if instance.username.startswith(PREFIX):
        instance.is_staff = instance.is_superuser = False
        instance.set_unusable_password()


@receiver(pre_delete, sender=User)
def keep_deactivated(instance: User, **_: object) -> None:
    for account in User.objects.select_for_update().filter(pk=instance.pk):
        if objection := find_objection(account):
            raise ValidationError(objection)


def part_with(person: Person) -> None:
    """The next holder of the subject gets a new account: without these permissions and without these log entries."""
    with transaction.atomic():
        for account in User.objects.select_for_update().filter(username=username_of(person.subject)):
            account.groups.clear()
            account.user_permissions.clear()
            # The log entries stay with it, under a name that no subject has.
            former = f"{_FORMER}{account.pk} {person.subject}"[:_NAME_LENGTH]
            User.objects.filter(pk=account.pk).update(username=former, is_active=False)


@receiver(post_save, sender=Person)
def part_with_left_over(instance: Person, created: bool, **_: Any) -> None:
    """An account whose person went in a way that told nobody, or that was given something since."""
    if created:
        part_with(instance)
