"""Proofs of possession (RFC 9449): whether whoever sends a token has the key that it is bound to.

A proof is signed for one request and used once. That it is used once is not decided here.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from authgate.authn.claims import LATEST
from authgate.authn.compact import EXTENSIONS, NotCompact, UnverifiedToken, read_compact, read_object
from authgate.authn.jwk import ALGORITHMS, PublicKey, read_key, thumbprint_of
from authgate.reason import Reason
from authgate.request import InvalidCredential, RequestFacts
from authgate.wire.authority import Authority, HostRefused, parse_authority
from authgate.wire.target import TargetRefused, canonical_path

MAX_PROOF_BYTES = 8 * 1024
WINDOW = 60  # seconds that a proof may be old, or that its clock may be ahead
# Characters of an RSA key of 4096 bits, with an exponent of 32. A client chooses its key, and could choose one that
# takes milliseconds of the event loop with each proof.
_MODULUS, _EXPONENT = 683, 6
_TYPE = "dpop+jwt"
_THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{43}")
_URI = re.compile(r"(?P<scheme>[A-Za-z]+)://(?P<authority>[^/?#]+)(?P<path>[^?#]*)(?:[?#].*)?", re.DOTALL)


class Proof(NamedTuple):
    """Signed by the token's key, for this token and this request."""

    use: str  # the same for every use of it
    expires_at: float  # it is refused from then on
    nonce: str  # empty: it has none


def bound_key(claims: Mapping[str, Any]) -> str:
    """The thumbprint of the key that a token is bound to; empty: to none. Raises InvalidCredential.

    A token that is bound in another way (RFC 8705: to a certificate) is refused: nobody here could check it.
    """
    if "cnf" not in claims:
        return ""
    confirmation = claims["cnf"]
    thumbprint = confirmation.get("jkt") if isinstance(confirmation, dict) and len(confirmation) == 1 else None
    if not isinstance(thumbprint, str) or _THUMBPRINT.fullmatch(thumbprint) is None:
        raise InvalidCredential(Reason.INVALID_TOKEN, "cnf must have jkt, the thumbprint of a key, and nothing else")
    return thumbprint


def verify_proof(unverified_proof: bytes, token: bytes, thumbprint: str, facts: RequestFacts, now: float) -> Proof:
    """`thumbprint`: of the key that the token is bound to. Raises InvalidCredential."""
    try:
        unverified = read_compact(unverified_proof, MAX_PROOF_BYTES)
        _check_signature(unverified, thumbprint)
        claims = read_object(unverified.unverified_payload)
    except NotCompact as error:
        raise InvalidCredential(Reason.BAD_PROOF, f"it is no signed JWT: {error}") from error
    issued_at, proof_id, nonce = _time(claims.get("iat")), claims.get("jti"), claims.get("nonce", "")
    if claims.get("htm") != facts.method:
        raise InvalidCredential(Reason.BAD_PROOF, "htm is not the method of the request")
    if not _is_target(claims.get("htu"), facts):
        raise InvalidCredential(Reason.BAD_PROOF, "htu is not the address of the request")
    if claims.get("ath") != _hash_of(token):
        raise InvalidCredential(Reason.BAD_PROOF, "ath is not the hash of the token")
    if abs(now - issued_at) > WINDOW:
        raise InvalidCredential(Reason.BAD_PROOF, f"iat is not within {WINDOW} seconds of now")
    if not (isinstance(proof_id, str) and proof_id and isinstance(nonce, str)):
        raise InvalidCredential(Reason.BAD_PROOF, "jti is missing, or jti or nonce is no text")
    return Proof(f"{thumbprint} {proof_id}", issued_at + WINDOW, nonce)


def _check_signature(unverified: UnverifiedToken, thumbprint: str) -> None:
    """By the very key that the token is bound to: no other one that the proof brings along is even read."""
    header = unverified.unverified_header
    algorithm, jwk = header.get("alg"), header.get("jwk")
    if (
        header.get("typ") != _TYPE
        or not isinstance(algorithm, str)
        or algorithm not in ALGORITHMS
        or not isinstance(jwk, dict)
        or any(name in header for name in EXTENSIONS)
    ):
        raise InvalidCredential(Reason.BAD_PROOF, f"its header must have typ {_TYPE}, alg and jwk, and no extension")
    if thumbprint_of(jwk) != thumbprint:
        raise InvalidCredential(Reason.BAD_PROOF, "jwk is not the key that the token is bound to (its cnf.jkt)")
    key = _key_of(unverified.signing_input.partition(b".")[0])
    if not key.verifies(algorithm, unverified.signing_input, unverified.unverified_signature):
        raise InvalidCredential(Reason.BAD_PROOF, "its signature does not match")


@lru_cache(maxsize=512)  # of up to 8 KiB each; a client's proofs all have the same header
def _key_of(header_segment: bytes) -> PublicKey:
    jwk = read_object(header_segment)["jwk"]
    key = None if _is_costly(jwk) else read_key(jwk)
    if key is None:
        raise InvalidCredential(
            Reason.BAD_PROOF, "jwk is no public key that is taken: RSA of 2048 to 4096 bits, EC or OKP"
        )
    return key


def _is_costly(jwk: Mapping[str, Any]) -> bool:
    """Of a key that has a thumbprint: what is hashed in it is text."""
    return jwk["kty"] == "RSA" and (len(jwk["n"]) > _MODULUS or len(jwk["e"]) > _EXPONENT)


def _time(value: object) -> float:
    """0.0, which is never near, for what is none. An int of JSON may be too large for a float."""
    if not isinstance(value, int | float) or not 0 < value <= LATEST:
        return 0.0
    return float(value)


def _hash_of(token: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(token).digest()).rstrip(b"=").decode("ascii")


def _is_target(uri: object, facts: RequestFacts) -> bool:
    """Whether the request went there, in any spelling (RFC 3986 6.2). Query and fragment are ignored (RFC 9449 4.3)."""
    match = _URI.fullmatch(uri) if isinstance(uri, str) else None
    if match is None or match["scheme"].lower() != facts.scheme or not match["path"].isascii():
        return False
    try:
        authority = parse_authority(match["authority"].encode())
    except (HostRefused, UnicodeEncodeError):
        return False
    return _place(authority, facts.scheme) == _place(facts.authority, facts.scheme) and _is_path(match["path"], facts)


def _place(authority: Authority, scheme: str) -> tuple[str, int]:
    return authority.host, authority.effective_port(scheme)


def _is_path(path: str, facts: RequestFacts) -> bool:
    if facts.as_sent:
        return path == facts.path
    try:
        return canonical_path(path.encode("ascii") or b"/") == facts.path
    except TargetRefused:
        return False
