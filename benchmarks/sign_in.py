"""Sessions of the gateway whose environment this runs in, as cookies: `python -m benchmarks.sign_in COUNT`."""

from __future__ import annotations

import secrets
import sys
import time
from datetime import timedelta

import django

_SECONDS = 300


def main(count: int) -> None:
    django.setup()
    from django.conf import settings
    from django.utils import timezone

    from authgate.authn.tokens import Kind, mint
    from authgate.models.people import IdentityProvider, Person, Session
    from authgate.state.trust import load_trust

    trust, now = load_trust(), timezone.now()
    provider, _ = IdentityProvider.objects.get_or_create(slug="bench", defaults={"client_id": "bench"})
    for _ in range(count):
        sid = secrets.token_urlsafe(32)
        person = Person.objects.create(provider=provider, provider_subject=sid)
        expires = now + timedelta(seconds=_SECONDS)
        Session.objects.create(sid=sid, person=person, created_at=now, last_seen_at=now, expires_at=expires)
        cookie = mint(trust, person.subject, kind=Kind.SESSION, now=int(time.time()), ttl=_SECONDS, session=sid)
        print(f"{settings.AUTHGATE_SESSION_COOKIE}={cookie}")


if __name__ == "__main__":
    main(int(sys.argv[1]))
