"""Secrets at rest and in cookies, as text: sealed with keys derived from AUTHGATE_SECRET_KEY."""

from __future__ import annotations

import base64
from collections.abc import Iterator

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings

from authgate.cipher import SealBroken, derive_key, seal, unseal, unseal_by_any

__all__ = [
    "SealBroken", "is_sealed_anew", "opening_secrets", "seal_bytes", "seal_text", "unseal_bytes", "unseal_text",
]  # fmt: skip


def opening_secrets() -> tuple[str, ...]:
    """The one that seals, and those that it has replaced."""
    return settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS


def seal_text(text: str, *, purpose: str, place: str = "") -> str:
    """URL-safe text. `place` names where it is kept, so that it cannot be moved to another row."""
    sealed = seal_bytes(text.encode("utf-8"), purpose=purpose, place=place)
    return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode("ascii")


def unseal_text(sealed: str, *, purpose: str, place: str = "") -> str:
    """Raises SealBroken."""
    try:
        return unseal_bytes(_decode(sealed), purpose=purpose, place=place).decode("utf-8")
    except ValueError as error:
        raise SealBroken(f"the sealed {purpose} cannot be opened") from error


def seal_bytes(content: bytes, *, purpose: str, place: str) -> bytes:
    return seal(content, _key(purpose), place)


def unseal_bytes(sealed: bytes, *, purpose: str, place: str) -> bytes:
    """Raises SealBroken."""
    return unseal_by_any(sealed, _keys(purpose), place)


def is_sealed_anew(sealed: str, *, purpose: str, place: str = "") -> bool:
    """With the secret that seals, and not with one that it has replaced."""
    try:
        unseal(_decode(sealed), _key(purpose), place)
    except ValueError:
        return False
    return True


def _decode(sealed: str) -> bytes:
    return base64.b64decode(sealed.encode("ascii") + b"=" * (-len(sealed) % 4), altchars=b"-_", validate=True)


def _key(purpose: str) -> AESGCM:
    return _derive(settings.SECRET_KEY, purpose)


def _keys(purpose: str) -> Iterator[AESGCM]:
    return (_derive(secret, purpose) for secret in opening_secrets())


def _derive(secret: str, purpose: str) -> AESGCM:
    return derive_key(secret, salt=b"authgate sealing", info=f"{purpose} v1")
