"""Sessions of a running gateway, as rows and as the cookies that stand for them."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any

from tests.support.gateway import Gateway
from tests.support.raw import Response

_PRELUDE = """
import json, time
from datetime import timedelta
from django.utils import timezone
from authgate.authn.tokens import Kind, mint
from authgate.state.trust import load_trust
from authgate.models.people import IdentityProvider, Person, Session; from authgate.models.trust import RevokedToken
from authgate.sealing import seal_text
from authgate.sessions import store
options = json.loads({options!r})
now = timezone.now()
def ago(seconds):
    return now - timedelta(seconds=seconds)
"""
_MAKE = """
provider, _ = IdentityProvider.objects.get_or_create(
    slug=options["slug"], defaults={"client_id": "gateway", "require_verified_email": False}
)
IdentityProvider.objects.filter(pk=provider.pk).update(**options["provider"])
person, _ = Person.objects.get_or_create(provider=provider, provider_subject=options["subject"])
sid = store.secrets.token_urlsafe(32)
session = Session(
    sid=sid, person=person, created_at=now, last_seen_at=ago(options["unseen_for"]),
    expires_at=ago(-options["left"]), claims=options["claims"], **options["fields"],
)
if options["refresh_token"]:
    session.sealed_refresh_token = seal_text(options["refresh_token"], purpose="refresh token", place=sid)
    session.refresh_at = ago(1)
session.save()
cookie = mint(
    load_trust(), person.subject, kind=Kind.SESSION, now=int(time.time()) - options["cookie_age"], ttl=300, session=sid,
)
print(json.dumps([sid, cookie]))
"""
_LET_TIME_PASS = """
session = Session.objects.select_related("person").get(sid=options["sid"])
Session.objects.filter(sid=session.sid).update({change})
then = int(time.time()) - 400
print(mint(load_trust(), session.person.subject, kind=Kind.SESSION, now=then, ttl=300, session=session.sid))
"""
_ROW = """
session = Session.objects.select_related("person").get(sid=options["sid"])
print(json.dumps({
    "ended": session.ended_at is not None, "reason": session.end_reason, "address": session.address,
    "seen_ago": (now - session.last_seen_at).total_seconds(), "claims": session.claims, "email": session.person.email,
    "refresh_in": session.refresh_at and (session.refresh_at - now).total_seconds(),
    "sealed": [session.sealed_refresh_token, session.sealed_id_token],
    "revoked": RevokedToken.objects.filter(jti=session.sid, expires_at__gt=now).exists(),
}))
"""


@dataclass(frozen=True)
class Made:
    sid: str
    cookie: str

    @property
    def headers(self) -> list[tuple[str, str]]:
        return [("Cookie", f"auth_token={self.cookie}")]


def run(gateway: Gateway, code: str, **options: Any) -> str:
    return gateway.shell.run(_PRELUDE.format(options=json.dumps(options)) + code)


def make_session(
    gateway: Gateway,
    subject: str = "alice",
    *,
    slug: str = "idp",
    cookie_age: int = 0,
    unseen_for: int = 0,
    left: int = 3600,
    refresh_token: str = "",
    claims: dict[str, Any] | None = None,
    provider: dict[str, Any] | None = None,
    **fields: Any,
) -> Made:
    """A cookie lives for 300 seconds: `cookie_age=400` is an expired one of a session that lives."""
    options = {
        "subject": subject, "slug": slug, "cookie_age": cookie_age, "unseen_for": unseen_for, "left": left,
        "refresh_token": refresh_token, "claims": claims or {}, "provider": provider or {}, "fields": fields,
    }  # fmt: skip
    return Made(*json.loads(run(gateway, _MAKE, **options)))


def sid_of(cookie: str) -> str:
    """Of a session cookie's value; nothing is verified."""
    return json.loads(base64.urlsafe_b64decode(cookie.split(".")[1] + "=="))["sid"]


def let_time_pass(gateway: Gateway, sid: str, change: str) -> str:
    """What of the row is past now (`refresh_at=ago(1)`); and the session's cookie, as it was 400 seconds ago."""
    return run(gateway, _LET_TIME_PASS.format(change=change), sid=sid).strip()


def row(gateway: Gateway, sid: str) -> dict[str, Any]:
    return json.loads(run(gateway, _ROW, sid=sid))


def new_cookie(answer: Response) -> str | None:
    """The session cookie that this answer sets."""
    found = [
        value for name, value in answer.headers if name.lower() == "set-cookie" and value.startswith("auth_token=")
    ]
    assert len(found) < 2
    return found[0] if found else None
