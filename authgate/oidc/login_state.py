"""Pending sign-ins. All of one travels sealed in `state`; a small cookie binds it to the browser that began it.

The server keeps none. Tabs share the cookie that their browser already has, so that two hundred of them at once lose
nothing; only those that begin before the first answer has come have one each.
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
from typing import Any, Protocol

from django.conf import settings

from authgate.models.people import UsedOnce
from authgate.sealing import SealBroken, seal_text, unseal_text
from authgate.wire.cookies import cookie_line, cookie_pairs

SECONDS = 600
# A sign-in begun at the end of the cookie's first half still has all of its time.
COOKIE_SECONDS = 2 * SECONDS
MAX_COOKIES = 40
_CLOCKS_DIFFER = 60  # of machines that serve one site
LONGEST_STATE = 8192
_PURPOSE = "login"
# The name's suffix: the start time in hex, then a random part.
_PAIR = re.compile(rb"((?:__Host-)?authgate_login_[0-9a-f]{8}_[0-9a-f]{8})=([A-Za-z0-9_-]{1,64})")
_SUFFIX = re.compile(r"([0-9a-f]{8})_[0-9a-f]{8}")


class Bound(Protocol):
    """What only one browser can bring to its end: the one that shows this cookie with this content."""

    @property
    def cookie(self) -> str: ...
    @property
    def key(self) -> str: ...


@dataclass(frozen=True, slots=True)
class PendingLogin:
    slug: str
    next: str
    redirect_uri: str
    issued_at: int
    cookie: str
    key: str = field(repr=False)  # what the cookie holds: only this browser can show it
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)
    # The departure from another host that it goes on to: authgate.oidc.departure. Empty: it stays here.
    departure: dict[str, Any] = field(default_factory=dict, repr=False)

    def seal(self) -> str:
        """The `state` to send; nobody but the gateway reads it."""
        return seal_text(json.dumps(asdict(self)), purpose=_PURPOSE)


@dataclass(frozen=True, slots=True)
class Beginning:
    """Of a sign-in that has come back: when it was, and digests of the cookies that say in which browser."""

    at: datetime
    browser: str
    browsers: frozenset[str]  # that one, and the cookies of its other tabs


def new_pending(slug: str, next_path: str, redirect_uri: str, cookies: Mapping[str, str], now: float) -> PendingLogin:
    cookie, key = cookie_of_browser(cookies, now)
    nonce, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    return PendingLogin(slug, next_path, redirect_uri, int(now), cookie, key, nonce, verifier)


def cookie_of_browser(cookies: Mapping[str, str], now: float) -> tuple[str, str]:
    """Name and content: of the one that it has, or of a new one, which `bind` sets."""
    return _usable(cookies, now) or _new_cookie(now)


def bind(pending: Bound, cookies: Mapping[str, str], now: float) -> list[str]:
    """Values of Set-Cookie: this browser's when it has none yet, and the end of those that are too old or too many."""
    new = [] if pending.cookie in cookies else [_set_cookie(pending.cookie, pending.key, COOKIE_SECONDS)]
    return [*new, *(_set_cookie(name, "", 0) for name in _surplus(cookies, now))]


def find(state: str, cookies: Mapping[str, str], now: float) -> PendingLogin | None:
    """Only in the browser that began it, within its time by our own clock."""
    if len(state) > LONGEST_STATE:
        return None
    try:
        pending = PendingLogin(**json.loads(unseal_text(state, purpose=_PURPOSE)))
    except (SealBroken, ValueError, TypeError):
        return None
    return pending if is_its_browser(pending, cookies) and is_in_time(pending.issued_at, now) else None


def beginning(pending: PendingLogin, cookies: Mapping[str, str]) -> Beginning:
    browsers = frozenset(_digest(key) for key in (pending.key, *cookies.values()) if key)
    return Beginning(datetime.fromtimestamp(pending.issued_at, UTC), _digest(pending.key), browsers)


def is_its_browser(pending: Bound, cookies: Mapping[str, str]) -> bool:
    return hmac.compare_digest(cookies.get(pending.cookie, "").encode("utf-8", "replace"), pending.key.encode())


def is_in_time(issued_at: int, now: float) -> bool:
    return issued_at <= now + 1 and now < issued_at + SECONDS


def read_cookies(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Ours, by their exact names: Django trims U+00A0 and U+0085 off, and then __Host- protects nothing."""
    found: dict[str, str] = {}
    for pair in cookie_pairs(cookie_line(headers)):
        if match := _PAIR.fullmatch(pair):
            name = match[1].decode("ascii")
            # A second one was tossed in by another host: neither counts.
            found[name] = "" if name in found else match[2].decode("ascii")
    return found


def use_up(pending: PendingLogin, now: float) -> bool:
    """False: it was used already."""
    # Its nonce and not the text of the state, of which there may be two that read alike.
    digest = _digest(pending.nonce)
    expires_at = datetime.fromtimestamp(now + 2 * SECONDS, UTC)
    _, is_first = UsedOnce.objects.get_or_create(key=f"state {digest}", defaults={"expires_at": expires_at})
    return is_first


def _new_cookie(now: float) -> tuple[str, str]:
    return f"{_prefix()}{int(now):08x}_{secrets.token_hex(4)}", secrets.token_urlsafe(16)


def _usable(cookies: Mapping[str, str], now: float) -> tuple[str, str] | None:
    """The latest one that outlives a sign-in begun now."""
    usable = [name for name in _living(cookies, now) if cookies[name] and _ends_at(name) > now + SECONDS]
    return (usable[-1], cookies[usable[-1]]) if usable else None


def _surplus(cookies: Mapping[str, str], now: float) -> list[str]:
    living = _living(cookies, now)
    dead = sorted(name for name in cookies if name.startswith(_prefix()) and name not in living)
    return [*dead, *living[: max(0, len(living) - MAX_COOKIES)]]


def _living(cookies: Mapping[str, str], now: float) -> list[str]:
    """Names of ours, oldest first. One from the future was not set here: it would never end."""
    return sorted(
        name
        for name in cookies
        if name.startswith(_prefix()) and _ends_at(name) > now and _begun_at(name) <= now + _CLOCKS_DIFFER
    )


def _ends_at(name: str) -> int:
    return _begun_at(name) + COOKIE_SECONDS


def _begun_at(name: str) -> int:
    match = _SUFFIX.fullmatch(name.removeprefix(_prefix()))
    return int(match[1], 16) if match else 0


def _set_cookie(name: str, value: str, seconds: int) -> str:
    secure = "; Secure" if settings.SECURE else ""
    return f"{name}={value}; Max-Age={seconds}; Path=/; HttpOnly; SameSite=Lax{secure}"


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _prefix() -> str:
    return "__Host-authgate_login_" if settings.SECURE else "authgate_login_"
