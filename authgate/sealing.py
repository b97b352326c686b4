"""Secrets at rest and in cookies, as text: sealed with keys derived from AUTHGATE_SECRET_KEY."""

from __future__ import annotations

import base64

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings

from authgate.cipher import SealBroken, derive_key, seal, unseal

__all__ = ["SealBroken", "seal_text", "unseal_text"]


def seal_text(text: str, *, purpose: str, place: str = "") -> str:
    """URL-safe text. `place` names where it is kept, so that it cannot be moved to another row."""
    sealed = seal(text.encode("utf-8"), _key(purpose), place)
    return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode("ascii")


def unseal_text(sealed: str, *, purpose: str, place: str = "") -> str:
    """Raises SealBroken."""
    try:
        raw = base64.b64decode(sealed.encode("ascii") + b"=" * (-len(sealed) % 4), altchars=b"-_", validate=True)
        return unseal(raw, _key(purpose), place).decode("utf-8")
    except ValueError as error:
        raise SealBroken(f"the sealed {purpose} cannot be opened") from error


def _key(purpose: str) -> AESGCM:
    return derive_key(settings.SECRET_KEY, salt=b"authgate sealing", info=f"{purpose} v1")
