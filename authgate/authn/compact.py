"""JWS compact serialization (RFC 7515 3.1), read strictly and written. Verifies nothing.

PyJWT's own reader is not used: 2.15 accepts "=" padding, stray bits and duplicate members.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

from authgate.wire.strict_json import NotStrictJson, read_json

MAX_TOKEN_BYTES = 16 * 1024
MAX_DEPTH = 16
EXTENSIONS = ("crit", "b64", "enc", "zip")  # none is understood (RFC 7515 4.1.11, RFC 7797)
_COMPACT = re.compile(rb"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")


class NotCompact(ValueError):
    """Not a JWS this gateway could have written."""


class UnverifiedToken(NamedTuple):
    unverified_header: dict[str, Any]
    unverified_payload: bytes  # still encoded: nobody looks at it before the signature is proven
    signing_input: bytes
    unverified_signature: bytes


def read_compact(unverified_token: bytes, max_bytes: int = MAX_TOKEN_BYTES) -> UnverifiedToken:
    """Raises NotCompact. Only the header is decoded, and all it may do is name one of our keys."""
    # Bounded before anything looks at it: a megabyte of dots must cost nothing (CVE-2025-30204).
    if len(unverified_token) > max_bytes:
        raise NotCompact("too long")
    match = _COMPACT.fullmatch(unverified_token)
    if match is None:
        raise NotCompact("not three base64url segments")
    header, payload, signature = match.groups()
    return UnverifiedToken(_read_header(header), payload, unverified_token[: match.end(2)], _decode(signature))


def read_object(segment: bytes) -> dict[str, Any]:
    """As `read_plain_object`, of a base64url segment. Raises NotCompact."""
    return read_plain_object(_decode(segment))


def read_plain_object(raw: bytes) -> dict[str, Any]:
    """A JSON object in UTF-8 (RFC 8725 3.7) without duplicate members, bounded in depth. Raises NotCompact."""
    try:
        value = read_json(raw, MAX_DEPTH)
    except NotStrictJson as error:
        raise NotCompact(str(error)) from error
    if not isinstance(value, dict):
        raise NotCompact("not a JSON object")
    return value


# All tokens of one key and kind have the same header. Few are kept, because a stranger can write any header.
_read_header = lru_cache(maxsize=16)(read_object)


def write_object(value: dict[str, Any]) -> bytes:
    return _ENCODER.encode(value).encode("utf-8")


def write_compact(header: dict[str, str], payload: bytes, sign: Callable[[bytes], bytes]) -> str:
    """`payload` is a JSON object in UTF-8."""
    signing_input = _header_segment(**header) + b"." + _encode(payload)
    return (signing_input + b"." + _encode(sign(signing_input))).decode("ascii")


@lru_cache(maxsize=16)
def _header_segment(**header: str) -> bytes:
    return _encode(write_object(header))


def _encode(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def _decode(segment: bytes) -> bytes:
    try:
        raw = base64.urlsafe_b64decode(segment + b"=" * (-len(segment) % 4))
    except binascii.Error as error:
        raise NotCompact("not base64url") from error
    # One byte string has one spelling: without this a token has twins, each with its own place in the cache.
    if _encode(raw) != segment:
        raise NotCompact("not canonical base64url")
    return raw


_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False)
