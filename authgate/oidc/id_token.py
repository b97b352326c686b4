"""ID tokens, verified to the letter (OpenID Connect Core 3.1.3.7), at sign-in and when they are refreshed (12.2)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Any

from authgate.authn.compact import read_object
from authgate.models.people import IdentityProvider
from authgate.oidc.audience import find_audience_problem
from authgate.oidc.metadata import Metadata
from authgate.oidc.signed import LEEWAY, FindKeys, NotProven, read_time, verify_signed
from authgate.outbound.errors import ProviderError
from authgate.outbound.fetch import MAX_BYTES

MAX_SUBJECT = 255
_TYPES = frozenset(("jwt",))
_SUBJECT = re.compile(r"[!-~](?:[ -~]*[!-~])?")


def verify_id_token(
    raw: str,
    provider: IdentityProvider,
    metadata: Metadata,
    keys: FindKeys,
    *,
    nonce: str | None,
    access_token: str | None = None,
    now: float,
) -> dict[str, Any]:
    """The claims. `nonce=None` asks for none. Raises ProviderError("invalid_id_token")."""
    # From the token endpoint, whose answer is bounded: what a bearer may send is no measure for a person's groups.
    try:
        claims, algorithm = verify_signed(raw, metadata.algorithms, keys, _TYPES, MAX_BYTES)
        _check_issuer_and_audience(claims, provider, metadata)
        _check_times(claims, now)
    except NotProven as error:
        raise _refusal(str(error)) from None
    if not isinstance(subject := claims.get("sub"), str) or not is_subject(subject):
        raise _refusal("its sub is missing, too long or not plain text")
    if nonce is not None and not _same(claims.get("nonce"), nonce):
        raise _refusal("its nonce is not that of this sign-in")
    if "at_hash" in claims:
        _check_access_token(claims["at_hash"], algorithm, access_token)
    return claims


def verify_refreshed(
    raw: str,
    provider: IdentityProvider,
    metadata: Metadata,
    keys: FindKeys,
    *,
    original: Mapping[str, Any],
    access_token: str | None = None,
    now: float,
) -> dict[str, Any]:
    """`original`: the claims of sign-in. The refreshed ones are of the same person, and of the same sign-in."""
    claims = verify_id_token(raw, provider, metadata, keys, nonce=None, access_token=access_token, now=now)
    if claims["sub"] != original.get("sub") or claims["iss"] != original.get("iss", metadata.issuer):
        raise _refusal("the refreshed one is of another person or issuer")
    if "nonce" in claims and claims["nonce"] != original.get("nonce"):
        raise _refusal("the refreshed one has another nonce")
    if "auth_time" in claims and "auth_time" in original and claims["auth_time"] != original["auth_time"]:
        raise _refusal("the refreshed one is of another sign-in")
    if "azp" in claims and "azp" in original and claims["azp"] != original["azp"]:
        raise _refusal("the refreshed one is for another party")
    return claims


def read_proven(raw: str) -> dict[str, Any]:
    """The claims of an ID token that was verified when it came, and has been sealed since."""
    return read_object(raw.split(".")[1].encode("ascii"))


def is_subject(value: str) -> bool:
    # Core 2: at most 255 ASCII characters, compared case-sensitively.
    return len(value) <= MAX_SUBJECT and _SUBJECT.fullmatch(value) is not None


def _check_issuer_and_audience(claims: Mapping[str, Any], provider: IdentityProvider, metadata: Metadata) -> None:
    if not metadata.issuer or claims.get("iss") != metadata.issuer:
        raise NotProven("it is of another issuer")
    if problem := find_audience_problem(claims, provider):
        raise NotProven(problem)


def _check_times(claims: Mapping[str, Any], now: float) -> None:
    expires_at, issued_at = read_time(claims, "exp"), read_time(claims, "iat")
    if expires_at + LEEWAY <= now:
        raise NotProven("it has expired")
    if issued_at > now + LEEWAY or ("nbf" in claims and read_time(claims, "nbf") > now + LEEWAY):
        raise NotProven("it is from the future: compare the clocks")


def _check_access_token(at_hash: object, algorithm: str, access_token: str | None) -> None:
    if access_token is None:
        return
    # Core 3.1.3.6: with the hash of the signature's algorithm; Ed25519 has SHA-512 inside.
    name = "sha512" if algorithm == "EdDSA" else f"sha{algorithm[2:]}"
    digest = hashlib.new(name, access_token.encode("utf-8")).digest()
    expected = base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode("ascii")
    if not _same(at_hash, expected):
        raise _refusal("its at_hash is of another access token")


def _same(unverified: object, expected: str) -> bool:
    return isinstance(unverified, str) and hmac.compare_digest(unverified.encode("utf-8"), expected.encode("utf-8"))


def _refusal(why: str) -> ProviderError:
    return ProviderError("invalid_id_token", f"the ID token is refused: {why}")
