"""Encryption with keys derived from a secret. It opens with the same secret, for the same purpose and place."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_NONCE_BYTES = 12


class SealBroken(ValueError):
    """Sealed for another purpose or place, with another secret, or changed since."""


@lru_cache(maxsize=32)
def derive_key(secret: str, *, salt: bytes, info: str) -> AESGCM:
    """One key per purpose: what is sealed for one is noise for every other."""
    return AESGCM(HKDF(hashes.SHA256(), 32, salt=salt, info=info.encode()).derive(secret.encode("utf-8")))


def seal(content: bytes, key: AESGCM, place: str) -> bytes:
    """`place` names where it is kept, so that it cannot be moved to another row."""
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + key.encrypt(nonce, content, place.encode("utf-8"))


def unseal(sealed: bytes, key: AESGCM, place: str) -> bytes:
    """Raises SealBroken."""
    try:
        return key.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], place.encode("utf-8"))
    except (ValueError, InvalidTag) as error:
        raise SealBroken("the seal cannot be opened") from error


def unseal_by_any(sealed: bytes, keys: Iterable[AESGCM], place: str) -> bytes:
    """By the first key that opens it. Raises SealBroken."""
    for key in keys:
        with suppress(SealBroken):
            return unseal(sealed, key, place)
    raise SealBroken("the seal cannot be opened")
