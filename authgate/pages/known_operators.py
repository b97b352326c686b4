"""Who asks for a page of the admin or for the API: told before anything is done for them, from what they sent alone."""

from __future__ import annotations

from django.conf import settings
from django.contrib.sessions.backends.db import SessionStore
from django.db import DatabaseError
from django.http import HttpRequest, parse_cookie

from authgate.gate.authenticate import recognize
from authgate.pages import local_sign_in
from authgate.ratelimit import client_key
from authgate.request import RequestFacts
from authgate.sessions.api_tokens import token_access
from authgate.sessions.operators import access_in_force, local_user
from authgate.state.snapshot import Snapshot
from authgate.threads import Lanes, Threads, TooBusy
from authgate.wire.cookies import cookie_line
from authgate.wire.headers import RawHeaders

# Anybody may send a made-up cookie: apart from all other threads, and never more than one of them for one client.
_lookups = Lanes(Threads("admin_forms", 2), 1)


def is_known(facts: RequestFacts, snapshot: Snapshot | None) -> bool:
    """Whether something signed says so: a role that opens the admin or the API, or a local password that was right
    before."""
    by_role = snapshot is not None and _has_role(facts, snapshot)
    return by_role or local_sign_in.is_known(facts.headers)


async def may_send_large_forms(facts: RequestFacts, snapshot: Snapshot | None) -> bool:
    """Larger than a stranger's. Raises TooBusy. A session of single sign-on is told without the database."""
    if snapshot is not None and _has_role(facts, snapshot):
        return True
    key = _session_key(facts.headers)
    return bool(key) and await _lookups.run(client_key(facts.client), _is_local_staff, key)


def _has_role(facts: RequestFacts, snapshot: Snapshot) -> bool:
    identity = recognize(facts, snapshot)
    if identity is None:
        return False
    if identity.session_id:
        return access_in_force(identity) != "none"
    return token_access(identity, snapshot.document) != "none"


def _session_key(headers: RawHeaders) -> str:
    """Django's."""
    return parse_cookie(cookie_line(headers).decode("latin-1")).get(settings.SESSION_COOKIE_NAME, "")


def _is_local_staff(session_key: str) -> bool:
    request = HttpRequest()
    request.session = SessionStore(session_key)
    try:
        user = local_user(request)
    except DatabaseError as error:
        raise TooBusy from error
    return user is not None and user.is_active and user.is_staff
