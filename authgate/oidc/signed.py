"""The signature and the form of tokens that a provider signs, whatever they say. Nothing is said about their claims."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from typing import Any, Literal

from authgate.authn.claims import LATEST
from authgate.authn.compact import NotCompact, UnverifiedToken, read_compact, read_object
from authgate.authn.jwk import ALGORITHMS, PublicKey

LEEWAY = 60  # seconds that the provider's clock may differ from ours
# All keys of the provider; asked for again when the given question is true of none.
FindKeys = Callable[[Callable[[PublicKey], bool]], Sequence[PublicKey]]


class NotProven(Exception):
    """`str()` is what is wrong with the token, and `fault` in which part of it."""

    def __init__(self, why: str, fault: Literal["form", "key", "signature"] = "form") -> None:
        super().__init__(why)
        self.fault = fault


def verify_signed(
    raw: str, algorithms: Collection[str], keys: FindKeys, types: Collection[str], max_bytes: int
) -> tuple[dict[str, Any], str]:
    """The claims and the algorithm of a token of one of these types (`typ`, lower case) that the provider signed with
    one of these algorithms. Raises NotProven.
    """
    unverified, algorithm = check_form(raw, types, max_bytes)
    if algorithm not in algorithms:
        raise NotProven(f"its algorithm {algorithm} is none the provider announces", "key")
    _check_signature(unverified, algorithm, keys)
    try:
        return read_object(unverified.unverified_payload), algorithm
    except NotCompact as error:
        raise NotProven(f"its claims are no object: {error}") from None


def check_form(raw: str, types: Collection[str], max_bytes: int) -> tuple[UnverifiedToken, str]:
    """All that can be said of a token without its provider; nothing of it is proven. With its algorithm. Raises
    NotProven.
    """
    try:
        unverified = read_compact(raw.encode("ascii", "replace"), max_bytes)
    except NotCompact as error:
        raise NotProven(f"it is not a signed token: {error}") from None
    _check_type(unverified, types)
    return unverified, _algorithm(unverified)


def read_time(claims: Mapping[str, Any], name: str) -> float:
    """Raises NotProven."""
    value = claims.get(name)
    # JSON's true is an int to Python.
    if type(value) not in (int, float) or not 0 < value <= LATEST:  # type: ignore[operator]
        raise NotProven(f"its {name} is missing or no time")
    return float(value)  # type: ignore[arg-type]


def _algorithm(unverified: UnverifiedToken) -> str:
    header = unverified.unverified_header
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise NotProven("its algorithm is none we take", "key")
    # We understand no extension, so none may be critical (RFC 7515 4.1.11); b64 changes what is signed (RFC 7797).
    if "crit" in header or "b64" in header:
        raise NotProven("it needs an extension")
    return algorithm


def _check_type(unverified: UnverifiedToken, types: Collection[str]) -> None:
    """RFC 8725 3.11: no other token of the provider's passes for this one, and one without a type is any JWT."""
    kind = unverified.unverified_header.get("typ", "JWT")
    if not isinstance(kind, str) or kind.lower().removeprefix("application/") not in types:
        raise NotProven("it is a token of another type")


def _check_signature(unverified: UnverifiedToken, algorithm: str, keys: FindKeys) -> None:
    kid = unverified.unverified_header.get("kid")
    if not (kid is None or (isinstance(kid, str) and len(kid) <= 500)):
        raise NotProven("its kid is not text", "key")

    @cache  # asked again of the same keys below
    def is_meant(key: PublicKey) -> bool:
        # A name alone does not tell that the keys were replaced: some providers give each new key the same one.
        return kid in (None, key.kid) and key.verifies(
            algorithm, unverified.signing_input, unverified.unverified_signature
        )

    found = [key for key in keys(is_meant) if algorithm in key.algorithms and kid in (None, key.kid)]
    # Never try keys in turn: the sender must not get to choose the key.
    if len(found) != 1:
        why = "no key of the provider is meant" if not found else "several keys of the provider may be meant"
        raise NotProven(why, "key")
    if not is_meant(found[0]):
        raise NotProven("its signature is wrong", "signature")
