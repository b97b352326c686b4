"""Nonces for DPoP proofs (RFC 9449 8): each holds for a while, and nobody has to remember it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from functools import lru_cache

from django.conf import settings

SECONDS = 120  # until another nonce is given; the one before holds for as long again


def current_nonce() -> str:
    return _nonce(int(time.time()) // SECONDS)


def is_current(nonce: str) -> bool:
    period = int(time.time()) // SECONDS
    return any(hmac.compare_digest(nonce.encode(), _nonce(one).encode()) for one in (period, period - 1))


@lru_cache(maxsize=4)
def _nonce(period: int) -> str:
    """The same on every machine that has the secret."""
    mac = hmac.digest(
        settings.SECRET_KEY.encode(), f"DPoP nonce of {settings.AUTHGATE_PUBLIC_URL} {period}".encode(), hashlib.sha256
    )
    return base64.urlsafe_b64encode(mac[:16]).rstrip(b"=").decode("ascii")
