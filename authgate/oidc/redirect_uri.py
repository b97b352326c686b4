"""Where a provider sends people back to."""

from __future__ import annotations

from django.conf import settings


def redirect_uri(slug: str, origin: str = "") -> str:
    """What to register at the provider. `origin`: of another host of the gateway than the public one."""
    return f"{(origin or settings.AUTHGATE_PUBLIC_URL).rstrip('/')}{settings.AUTHGATE_AUTH_PREFIX}/callback/{slug}"
