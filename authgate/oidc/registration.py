from __future__ import annotations

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction

from authgate.admin_access import username_of
from authgate.models import IdentityProvider
from authgate.sessions import store


def redirect_uri(slug: str) -> str:
    """What to register at the provider."""
    return f"{settings.AUTHGATE_PUBLIC_URL}{settings.AUTHGATE_AUTH_PREFIX}/callback/{slug}"


def remove(provider: IdentityProvider) -> int:
    """How many sessions it ended: their cookies would otherwise live on for minutes without a row."""
    with transaction.atomic():
        ended = store.end_where("provider removed", person__provider=provider)
        # Another provider may get the slug, and with it the subjects: not what their accounts in /admin/ were given.
        for person in provider.people.select_related("provider"):
            for account in User.objects.filter(username=username_of(person.subject)):
                account.groups.clear()
                account.user_permissions.clear()
        provider.delete()
    return ended
