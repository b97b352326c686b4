"""Pending sign-ins. All of one travels sealed in `state`; a small cookie binds it to the browser that began it.

The server keeps none, and two hundred tabs opened at once are two hundred small cookies: with the contents in
the cookies a few dozen would outgrow what a server takes of headers, and lock the browser out.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

from django.conf import settings

from authgate.models import UsedOnce
from authgate.sealing import SealBroken, seal_text, unseal_text

SECONDS = 600
MAX_PENDING = 40  # over HTTP/2 each may be a header field of its own, and of those 100 are taken
_LONGEST_STATE = 8192
_PURPOSE = "login"
# When it was begun, so that the oldest can be told; and which of that second.
_PAIR = re.compile(rb"((?:__Host-)?authgate_login_[0-9a-f]{8}_[0-9a-f]{8})=([A-Za-z0-9_-]{1,64})")
_SUFFIX = re.compile(r"([0-9a-f]{8})_[0-9a-f]{8}")


@dataclass(frozen=True, slots=True)
class PendingLogin:
    slug: str
    next: str
    redirect_uri: str
    issued_at: int
    cookie: str
    key: str = field(repr=False)  # what the cookie holds: only the browser that began it can show it
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)

    def seal(self) -> str:
        """The `state` to send; nobody but the gateway reads it."""
        return seal_text(json.dumps(asdict(self)), purpose=_PURPOSE)


def new_pending(slug: str, next_path: str, redirect_uri: str, now: float) -> PendingLogin:
    issued_at = int(now)
    cookie = f"{_prefix()}{issued_at:08x}_{secrets.token_hex(4)}"
    nonce, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    return PendingLogin(slug, next_path, redirect_uri, issued_at, cookie, secrets.token_urlsafe(16), nonce, verifier)


def bind(pending: PendingLogin, cookies: Mapping[str, str], now: float) -> list[str]:
    """Values of Set-Cookie: this sign-in's, and the end of the oldest when there are too many."""
    return [_set_cookie(pending.cookie, pending.key, SECONDS), *map(forget, _surplus(cookies, now))]


def find(state: str, cookies: Mapping[str, str], now: float) -> PendingLogin | None:
    """Only in the browser that began it, within its time by our own clock."""
    if len(state) > _LONGEST_STATE:
        return None
    try:
        pending = PendingLogin(**json.loads(unseal_text(state, purpose=_PURPOSE)))
    except (SealBroken, ValueError, TypeError):
        return None
    is_its_browser = hmac.compare_digest(
        cookies.get(pending.cookie, "").encode("utf-8", "replace"), pending.key.encode()
    )
    is_in_time = pending.issued_at <= now + 1 and now < pending.issued_at + SECONDS
    return pending if is_its_browser and is_in_time else None


def read_cookies(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Ours, by their exact names: Django trims U+00A0 and U+0085 off, and then __Host- protects nothing."""
    found: dict[str, str] = {}
    for line in [value for name, value in headers if name == b"cookie"]:
        for pair in line.split(b";"):
            if match := _PAIR.fullmatch(pair.strip(b" \t")):
                name = match[1].decode("ascii")
                # A second one was tossed in by another host: neither counts.
                found[name] = "" if name in found else match[2].decode("ascii")
    return found


def forget(name: str) -> str:
    return _set_cookie(name, "", 0)


def use_up(pending: PendingLogin, now: float) -> bool:
    """False: it was used already. The browser's copy of the cookie may be older than its end."""
    # Its key and not the text of the state, of which there may be two that read alike.
    digest = hashlib.sha256(pending.key.encode()).hexdigest()
    expires_at = datetime.fromtimestamp(now + 2 * SECONDS, UTC)
    _, is_first = UsedOnce.objects.get_or_create(key=f"state {digest}", defaults={"expires_at": expires_at})
    return is_first


def _surplus(cookies: Mapping[str, str], now: float) -> list[str]:
    prefix = _prefix()
    names = sorted(name for name in cookies if name.startswith(prefix))
    live = [name for name in names if _is_live(name.removeprefix(prefix), now)]
    return [*(name for name in names if name not in live), *live[: max(0, len(live) - MAX_PENDING + 1)]]


def _is_live(suffix: str, now: float) -> bool:
    match = _SUFFIX.fullmatch(suffix)
    return match is not None and now < int(match[1], 16) + SECONDS


def _set_cookie(name: str, value: str, seconds: int) -> str:
    secure = "; Secure" if settings.SECURE else ""
    return f"{name}={value}; Max-Age={seconds}; Path=/; HttpOnly; SameSite=Lax{secure}"


def _prefix() -> str:
    return "__Host-authgate_login_" if settings.SECURE else "authgate_login_"
