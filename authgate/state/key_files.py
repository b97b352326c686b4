"""Signing keys for tokens that an operator keeps in files (AUTHGATE_SIGNING_KEY_FILE)."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from django.conf import settings

from authgate.authn.keys import KeyPair, KeyUnusable, read_private_key

_LARGEST = 64 * 1024


def file_keys() -> tuple[KeyPair, ...]:
    """The first one signs. Read once by each process, as serve's certificate is. Raises KeyUnusable."""
    return _read_all(settings.AUTHGATE_SIGNING_KEY_FILE)


@lru_cache(maxsize=4)
def _read_all(paths: tuple[Path, ...]) -> tuple[KeyPair, ...]:
    pairs = {pair.kid: pair for pair in map(_read, paths)}
    if len(pairs) < len(paths):
        raise KeyUnusable("AUTHGATE_SIGNING_KEY_FILE names the same key twice")
    return tuple(pairs.values())


def _read(path: Path) -> KeyPair:
    name = f"AUTHGATE_SIGNING_KEY_FILE: {str(path)!r}"
    try:
        with path.open("rb") as file:
            pem = file.read(_LARGEST)
    except OSError as error:
        raise KeyUnusable(f"{name}: {error.strerror or error}") from error
    try:
        return read_private_key(pem)
    except KeyUnusable as error:
        raise KeyUnusable(f"{name}: {error}") from error
