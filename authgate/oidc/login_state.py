"""Pending sign-ins, each in a sealed cookie of its own in the browser that began it; the server keeps none."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

from django.conf import settings

from authgate.models import UsedOnce
from authgate.sealing import SealBroken, seal_text, unseal_text

SECONDS = 600
MAX_PENDING = 8
# Of all of them together: a browser sends them with every request, and a server takes only so much of headers.
MAX_COOKIE_BYTES = 6 * 1024
_PURPOSE = "login"


@dataclass(frozen=True, slots=True)
class PendingLogin:
    slug: str
    next: str
    redirect_uri: str
    issued_at: int
    state: str = field(repr=False)
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)


def new_pending(slug: str, next_path: str, redirect_uri: str, now: float) -> PendingLogin:
    state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
    return PendingLogin(slug, next_path, redirect_uri, int(now), state, nonce, verifier)


def cookie_name(state: str) -> str:
    return f"{_prefix()}{_digest(state)[:12]}"


def store(pending: PendingLogin, cookies: Mapping[str, str], now: float) -> list[str]:
    """Values of Set-Cookie: this sign-in's, and the end of the oldest when there are too many."""
    name = cookie_name(pending.state)
    sealed = seal_text(json.dumps(asdict(pending)), purpose=_PURPOSE, place=name)
    return [_set_cookie(name, sealed, SECONDS), *(forget(old) for old in _surplus(cookies, len(sealed), now))]


def find(state: str, cookies: Mapping[str, str], now: float) -> PendingLogin | None:
    """Only in the browser that began it, within its time by our own clock."""
    pending = _open(cookie_name(state), cookies, now)
    # The name holds only a part of the digest.
    if pending is None or not hmac.compare_digest(pending.state.encode(), state.encode("utf-8", "replace")):
        return None
    return pending


def forget(name: str) -> str:
    return _set_cookie(name, "", 0)


def use_up(state: str, now: float) -> bool:
    """False: it was used already. The browser's copy of the cookie may be older than its end."""
    expires_at = datetime.fromtimestamp(now + 2 * SECONDS, UTC)
    _, is_first = UsedOnce.objects.get_or_create(key=f"state {_digest(state)}", defaults={"expires_at": expires_at})
    return is_first


def _surplus(cookies: Mapping[str, str], new_bytes: int, now: float) -> list[str]:
    kept: list[tuple[int, str]] = []
    gone: list[str] = []
    for name in cookies:
        if name.startswith(_prefix()):
            pending = _open(name, cookies, now)
            if pending is None:
                gone.append(name)
            else:
                kept.append((pending.issued_at, name))
    kept.sort()
    size = new_bytes + sum(len(cookies[name]) for _, name in kept)
    while kept and (len(kept) >= MAX_PENDING or size > MAX_COOKIE_BYTES):
        name = kept.pop(0)[1]
        size -= len(cookies[name])
        gone.append(name)
    return gone


def _open(name: str, cookies: Mapping[str, str], now: float) -> PendingLogin | None:
    try:
        pending = PendingLogin(**json.loads(unseal_text(cookies.get(name, ""), purpose=_PURPOSE, place=name)))
    except (SealBroken, ValueError, TypeError):
        return None
    return pending if pending.issued_at <= now + 1 and now < pending.issued_at + SECONDS else None


def _set_cookie(name: str, value: str, seconds: int) -> str:
    secure = "; Secure" if settings.SECURE else ""
    return f"{name}={value}; Max-Age={seconds}; Path=/; HttpOnly; SameSite=Lax{secure}"


def _prefix() -> str:
    return "__Host-authgate_login_" if settings.SECURE else "authgate_login_"


def _digest(state: str) -> str:
    return hashlib.sha256(state.encode("utf-8", "replace")).hexdigest()
