"""Whether the claims of a token whose signature is already proven are for us and in force."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeGuard

from authgate.authn.revocations import Revocations
from authgate.authn.trust import TrustSnapshot
from authgate.reason import Reason
from authgate.request import OWN_ISSUER, InvalidCredential

LEEWAY = 5  # seconds that the clocks of two machines may differ: for nbf and iat; exp is exact
MAX_TEXT = 200  # characters of sub, jti, email, name and a role
LATEST = 253402300799  # the last second of the year 9999: dates go no further
_JSON_NAMES = {type(None): "missing or null", bool: "true or false", dict: "an object", list: "a list"}
_MOST_SHOWN = 200  # characters
# A control character could end a header early, and a service may trim outer space: " alice" must not become "alice".
_UNSAFE_TEXT = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]|^\\s|\\s$")


@dataclass(frozen=True, slots=True)
class VerifiedClaims:
    """Signed by us, for us, and in force. `all` holds every claim, the named ones included."""

    subject: str
    token_id: str
    session_id: str  # empty for an access token: those are for machines, and open nothing that is for operators
    cookie_host: str  # the only one on which this cookie of a session counts; empty in those of former versions
    key_id: str  # of the key that has signed it
    issued_at: int
    expires_at: int
    scopes: frozenset[str]
    roles: frozenset[str]
    email: str
    name: str
    all: Mapping[str, Any]


def verify_claims(
    claims: dict[str, Any], trust: TrustSnapshot, now: float, expired_for: int = 0, *, key_id: str = ""
) -> VerifiedClaims:
    """Raises InvalidCredential. Call it only after the signature: the reasons tell what the token says."""
    if claims.get("iss") != trust.issuer:
        raise InvalidCredential(Reason.WRONG_ISSUER, f"iss is {shown(claims.get('iss'))}, not {trust.issuer}")
    if not _is_for(claims.get("aud"), trust.audience):
        raise InvalidCredential(Reason.WRONG_AUDIENCE, f"aud is {shown(claims.get('aud'))}")
    issued_at, expires_at = _verify_times(claims, now, expired_for)
    token_id = _text(claims, "jti")
    subject = _text(claims, "sub")
    # `sid` is reserved when tokens are minted, so only sessions carry it.
    session_id = token_id if claims.get("sid") == token_id else ""
    if token_id in trust.revoked:
        raise InvalidCredential(Reason.TOKEN_REVOKED, "its ID was revoked")
    if _is_issued_before(session_id, subject, issued_at, trust.issued_before):
        raise InvalidCredential(Reason.TOKEN_REVOKED, "whatever its subject or issuer was given before was revoked")
    return VerifiedClaims(
        subject=subject,
        token_id=token_id,
        session_id=session_id,
        cookie_host=_host(claims) if session_id else "",
        key_id=key_id,
        issued_at=issued_at,
        expires_at=expires_at,
        scopes=scopes_of(claims),
        roles=_roles(claims.get("roles", [])),
        email=_optional_text(claims, "email"),
        name=_optional_text(claims, "name"),
        all=MappingProxyType(claims),
    )


def _is_issued_before(session_id: str, subject: str, issued_at: int, revocations: Revocations | None) -> bool:
    if revocations is None or session_id:
        return False
    return revocations.refuses(OWN_ISSUER, subject, issued_at)


def is_safe_text(value: object) -> TypeGuard[str]:
    """Non-empty, bounded, and the same text for everybody who reads it from a header."""
    return isinstance(value, str) and 0 < len(value) <= MAX_TEXT and _UNSAFE_TEXT.search(value) is None


def shown(value: object) -> str:
    """For an operator. Of what is no text, only its type: strangers send large and deep ones."""
    values = value if isinstance(value, list) else [value]
    texts = (repr(item) if isinstance(item, str) else _JSON_NAMES.get(type(item), "a number") for item in values[:10])
    return (", ".join(texts) or "empty")[:_MOST_SHOWN]


def _is_for(audience: object, ours: str) -> bool:
    if isinstance(audience, list):
        return ours in audience and all(isinstance(item, str) for item in audience)
    return audience == ours


def _verify_times(claims: dict[str, Any], now: float, expired_for: int) -> tuple[int, int]:
    expires_at, issued_at, not_before = claims.get("exp"), claims.get("iat"), claims.get("nbf", 0)
    # Exactly int: JSON's true is an int to Python, 1e300 is a float, and "9999" is neither.
    if type(expires_at) is not int or type(issued_at) is not int or type(not_before) is not int:
        raise InvalidCredential(Reason.INVALID_TOKEN, "exp, iat or nbf is no whole number")
    if not 0 < expires_at <= LATEST or issued_at < 0 or not_before < 0:
        raise InvalidCredential(Reason.INVALID_TOKEN, "exp, iat or nbf is out of range")
    if expires_at + expired_for <= now:
        raise InvalidCredential(Reason.TOKEN_EXPIRED)
    if max(issued_at, not_before) > now + LEEWAY:
        raise InvalidCredential(Reason.TOKEN_NOT_YET_VALID)
    return issued_at, expires_at


def scopes_of(claims: Mapping[str, Any]) -> frozenset[str]:
    """Of `scope` (RFC 6749 3.3), or of `scp`, as Okta and Microsoft write it."""
    value = claims.get("scope", claims.get("scp"))
    words = value.split() if isinstance(value, str) else value if isinstance(value, list) else ()
    return frozenset(word for word in words if isinstance(word, str))


def _text(claims: dict[str, Any], name: str) -> str:
    value = claims.get(name)
    if not is_safe_text(value):
        raise InvalidCredential(Reason.INVALID_TOKEN, f"{name} is not a text of 1 to {MAX_TEXT} safe characters")
    return value


def _host(claims: dict[str, Any]) -> str:
    host = claims.get("cookie_host", "")
    if not isinstance(host, str):
        raise InvalidCredential(Reason.INVALID_TOKEN, "cookie_host is no text")
    return host


def _optional_text(claims: dict[str, Any], name: str) -> str:
    return _text(claims, name) if claims.get(name, "") != "" else ""


def _roles(value: object) -> frozenset[str]:
    # A string is refused, not split or taken letter by letter; an empty role name must never match one.
    if not isinstance(value, list) or not all(is_safe_text(role) for role in value):
        raise InvalidCredential(Reason.INVALID_TOKEN, "roles is not a list of names")
    return frozenset(value)
