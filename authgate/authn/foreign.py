"""Access tokens of other issuers: which of them are taken, and whom they prove.

A token's `iss` chooses the issuer, and the issuer everything else: keys, algorithms, audiences. The token's header
chooses no more than one of that issuer's keys.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from authgate.authn.claims import LATEST, is_safe_text, scopes_of, shown
from authgate.authn.compact import EXTENSIONS, UnverifiedToken
from authgate.authn.dpop import bound_key
from authgate.authn.issuers import Issuer
from authgate.authn.jwk import PublicKey
from authgate.reason import Reason
from authgate.request import InvalidCredential
from authgate.wire.claim_path import claim_at

MAX_TTL = 366 * 24 * 3600  # seconds that a token may live: no revocation is kept for longer
MAX_SUBJECT = 190  # characters, so that with its issuer's slug it is a safe text
_ACCESS_TYPES = frozenset(("at+jwt", "application/at+jwt"))  # RFC 9068 2.1
_ANY_TYPES = _ACCESS_TYPES | {"jwt", "application/jwt"}
# By these, other tokens of an issuer are known: ID tokens (Core 2, 3.1.3.6), logout tokens and security events.
_OF_OTHER_TOKENS = ("nonce", "at_hash", "c_hash", "events", "toe")
# What Keycloak (`typ`), Amazon Cognito and Ory Hydra (`token_use`) call tokens that are for nobody but their client.
_OTHER_KINDS = frozenset(("id", "id_token", "refresh", "refresh_token", "offline", "logout"))


@dataclass(frozen=True, slots=True)
class Proven:
    """The caller of an issuer's token, in the words of this gateway."""

    subject: str
    token_id: str
    issued_at: int  # 0: it does not say
    expires_at: int
    email: str
    name: str
    roles: frozenset[str]
    scopes: frozenset[str]
    audiences: frozenset[str]  # of the issuer's that are taken here, those that it is for
    key_thumbprint: str  # of the key that its sender must have; empty: it is a bearer token
    claims: Mapping[str, Any]


class KeysWanted(Exception):
    """None of the keys that are known is meant: the issuer may have a newer one."""


def verify_foreign(
    token: bytes, unverified: UnverifiedToken, unverified_claims: dict[str, Any], issuer: Issuer, now: float
) -> Proven:
    """Raises InvalidCredential, or KeysWanted. `unverified`, `unverified_claims`: what was read of `token`."""
    header = unverified.unverified_header
    _check_type(header, issuer)
    key, algorithm = choose_key(header, issuer)
    if not key.verifies(algorithm, unverified.signing_input, unverified.unverified_signature):
        raise InvalidCredential(Reason.BAD_SIGNATURE)
    check_kind(unverified_claims)
    return prove(token, unverified_claims, issuer, now)


def prove(token: bytes, claims: Mapping[str, Any], issuer: Issuer, now: float) -> Proven:
    """Call it for claims that the issuer has signed or answered. Raises InvalidCredential."""
    audiences = issuer.audiences & _texts(claims.get("aud"))
    if not audiences:
        raise InvalidCredential(Reason.WRONG_AUDIENCE, f"aud is {shown(claims.get('aud'))}")
    issued_at, expires_at = _check_times(claims, issuer, now)
    scopes = scopes_of(claims)
    if not issuer.required_scopes <= scopes:
        missing = " ".join(sorted(issuer.required_scopes - scopes))
        raise InvalidCredential(Reason.INSUFFICIENT_SCOPE, f"the issuer's required scopes: {missing} is missing")
    for where, wanted in issuer.required_claims.items():
        if not _has(claims, where, wanted):
            raise InvalidCredential(Reason.CLAIM_MISSING, f"{where} must be {wanted!r}")
    thumbprint = bound_key(claims)
    # Whoever took a bound token as a bearer token would undo what its issuer did for it (RFC 9449 7.2).
    if issuer.dpop == "off" if thumbprint else issuer.needs_dpop:
        rule = "it is bound to a key, and DPoP is off" if thumbprint else "it is bound to no key"
        raise InvalidCredential(Reason.PROOF_REQUIRED, rule)
    email, name = _text(_mapped(claims, issuer, "email")), _text(_mapped(claims, issuer, "name"))
    if claims.get("email_verified", True) is not True:
        email = ""
    return Proven(
        subject=_subject(claims, issuer),
        token_id=token_id_of(token, claims),
        issued_at=issued_at,
        expires_at=expires_at,
        email=email,
        name=name,
        roles=_texts(claim_at(claims, issuer.mapping["roles"])) if "roles" in issuer.mapping else frozenset(),
        scopes=scopes,
        audiences=audiences,
        key_thumbprint=thumbprint,
        claims=MappingProxyType({**claims, **_known_names(claims, issuer), "email": email, "name": name}),
    )


def token_id_of(token: bytes, claims: Mapping[str, Any]) -> str:
    """By which it can be revoked: its `jti`, or one that is made of the token."""
    jti = claims.get("jti")
    return jti if is_safe_text(jti) else f"sha256:{hashlib.sha256(token).hexdigest()[:32]}"


