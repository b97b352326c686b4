"""ID tokens, verified to the letter (OpenID Connect Core 3.1.3.7), at sign-in and when they are refreshed (12.2)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from typing import Any

from authgate.authn.claims import LATEST
from authgate.authn.compact import NotCompact, UnverifiedToken, read_compact, read_object
from authgate.authn.jwk import ALGORITHMS, PublicKey
from authgate.models.people import IdentityProvider
from authgate.oidc.audience import find_audience_problem
from authgate.oidc.metadata import Metadata
from authgate.outbound.errors import ProviderError
from authgate.outbound.fetch import MAX_BYTES

LEEWAY = 60  # seconds that the provider's clock may differ from ours
MAX_SUBJECT = 255
_TYPES = frozenset(("jwt",))
_SUBJECT = re.compile(r"[!-~](?:[ -~]*[!-~])?")
# All keys of the provider; asked for again when the given question is true of none.
FindKeys = Callable[[Callable[[PublicKey], bool]], Sequence[PublicKey]]


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
    claims, algorithm = verify_signed(raw, metadata, keys, _TYPES, MAX_BYTES)
    _check_issuer_and_audience(claims, provider, metadata)
    _check_times(claims, now)
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


def verify_signed(
    raw: str, metadata: Metadata, keys: FindKeys, types: Collection[str], max_bytes: int
) -> tuple[dict[str, Any], str]:
    """The claims and the algorithm of a token of one of these types (`typ`, lower case) that the provider signed.

    Nothing is said about the claims yet.
    """
    unverified, algorithm = check_form(raw, types, max_bytes)
    if algorithm not in metadata.algorithms:
        raise _refusal(f"its algorithm {algorithm} is none the provider announces")
    _check_signature(unverified, algorithm, keys)
    try:
        return read_object(unverified.unverified_payload), algorithm
    except NotCompact as error:
        raise _refusal(f"its claims are no object: {error}") from None


def check_form(raw: str, types: Collection[str], max_bytes: int) -> tuple[UnverifiedToken, str]:
    """All that can be said of a token without its provider; nothing of it is proven. With its algorithm."""
    try:
        unverified = read_compact(raw.encode("ascii", "replace"), max_bytes)
    except NotCompact as error:
        raise _refusal(f"it is not a signed token: {error}") from None
    _check_type(unverified, types)
    return unverified, _algorithm(unverified)


def read_proven(raw: str) -> dict[str, Any]:
    """The claims of an ID token that was verified when it came, and has been sealed since."""
    return read_object(raw.split(".")[1].encode("ascii"))


def is_subject(value: str) -> bool:
    # Core 2: at most 255 ASCII characters, compared case-sensitively.
    return len(value) <= MAX_SUBJECT and _SUBJECT.fullmatch(value) is not None


def _algorithm(unverified: UnverifiedToken) -> str:
    header = unverified.unverified_header
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise _refusal("its algorithm is none we take")
    # We understand no extension, so none may be critical (RFC 7515 4.1.11); b64 changes what is signed (RFC 7797).
    if "crit" in header or "b64" in header:
        raise _refusal("it needs an extension")
    return algorithm


def _check_type(unverified: UnverifiedToken, types: Collection[str]) -> None:
    """RFC 8725 3.11: no other token of the provider's passes for this one, and one without a type is any JWT."""
    kind = unverified.unverified_header.get("typ", "JWT")
    if not isinstance(kind, str) or kind.lower().removeprefix("application/") not in types:
        raise _refusal("it is a token of another type")


def _check_signature(unverified: UnverifiedToken, algorithm: str, keys: FindKeys) -> None:
    kid = unverified.unverified_header.get("kid")
    if not (kid is None or (isinstance(kid, str) and len(kid) <= 500)):
        raise _refusal("its kid is not text")

    @cache  # asked again of the same keys below
    def is_meant(key: PublicKey) -> bool:
        # A name alone does not tell that the keys were replaced: some providers give each new key the same one.
        return kid in (None, key.kid) and key.verifies(
            algorithm, unverified.signing_input, unverified.unverified_signature
        )

    found = [key for key in keys(is_meant) if algorithm in key.algorithms and kid in (None, key.kid)]
    # Never try keys in turn: the sender must not get to choose the key.
    if len(found) != 1:
        raise _refusal("no key of the provider is meant" if not found else "several keys of the provider may be meant")
    if not is_meant(found[0]):
        raise _refusal("its signature is wrong")


def _check_issuer_and_audience(claims: Mapping[str, Any], provider: IdentityProvider, metadata: Metadata) -> None:
    if not metadata.issuer or claims.get("iss") != metadata.issuer:
        raise _refusal("it is of another issuer")
    if problem := find_audience_problem(claims, provider):
        raise _refusal(problem)


def _check_times(claims: Mapping[str, Any], now: float) -> None:
    expires_at, issued_at = _time(claims, "exp"), _time(claims, "iat")
    if expires_at + LEEWAY <= now:
        raise _refusal("it has expired")
    if issued_at > now + LEEWAY or ("nbf" in claims and _time(claims, "nbf") > now + LEEWAY):
        raise _refusal("it is from the future: compare the clocks")


def _time(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    # JSON's true is an int to Python.
    if type(value) not in (int, float) or not 0 < value <= LATEST:  # type: ignore[operator]
        raise _refusal(f"its {name} is missing or no time")
    return float(value)  # type: ignore[arg-type]


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
