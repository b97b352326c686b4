"""The gateway's own tokens: minting and verifying them. Who may do what is decided elsewhere.

Signatures are PyJWT's algorithm objects, each bound to one key in `keys`. Reading and claims are our own code,
because every rule here is stricter than the library's.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from authgate.authn.claims import LATEST, MAX_TEXT, VerifiedClaims, is_safe_text, shown, verify_claims
from authgate.authn.compact import MAX_TOKEN_BYTES, NotCompact, read_compact, read_object, write_compact, write_object
from authgate.authn.dpop import bound_key
from authgate.authn.keys import KeyPair
from authgate.authn.trust import TrustSnapshot
from authgate.reason import Reason
from authgate.request import InvalidCredential

MAX_TTL = 366 * 24 * 3600  # a machine's token is renewed at least once a year, and no revocation ends before that
RESERVED_CLAIMS = frozenset((
    "iss", "sub", "aud", "iat", "nbf", "exp", "jti", "sid", "cookie_host", "roles", "email", "name",
))  # fmt: skip
_HEADER_MEMBERS = frozenset(("alg", "kid", "typ"))


class Kind(StrEnum):
    """The `typ` of a token (RFC 8725 3.11). One kind never passes as another."""

    ACCESS = "at+jwt"
    SESSION = "session+jwt"
    ASSERTION = "assertion+jwt"  # for services behind the gateway, which itself accepts it nowhere
    CLIENT = "client-authentication+jwt"  # for issuers that the gateway asks (RFC 7523); accepted nowhere here


# A browser may carry an access token of ours as its session; a session cookie is never a bearer token.
_ACCEPTED_TYPES = {
    Kind.ACCESS: frozenset((Kind.ACCESS.value,)),
    Kind.SESSION: frozenset((Kind.SESSION.value, Kind.ACCESS.value)),
    Kind.ASSERTION: frozenset[str](),
    Kind.CLIENT: frozenset[str](),
}


class ClaimRefused(ValueError):
    """A token with this claim would be refused, so it is not minted."""


def mint(
    trust: TrustSnapshot,
    subject: str,
    *,
    kind: Kind,
    now: int,
    ttl: int,
    audience: str | None = None,
    email: str = "",
    name: str = "",
    roles: Iterable[str] = (),
    session: str = "",
    cookie_host: str = "",
    extra_claims: Mapping[str, Any] = MappingProxyType({}),
) -> str:
    """Raises ClaimRefused for whatever `verify` would refuse, save that another audience may be named.

    All tokens of a `session` have its ID, so that one revocation refuses them all; each counts on its `cookie_host`.
    """
    claims = {
        **extra_claims,
        "iss": trust.issuer,
        "sub": subject,
        "aud": trust.audience if audience is None else audience,
        "iat": now,
        "exp": now + ttl,
        "jti": session or secrets.token_hex(16),
        "roles": sorted(set(roles)),
        "email": email,
        "name": name,
        **({"sid": session} if session else {}),
        **({"cookie_host": cookie_host} if cookie_host else {}),
    }
    _check_mintable(claims, extra_claims, audience)
    try:
        token = sign_payload(write_object(claims), trust.token_signer, kind)
        read_object(token.split(".")[1].encode())
    except (ValueError, RecursionError) as error:
        raise ClaimRefused("a claim is nested too deeply or is not valid JSON") from error
    if len(token) > MAX_TOKEN_BYTES:
        raise ClaimRefused(f"the token would have {len(token)} bytes, and {MAX_TOKEN_BYTES} are accepted")
    return token


def sign_payload(payload: bytes, key: KeyPair, kind: Kind) -> str:
    header = {"alg": key.algorithm, "kid": key.kid, "typ": kind.value}
    return write_compact(header, payload, key.sign)


def verify(
    unverified_token: bytes, trust: TrustSnapshot, kind: Kind, now: float, *, expired_for: int = 0
) -> VerifiedClaims:
    """Raises InvalidCredential. Until the signature is proven the reasons tell nothing of what the token says.

    `expired_for` seconds may have passed since its end: such a token proves who may ask for another one, no more.
    """
    try:
        token = read_compact(unverified_token)
        key = _choose_key(token.unverified_header, trust, kind)
        if not key.verify(token.signing_input, token.unverified_signature):
            raise InvalidCredential(Reason.BAD_SIGNATURE)
        claims = read_object(token.unverified_payload)
    except NotCompact as error:
        raise InvalidCredential(Reason.INVALID_TOKEN, f"it is no signed JWT: {error}") from error
    return verify_claims(claims, trust, now, expired_for, key_id=key.kid)


def _choose_key(unverified_header: dict[str, Any], trust: TrustSnapshot, kind: Kind) -> KeyPair:
    # Exactly the members we write: `crit`, `b64`, `zip`, `enc`, and keys a token brings along (`jwk`, `jku`, `x5c`,
    # `x5u`) need no rule each. A reader that knew only some of them was the bypass of lua-resty-jwt.
    if unverified_header.keys() != _HEADER_MEMBERS:
        raise InvalidCredential(Reason.INVALID_TOKEN, "its header must have alg, kid and typ, and nothing else")
    kid = unverified_header["kid"]
    if not isinstance(kid, str):
        raise InvalidCredential(Reason.INVALID_TOKEN, "kid is no text")
    key = trust.token_keys.get(kid)
    if key is None:
        raise InvalidCredential(Reason.UNKNOWN_KEY, f"the gateway has no key {shown(kid)}")
    # Our key's algorithm decides; the header may only agree (CVE-2026-48523, HS256 with the public key, `none`).
    algorithm, typ = unverified_header["alg"], unverified_header["typ"]
    if algorithm != key.algorithm:
        raise InvalidCredential(Reason.INVALID_TOKEN, f"alg is {shown(algorithm)}, and its key's is {key.algorithm}")
    if not isinstance(typ, str) or typ not in _ACCEPTED_TYPES[kind]:
        raise InvalidCredential(Reason.INVALID_TOKEN, f"typ is {shown(typ)}, which is not taken here")
    return key


def _check_mintable(claims: dict[str, Any], extra_claims: Mapping[str, Any], audience: str | None) -> None:
    reserved = sorted(RESERVED_CLAIMS & extra_claims.keys())
    if reserved:
        raise ClaimRefused(f"the claim {reserved[0]!r} is set by the gateway and cannot be given as an extra one")
    texts = [("subject", claims["sub"]), *(("role", role) for role in claims["roles"])]
    texts += [(name, claims[name]) for name in ("email", "name") if claims[name]]
    if audience is not None:
        texts.append(("audience", audience))
    for what, text in texts:
        if not is_safe_text(text):
            raise ClaimRefused(
                f"the {what} must have 1 to {MAX_TEXT} characters, no control characters, and no space around it"
            )
    if "sid" not in claims:
        try:
            bound_key(claims)
        except InvalidCredential:
            raise ClaimRefused(
                "cnf must have jkt, the SHA-256 thumbprint of a key in 43 characters of base64url, and nothing else"
            ) from None
    if not claims["iat"] < claims["exp"] <= LATEST:
        raise ClaimRefused("the time to live must be positive and end before the year 10000")
