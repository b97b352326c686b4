"""Where a provider sends people back to."""

from __future__ import annotations

from django.conf import settings

from authgate.own_hosts import public_origin
from authgate.wire.authority import Authority, Origin


def redirect_uri(slug: str, origin: str = "") -> str:
    """What to register at the provider. `origin`: of another host of the gateway than the public one."""
    return f"{(origin or settings.AUTHGATE_PUBLIC_URL).rstrip('/')}{settings.AUTHGATE_AUTH_PREFIX}/callback/{slug}"


def host_origin(host: str) -> str:
    """Of an application's host: with the scheme and the port of the public URL."""
    public = public_origin()
    return str(Origin(public.scheme, Authority(host, public.authority.port)))
