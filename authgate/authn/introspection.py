"""Answers of issuers about their tokens (RFC 7662, RFC 9701): how the gateway says who asks, and what is an answer.

An answer is believed because it comes over TLS from the issuer's endpoint, or is signed by the issuer as well.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping
from dataclasses import replace
from math import ceil
from typing import Any
from urllib.parse import quote_plus

from authgate.authn.compact import NotCompact, read_compact, read_object, read_plain_object, write_object
from authgate.authn.foreign import Proven, check_kind, choose_key, prove
from authgate.authn.issuers import Introspection, Issuer
from authgate.authn.tokens import Kind, sign_payload
from authgate.authn.trust import TrustSnapshot
from authgate.reason import Reason
from authgate.request import InvalidCredential

MAX_BYTES = 64 * 1024
JSON, SIGNED = "application/json", "application/token-introspection+jwt"
_SIGNED_TYPES = frozenset(("token-introspection+jwt", SIGNED))
_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_ASSERTION_SECONDS = 60
# Where answers are not kept: after so long the issuer is asked again about what goes on.
GOES_ON_SECONDS = 30
_SIGNED_SECONDS = 60  # that a signed answer may be old: a stored one tells nothing of now
_ACCESS = frozenset(("bearer", "access_token", "dpop"))


class AnswerRefused(ValueError):
    """Not an answer about the token. The text is for operators, and quotes nothing of it."""


def client_credentials(
    asked: Introspection, issuer: str, trust: TrustSnapshot, now: float
) -> tuple[str, dict[str, str]]:
    """The Authorization header, empty where there is none, and the fields of the form."""
    secret = asked.client_secret or ""
    if asked.authentication == "basic":
        # RFC 6749 2.3.1: each is form-encoded first.
        pair = f"{quote_plus(asked.client_id)}:{quote_plus(secret)}"
        return f"Basic {base64.b64encode(pair.encode()).decode()}", {}
    if asked.authentication == "post":
        return "", {"client_id": asked.client_id, "client_secret": secret}
    assertion = _assertion(asked.client_id, issuer, trust, int(now))
    return "", {
        "client_id": asked.client_id, "client_assertion_type": _ASSERTION_TYPE, "client_assertion": assertion,
    }  # fmt: skip


def _assertion(client_id: str, issuer: str, trust: TrustSnapshot, now: int) -> str:
    """RFC 7523 2.2. For the issuer alone, so that another endpoint cannot use it there."""
    claims = {
        "iss": client_id, "sub": client_id, "aud": issuer, "iat": now, "exp": now + _ASSERTION_SECONDS,
        "jti": secrets.token_urlsafe(16),
    }  # fmt: skip
    return sign_payload(write_object(claims), trust.token_signer, Kind.CLIENT)


def read_answer(content_type: str, body: bytes, issuer: Issuer, now: float) -> dict[str, Any] | None:
    """What the issuer says of an active token; None: it is not active. Raises AnswerRefused, or KeysWanted."""
    media_type = content_type.partition(";")[0].strip().lower()
    try:
        if media_type == SIGNED:
            answer = _read_signed(body, issuer, now)
        elif media_type == JSON:
            answer = read_plain_object(body)
        else:
            raise AnswerRefused("is not JSON by its Content-Type")
    except NotCompact as error:
        raise AnswerRefused(f"cannot be read: {error}") from None
    active = answer.get("active")
    if active is not True and active is not False:
        raise AnswerRefused('says neither "active": true nor "active": false')
    return answer if active else None


def prove_answer(token: bytes, answer: Mapping[str, Any], issuer: Issuer, now: float) -> Proven:
    """Raises InvalidCredential. `expires_at` is the token's own: the issuer knows its clock."""
    if answer.get("iss", issuer.issuer) != issuer.issuer:
        raise InvalidCredential(Reason.WRONG_ISSUER)
    check_kind(answer)
    token_type = answer.get("token_type", "bearer")
    if not isinstance(token_type, str) or token_type.lower() not in _ACCESS:
        raise InvalidCredential(Reason.WRONG_TYPE)  # of a refresh token, too, an issuer says that it is active
    if token_type.lower() == "dpop" and "cnf" not in answer:
        raise InvalidCredential(Reason.WRONG_TYPE)  # it is bound to a key, and nobody says to which
    # RFC 7662 2.2 leaves exp to the issuer, which is asked again as soon as its answer is old.
    seconds = issuer.introspection.seconds if issuer.introspection is not None else 0
    claims = answer if "exp" in answer else {**answer, "exp": ceil(now) + (seconds or GOES_ON_SECONDS)}
    proven = prove(token, claims, issuer, now)
    expires_at = min(proven.expires_at, int(claims["exp"]))
    if expires_at <= now:
        raise InvalidCredential(Reason.TOKEN_EXPIRED)
    return replace(proven, expires_at=expires_at)


def _read_signed(body: bytes, issuer: Issuer, now: float) -> dict[str, Any]:
    """RFC 9701 5. Raises AnswerRefused, NotCompact or KeysWanted."""
    unverified = read_compact(body.strip(), MAX_BYTES)
    kind = unverified.unverified_header.get("typ")
    if not isinstance(kind, str) or kind.lower() not in _SIGNED_TYPES:
        raise AnswerRefused("is signed as something else")
    try:
        key, algorithm = choose_key(unverified.unverified_header, issuer)
    except InvalidCredential as refused:
        raise AnswerRefused(f"is signed in a way that is not accepted: {refused.reason}") from None
    if not key.verifies(algorithm, unverified.signing_input, unverified.unverified_signature):
        raise AnswerRefused("has a signature that does not match")
    claims = read_object(unverified.unverified_payload)
    if claims.get("iss") != issuer.issuer or not _is_for_us(claims.get("aud"), issuer):
        raise AnswerRefused("is signed by another issuer or for another client")
    issued_at = claims.get("iat")
    if type(issued_at) is not int or not -_SIGNED_SECONDS <= issued_at - now <= issuer.leeway:
        raise AnswerRefused("was not signed just now")
    answer = claims.get("token_introspection")
    if not isinstance(answer, dict):
        raise AnswerRefused("has no token_introspection")
    return answer


def _is_for_us(audience: object, issuer: Issuer) -> bool:
    """By its client ID, or as the service that the tokens are for: RFC 9701 5 asks for no more than our name."""
    names = set(issuer.audiences)
    if issuer.introspection is not None:
        names.add(issuer.introspection.client_id)
    audiences = audience if isinstance(audience, list) else [audience]
    return any(isinstance(name, str) and name in names for name in audiences)
