"""The public keys of others (RFC 7517), each bound to the algorithms it may verify."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import Algorithm, get_default_algorithms
from jwt.exceptions import PyJWTError

MAX_KEYS = 100
_RSA_BITS = range(2048, 16385)
_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_BY_CURVE = {"P-256": ("ES256",), "P-384": ("ES384",), "P-521": ("ES512",), "Ed25519": ("EdDSA",)}
_KTY = {"P-256": "EC", "P-384": "EC", "P-521": "EC", "Ed25519": "OKP"}
ALGORITHMS = frozenset([*_RSA, "ES256", "ES384", "ES512", "EdDSA"])
_VERIFIERS: Mapping[str, Algorithm] = {
    name: verifier for name, verifier in get_default_algorithms().items() if name in ALGORITHMS
}
_PUBLIC_MEMBERS = ("kty", "n", "e", "crv", "x", "y")
_BASE64URL = re.compile(r"[A-Za-z0-9_-]+")


class KeysUnreadable(ValueError):
    """Not a JWK set at all."""


@dataclass(frozen=True, slots=True, eq=False)
class PublicKey:
    kid: str | None
    algorithms: frozenset[str]
    material: tuple[Any, ...]
    _public: Any

    def verifies(self, algorithm: str, message: bytes, unverified_signature: bytes) -> bool:
        return algorithm in self.algorithms and bool(
            _VERIFIERS[algorithm].verify(message, self._public, unverified_signature)
        )


def read_keys(document: Mapping[str, Any]) -> Sequence[PublicKey]:
    """What can be used of a JWK set: one bad key does not take the others with it. Raises KeysUnreadable."""
    members = document.get("keys")
    if not isinstance(members, list):
        raise KeysUnreadable("the JWKS holds no list of keys")
    if len(members) > MAX_KEYS:
        raise KeysUnreadable(f"the JWKS holds more than {MAX_KEYS} keys")
    keys = [key for jwk in members if isinstance(jwk, dict) and (key := _read_key(jwk)) is not None]
    # One key listed twice is one key, not two to choose from.
    return tuple({(key.kid, key.material, key.algorithms): key for key in keys}.values())


def _read_key(jwk: dict[str, Any]) -> PublicKey | None:
    kid = jwk.get("kid")
    if "d" in jwk or "k" in jwk or not (kid is None or isinstance(kid, str)):
        return None  # a private key that is published is everybody's
    if jwk.get("use", "sig") != "sig" or "verify" not in _operations(jwk):
        return None
    algorithms = _algorithms_of(jwk)
    public = _load(jwk, algorithms)
    if public is None:
        return None
    material = tuple(jwk.get(name) for name in _PUBLIC_MEMBERS)
    return PublicKey(kid, frozenset(algorithms), material, public)


def _operations(jwk: Mapping[str, Any]) -> list[Any]:
    operations = jwk.get("key_ops", ["verify"])
    return operations if isinstance(operations, list) else []


def _algorithms_of(jwk: Mapping[str, Any]) -> tuple[str, ...]:
    """All that its kind can do, or the one it says, if that is among them (RFC 8725 3.1)."""
    kty, curve, named = jwk.get("kty"), jwk.get("crv"), jwk.get("alg")
    possible: tuple[str, ...] = ()
    if kty == "RSA":
        possible = _RSA
    elif isinstance(curve, str) and _KTY.get(curve) == kty:
        possible = _BY_CURVE[curve]
    return possible if named is None else tuple(name for name in possible if name == named)


def _load(jwk: Mapping[str, Any], algorithms: Sequence[str]) -> Any:
    if not algorithms:
        return None
    public_members = {name: jwk[name] for name in _PUBLIC_MEMBERS if name in jwk}
    if not all(isinstance(value, str) and _is_member(value) for value in public_members.values()):
        return None
    try:
        public = _VERIFIERS[algorithms[0]].from_jwk(public_members)
    except (PyJWTError, ValueError, TypeError, KeyError):
        return None
    if isinstance(public, rsa.RSAPublicKey):
        numbers = public.public_numbers()
        if public.key_size not in _RSA_BITS or numbers.e < 3 or numbers.e % 2 == 0 or numbers.e.bit_length() > 64:
            return None
    return public


def _is_member(value: str) -> bool:
    return len(value) <= 4096 and _BASE64URL.fullmatch(value) is not None
