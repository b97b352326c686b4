"""Whether a token is one of ours, read from what it says of itself. Verifies nothing and lets nobody in.

The answer only chooses what is judged: a token of ours, or the session beside it. Whatever could pass for ours
counts as ours.
"""

from __future__ import annotations

import base64
import re
from typing import Any, NamedTuple

from authgate.authn.claims import shown
from authgate.authn.compact import MAX_TOKEN_BYTES, NotCompact, UnverifiedToken, read_compact, read_object
from authgate.authn.issuers import Issuer
from authgate.authn.service_tokens import has_checksum, may_be_service_token
from authgate.authn.trust import TrustSnapshot
from authgate.reason import Reason
from authgate.request import InvalidCredential

_JWS_SEGMENTS, _JWE_SEGMENTS = 3, 5
_NOT_BASE64URL = re.compile(rb"[^A-Za-z0-9_-]")
_BEFORE_JSON = b" \t\r\n\xef\xbb\xbf"  # white space, and a byte order mark
# What stands between the parts of an Authorization header, and between name and password within Basic's.
_BETWEEN = re.compile(rb"[\s,;:=\"']+")
_READ_LENIENTLY = 64  # characters in front of a header that could hide its first brace


class ForeignToken(NamedTuple):
    """A signed token that says it is of this issuer. Nothing of that is proven."""

    token: bytes
    issuer: Issuer
    unverified: UnverifiedToken
    unverified_claims: dict[str, Any]


def read_foreign(token: bytes, trust: TrustSnapshot) -> ForeignToken | None:
    """None: it is judged as a token of ours. Raises InvalidCredential for one that names an issuer nobody trusts."""
    if not trust.issuers:
        return None
    try:
        unverified = read_compact(token)
        unverified_claims = read_object(unverified.unverified_payload)
    except NotCompact:
        return None
    if _has_key_of_ours(unverified.unverified_header, trust):
        return None
    name = unverified_claims.get("iss")
    if not isinstance(name, str) or name == trust.issuer:
        return None
    issuer = trust.issuers.get(name)
    if issuer is None:
        raise InvalidCredential(Reason.WRONG_ISSUER, f"no issuer {shown(name)} is trusted here")
    return ForeignToken(token, issuer, unverified, unverified_claims)


def may_be_ours(unverified_token: bytes, trust: TrustSnapshot) -> bool:
    """False only for what certainly is not: an opaque token, or one that plainly names another issuer and no key of
    ours. A signed token that cannot be read strictly may be ours to some other reader."""
    if len(unverified_token) > MAX_TOKEN_BYTES:
        return True
    if may_be_service_token(unverified_token):
        return True
    segments = unverified_token.split(b".")
    if len(segments) < _JWS_SEGMENTS:
        return False  # no reader finds a signature in it
    try:
        return _names_us(segments, trust)
    except NotCompact:
        # Opaque tokens have dots, too. The header of a token of ours is JSON to every reader.
        return _begins_like_json(segments[0])


def names_nobody(unverified_token: bytes, trust: TrustSnapshot) -> bool:
    """Whether it does not say whose it is, so that only an issuer can tell. Never for what may be ours."""
    if may_be_ours(unverified_token, trust):
        return False
    segments = unverified_token.split(b".")
    # Of a JWE the claims are not to be seen; some repeat the issuer in the header (RFC 7519 5.3).
    readable = {_JWS_SEGMENTS: segments[:2], _JWE_SEGMENTS: segments[:1]}.get(len(segments), [])
    try:
        return not any("iss" in read_object(segment) for segment in readable)
    except NotCompact:
        return True


def holds_ours(authorization: bytes, trust: TrustSnapshot) -> bool:
    """Whether a token that may be ours stands in this header of another scheme than Bearer, or of none.

    Services take tokens from `Token`, `JWT` and Basic's password as well, and cannot know that one is revoked.
    """
    texts = (authorization, _read_basic(authorization))
    pieces = [piece for text in texts for piece in _BETWEEN.split(text)]
    signed = (piece for piece in pieces if piece.count(b".") >= _JWS_SEGMENTS - 1)
    return any(map(has_checksum, pieces)) or any(may_be_ours(piece, trust) for piece in signed)


def _read_basic(authorization: bytes) -> bytes:
    """Name and password (RFC 7617); empty for another scheme."""
    scheme, _, value = authorization.partition(b" ")
    if scheme.lower() != b"basic":
        return b""
    letters = value.strip().rstrip(b"=").replace(b"+", b"-").replace(b"/", b"_")
    try:
        return base64.urlsafe_b64decode(letters + b"=" * (-len(letters) % 4))
    except ValueError:
        return b""


def _names_us(segments: list[bytes], trust: TrustSnapshot) -> bool:
    unverified_header = read_object(segments[0])
    if _has_key_of_ours(unverified_header, trust):
        return True
    if len(segments) == _JWE_SEGMENTS:
        return "enc" not in unverified_header  # we encrypt no token
    if len(segments) != _JWS_SEGMENTS:
        return True
    return _is_issued_by_us(read_object(segments[1]), trust)


def _has_key_of_ours(unverified_header: dict[str, Any], trust: TrustSnapshot) -> bool:
    kid = unverified_header.get("kid", "")
    return not isinstance(kid, str) or kid in trust.token_keys or kid in trust.assertion_keys


def _is_issued_by_us(unverified_claims: dict[str, Any], trust: TrustSnapshot) -> bool:
    issuer = unverified_claims.get("iss", "")
    return not isinstance(issuer, str) or issuer == trust.issuer or issuer in trust.issuers


def _begins_like_json(segment: bytes) -> bool:
    """As the most lenient reader would decode it: characters that are not base64url are skipped."""
    letters = _NOT_BASE64URL.sub(b"", segment)[:_READ_LENIENTLY]
    start = base64.urlsafe_b64decode(letters[: len(letters) // 4 * 4])
    return start.lstrip(_BEFORE_JSON).startswith(b"{")
