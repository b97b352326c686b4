"""A sign-in that begins on an application's host, runs on the public one, and comes back with a one-time code.

A departure says where it comes back to. It travels sealed, and a cookie on the application's host binds it to the
browser that left: a code brought there by any other browser, or in answer to any other departure, is worth nothing.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlencode

from django.conf import settings

from authgate.oidc import login_state
from authgate.redirect_uri import host_origin
from authgate.sealing import SealBroken, seal_text, unseal_text

_PURPOSE = "departure"


@dataclass(frozen=True, slots=True)
class Departure:
    host: str
    next: str
    issued_at: int
    cookie: str
    key: str = field(repr=False)  # what the cookie holds: only this browser can show it
    nonce: str = field(repr=False)

    @property
    def origin(self) -> str:
        """With the scheme and the port of the public URL, whatever the browser's request named: a code goes neither
        over plain http nor to what listens on another port.
        """
        return host_origin(self.host)

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.nonce.encode()).hexdigest()

    def seal(self) -> str:
        return seal_text(json.dumps(asdict(self)), purpose=_PURPOSE)

    @property
    def login_url(self) -> str:
        """Where to begin again."""
        return self._url("login", next=self.next)

    def arrival_url(self, code: str) -> str:
        return self._url("arrive", code=code, state=self.seal())

    def _url(self, page: str, **query: str) -> str:
        return f"{self.origin}{settings.AUTHGATE_AUTH_PREFIX}/{page}?{urlencode(query)}"


def new_departure(host: str, next_path: str, cookies: Mapping[str, str], now: float) -> Departure:
    cookie, key = login_state.cookie_of_browser(cookies, now)
    return Departure(host, next_path, int(now), cookie, key, secrets.token_urlsafe(32))


def unseal(sealed: str) -> Departure | None:
    """Whoever brings it, and however late; None when it is not ours."""
    if not sealed or len(sealed) > login_state.LONGEST_STATE:
        return None
    try:
        return read(json.loads(unseal_text(sealed, purpose=_PURPOSE)))
    except (SealBroken, ValueError, TypeError):
        return None


def find(sealed: str, host: str, cookies: Mapping[str, str], now: float) -> Departure | None:
    """In time, on its host, and in the browser that left."""
    departure = unseal(sealed)
    if departure is None or departure.host != host:
        return None
    is_bound = login_state.is_its_browser(departure, cookies)
    return departure if is_bound and login_state.is_in_time(departure.issued_at, now) else None


def read(fields: Mapping[str, Any]) -> Departure | None:
    """As a pending sign-in carries it. Raises TypeError."""
    return Departure(**fields) if fields else None
