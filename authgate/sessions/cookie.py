"""The session cookie: a token of a few minutes that stands for a Session row."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Mapping
from typing import Any

from django.conf import settings

from authgate.authn.claims import is_safe_text
from authgate.authn.tokens import RESERVED_CLAIMS, Kind, mint
from authgate.models.people import Session
from authgate.state.snapshot import Snapshot

logger = logging.getLogger(__name__)

SESSION_COOKIE_SECONDS = 300
_LIVES_PER_IDLE = 5
# Browsers drop a cookie above 4096 bytes, and drop it silently: signed and in base64 this stays below.
PAYLOAD_BYTES = 2048
_FIXED_BYTES = 160  # times, sid twice and the members' names
_TEXT_BYTES = 256


def cookie_for(session: Session, snapshot: Snapshot, host: str) -> str:
    """The value of Set-Cookie, for this host alone. Raises ClaimRefused for a subject that no token can carry."""
    left = int(session.ends_at.timestamp() - time.time())
    return set_cookie(mint_cookie(session, snapshot, host), left)


def clear_cookie() -> str:
    return set_cookie("", 0)


def set_cookie(value: str, seconds: int) -> str:
    secure = "; Secure" if settings.SESSION_COOKIE_SECURE else ""
    name = settings.AUTHGATE_SESSION_COOKIE
    return f"{name}={value}; Max-Age={max(seconds, 0)}; Path=/; HttpOnly; SameSite=Lax{secure}"


def mint_cookie(session: Session, snapshot: Snapshot, host: str) -> str:
    now = int(time.time())
    person, trust = session.person, snapshot.trust
    email, name = _bounded(person.email), _bounded(person.name)
    texts = (trust.issuer, trust.audience, person.subject, email, name, host)
    taken = _FIXED_BYTES + sum(len(_json(text)) for text in texts)
    return mint(
        trust,
        person.subject,
        kind=Kind.SESSION,
        now=now,
        ttl=_seconds(session, now),
        email=email,
        name=name,
        session=session.sid,
        cookie_host=host,
        extra_claims=_carried(session, snapshot, PAYLOAD_BYTES - taken),
    )


def _seconds(session: Session, now: int) -> int:
    # last_seen_at changes only on renewal, so the cookie lives for at most a fraction of the idle limit.
    left = int(session.ends_at.timestamp()) - now
    return max(1, min(SESSION_COOKIE_SECONDS, session.person.provider.session_idle // _LIVES_PER_IDLE, left))


def _carried(session: Session, snapshot: Snapshot, budget: int) -> dict[str, Any]:
    """What the grants ask about, then what services are told, as much as there is room for: what is left out grants
    nothing, and nobody is told of it.
    """
    provider_claims = {name: value for name, value in session.claims.items() if name not in RESERVED_CLAIMS}
    asked = snapshot.grants.asked_of(provider_claims, session.person.provider.slug)
    told = {name: value for name, value in provider_claims.items() if name in snapshot.table.told_claims}
    lists = {name for name, value in {**asked, **told}.items() if isinstance(value, list)}
    carried: dict[str, Any] = {}
    for name, part in _in_order(asked, told):
        budget -= len(_json(part)) + 1 + (0 if name in carried else len(_json(name)) + 4)
        if budget < 0:
            logger.warning("the claims of %s do not fit into a cookie: %s is cut", session.person.subject, name)
            break
        carried[name] = [*carried.get(name, []), part] if name in lists else part
    return carried


def _in_order(asked: Mapping[str, Any], told: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """What both have comes as services are told it, which gives the same roles."""
    alone = {name for name, value in told.items() if not isinstance(value, list)}
    yield from _parts({name: told[name] if name in alone else value for name, value in asked.items()})
    for name, part in _parts(told):
        if name not in asked or (name not in alone and part not in asked[name]):
            yield name, part


def _parts(claims: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in claims.items():
        for part in value if isinstance(value, list) else (value,):
            yield name, part


def _bounded(text: str) -> str:
    return text if is_safe_text(text) and len(_json(text)) <= _TEXT_BYTES else ""


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
