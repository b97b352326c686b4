"""Service tokens and personal tokens: opaque, made by the gateway, known by their digest. Who may make one is decided
elsewhere.

Their form is GitHub's: a prefix and a checksum, so that secret scanners find them and typing errors are told without a
look-up.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from zlib import crc32

from authgate.request import TokenTerms

PREFIX = b"agt_"
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SECRET, _CHECKSUM = 40, 6  # characters: 238 random bits, and 32 bits of CRC
_FORM = re.compile(rb"agt_[0-9A-Za-z]{46}")
_MAX_BASIC = 4096  # characters of Basic's value that are worth reading


@dataclass(frozen=True, slots=True, eq=False)
class ServiceToken:
    """A token as the database describes it. `is_over`: it was ended, or whatever it rests on was."""

    terms: TokenTerms
    subject: str
    issued_at: int
    expires_at: int
    roles: frozenset[str]  # of a personal token the chosen ones, of which its person must still have each
    is_over: bool
    email: str
    name: str
    provider: str  # of the person; empty for a service
    claims: Mapping[str, Any]  # what the grants are asked about


def new_token() -> str:
    secret = "".join(secrets.choice(_ALPHABET) for _ in range(_SECRET))
    return f"{PREFIX.decode()}{secret}{_checksum(secret.encode())}"


def may_be_service_token(unverified_token: bytes) -> bool:
    """Whether it is judged as one of these, whatever is wrong with it."""
    return unverified_token.startswith(PREFIX)


def has_checksum(unverified_token: bytes) -> bool:
    """Whether it is whole. That proves nothing: anybody can make one that is."""
    if _FORM.fullmatch(unverified_token) is None:
        return False
    secret = unverified_token[len(PREFIX) : -_CHECKSUM]
    return unverified_token[-_CHECKSUM:] == _checksum(secret).encode()


def digest_of(token: bytes) -> bytes:
    """What is stored of it. It has too many random bits to be guessed, so a fast hash will do."""
    return hashlib.sha256(token).digest()


def read_basic(authorization: bytes) -> bytes | None:
    """The password of Basic, whatever the user name, if it is a whole token of ours."""
    password = read_password(authorization)
    return password if password is not None and has_checksum(password) else None


def read_password(authorization: bytes) -> bytes | None:
    """Of Basic (RFC 7617); None: it is another scheme, or nothing that can be read."""
    scheme, _, value = authorization.partition(b" ")
    if scheme.lower() != b"basic" or len(value) > _MAX_BASIC:
        return None
    try:
        decoded = b64decode(value.strip(b" "), validate=True)
    except ValueError:
        return None
    return decoded.partition(b":")[2]


def _checksum(secret: bytes) -> str:
    number, digits = crc32(secret), ""
    for _ in range(_CHECKSUM):
        number, rest = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[rest] + digits
    return digits
