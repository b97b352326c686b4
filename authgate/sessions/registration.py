"""Identity providers, from the first save to their removal: the sessions that rest on one end with it."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.db import transaction

from authgate.models import versions
from authgate.models.people import IdentityProvider, Person
from authgate.sessions import store
from authgate.sessions.deletion import find_objections


def save(provider: IdentityProvider) -> int:
    """How many sessions it ended: all of them, if it is disabled. Raises ValidationError."""
    with transaction.atomic():
        provider.save()
        return 0 if provider.enabled else store.end_where("provider disabled", person__provider=provider)


def remove(provider: IdentityProvider) -> int:
    """How many sessions it ended. Raises ValidationError while somebody whom it knows is kept out."""
    with transaction.atomic():
        versions.lock("policy")  # as every change by an operator: one who edits this provider would save it anew
        # In the order of those who sign in: the provider, its people, their sessions.
        if not IdentityProvider.objects.select_for_update().filter(pk=provider.pk).exists():
            return 0  # somebody else was faster
        people = Person.objects.select_for_update(of=("self",)).select_related("provider").filter(provider=provider)
        if objections := find_objections(people.order_by("pk")):
            raise ValidationError(objections)
        ended = store.end_where("provider removed", person__provider=provider)
        provider.delete()
    return ended