def _check_type(unverified_header: Mapping[str, Any], issuer: Issuer) -> None:
    kind = unverified_header.get("typ", "JWT")
    taken = _ACCESS_TYPES if issuer.strict_type else _ANY_TYPES
    if not isinstance(kind, str) or kind.lower() not in taken:
        raise InvalidCredential(Reason.WRONG_TYPE, f"typ is {shown(unverified_header.get('typ'))}")


def choose_key(unverified_header: Mapping[str, Any], issuer: Issuer) -> tuple[PublicKey, str]:
    """With the algorithm. Raises InvalidCredential, or KeysWanted."""
    if any(name in unverified_header for name in EXTENSIONS):
        raise InvalidCredential(Reason.INVALID_TOKEN, f"its header has one of {', '.join(sorted(EXTENSIONS))}")
    algorithm, kid = unverified_header.get("alg"), unverified_header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in issuer.algorithms:
        raise InvalidCredential(Reason.INVALID_TOKEN, f"alg is {shown(algorithm)}, which the issuer may not use")
    if not (kid is None or isinstance(kid, str)):
        raise InvalidCredential(Reason.INVALID_TOKEN, "kid is no text")
    found = [key for key in issuer.ring.keys or () if algorithm in key.algorithms and kid in (None, key.kid)]
    if not found:
        raise KeysWanted
    # Never tried in turn: the sender must not get to choose.
    if len(found) > 1:
        raise InvalidCredential(Reason.UNKNOWN_KEY, "several keys of the issuer fit, and kid names none of them")
    return found[0], algorithm


def check_kind(claims: Mapping[str, Any]) -> None:
    """A token of the same issuer that is for something else is none for us, even if it is for our audience."""
    kinds = (claims.get("typ"), claims.get("token_use"))
    if any(name in claims for name in _OF_OTHER_TOKENS) or any(
        isinstance(kind, str) and kind.lower() in _OTHER_KINDS for kind in kinds
    ):
        raise InvalidCredential(Reason.WRONG_TYPE, "its claims are those of another kind of token")


def _check_times(claims: Mapping[str, Any], issuer: Issuer, now: float) -> tuple[int, int]:
    expires_at = _time(claims, "exp")
    issued_at = _time(claims, "iat") if "iat" in claims else 0.0
    not_before = _time(claims, "nbf") if "nbf" in claims else 0.0
    if expires_at + issuer.leeway <= now:
        raise InvalidCredential(Reason.TOKEN_EXPIRED)
    if expires_at > now + MAX_TTL:
        raise InvalidCredential(Reason.INVALID_TOKEN, "exp is more than 366 days away")
    if max(issued_at, not_before) > now + issuer.leeway:
        raise InvalidCredential(Reason.TOKEN_NOT_YET_VALID)
    if "iat" not in claims and (issuer.max_age or issuer.strict_type):
        raise InvalidCredential(Reason.INVALID_TOKEN, "iat is missing")
    ends_at = expires_at + issuer.leeway
    if issuer.max_age:
        ends_at = min(ends_at, issued_at + issuer.max_age + issuer.leeway)
        if ends_at <= now:
            raise InvalidCredential(Reason.TOKEN_EXPIRED, f"it was issued more than {issuer.max_age} seconds ago")
    return int(issued_at), int(ends_at)


def _time(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    # JSON's true is an int to Python, and 1e300 is a number to JSON.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= LATEST:
        raise InvalidCredential(Reason.INVALID_TOKEN, f"{name} is {shown(value)}, which is no time")
    return float(value)


def _subject(claims: Mapping[str, Any], issuer: Issuer) -> str:
    """With the issuer's slug in front: the same `sub` of two issuers is two callers."""
    where = issuer.mapping.get("sub", "sub")
    subject = claim_at(claims, where)
    if not is_caller(subject):
        raise InvalidCredential(Reason.INVALID_TOKEN, f"{where} is not a text of 1 to {MAX_SUBJECT} safe characters")
    return f"{issuer.slug}|{subject}"


def is_caller(subject: object) -> bool:
    """Whether a token that is taken here could be about them."""
    return is_safe_text(subject) and len(subject) <= MAX_SUBJECT


def _mapped(claims: Mapping[str, Any], issuer: Issuer, name: str) -> Any:
    return claim_at(claims, issuer.mapping.get(name, name))


def _known_names(claims: Mapping[str, Any], issuer: Issuer) -> dict[str, Any]:
    """Grants ask for groups under this name, wherever the issuer writes them."""
    return {"groups": claim_at(claims, issuer.mapping["groups"])} if "groups" in issuer.mapping else {}


def _has(claims: Mapping[str, Any], where: str, wanted: Any) -> bool:
    value = claim_at(claims, where)
    values = value if isinstance(value, list) else [value]
    # In Python True == 1; in a rule they are two different things.
    return any(type(item) is type(wanted) and item == wanted for item in values)


def _texts(value: object) -> frozenset[str]:
    """Of a list, or of one text alone."""
    values = value if isinstance(value, list) else [value]
    return frozenset(item for item in values if is_safe_text(item))


def _text(value: object) -> str:
    return value if is_safe_text(value) else ""
