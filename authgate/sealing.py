"""Secrets at rest and in cookies: encrypted and authenticated with keys derived from AUTHGATE_SECRET_KEY."""

from __future__ import annotations

import base64
import os
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

_NONCE_BYTES = 12


class SealBroken(ValueError):
    """Not sealed here, for another purpose or place, with another secret, or changed since."""


def seal_text(text: str, *, purpose: str, place: str = "") -> str:
    """URL-safe text. `place` names where it is kept, so that it cannot be moved to another row."""
    nonce = os.urandom(_NONCE_BYTES)
    sealed = _cipher(purpose, settings.SECRET_KEY).encrypt(nonce, text.encode("utf-8"), place.encode("utf-8"))
    return base64.urlsafe_b64encode(nonce + sealed).rstrip(b"=").decode("ascii")


def unseal_text(sealed: str, *, purpose: str, place: str = "") -> str:
    """Raises SealBroken."""
    try:
        raw = base64.b64decode(sealed.encode("ascii") + b"=" * (-len(sealed) % 4), altchars=b"-_", validate=True)
        nonce, content = raw[:_NONCE_BYTES], raw[_NONCE_BYTES:]
        return _cipher(purpose, settings.SECRET_KEY).decrypt(nonce, content, place.encode("utf-8")).decode("utf-8")
    except (ValueError, InvalidTag) as error:
        raise SealBroken(f"the sealed {purpose} cannot be opened") from error


@lru_cache(maxsize=16)
def _cipher(purpose: str, secret: str) -> AESGCM:
    # One key per purpose: what is sealed for one is noise for every other.
    derivation = HKDF(hashes.SHA256(), 32, salt=b"authgate sealing", info=f"{purpose} v1".encode())
    return AESGCM(derivation.derive(secret.encode("utf-8")))
