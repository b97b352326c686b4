from __future__ import annotations

from django.conf import settings
from django.db import transaction

from authgate.models import IdentityProvider
from authgate.sessions import store


def redirect_uri(slug: str) -> str:
    """What to register at the provider."""
    return f"{settings.AUTHGATE_PUBLIC_URL}{settings.AUTHGATE_AUTH_PREFIX}/callback/{slug}"


def remove(provider: IdentityProvider) -> int:
    """How many sessions it ended: their cookies would otherwise live on for minutes without a row."""
    with transaction.atomic():
        # As those who sign in do: the provider first, then what belongs to it.
        if not IdentityProvider.objects.select_for_update().filter(pk=provider.pk).exists():
            return 0  # somebody else was faster
        ended = store.end_where("provider removed", person__provider=provider)
        provider.delete()
    return ended
