"""The public keys of others (RFC 7517), each bound to the algorithms it may verify."""

from __future__ import annotations

import base64
import hashlib
import json
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
_PRIVATE_MEMBERS = frozenset(("d", "p", "q", "dp", "dq", "qi", "oth", "k"))
_THUMBPRINT_MEMBERS = {"RSA": ("e", "kty", "n"), "EC": ("crv", "kty", "x", "y"), "OKP": ("crv", "kty", "x")}
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
    keys = [key for jwk in members if isinstance(jwk, dict) and (key := read_key(jwk)) is not None]
    # One key listed twice is one key, not two to choose from.
    return tuple({(key.kid, key.material, key.algorithms): key for key in keys}.values())


def thumbprint_of(jwk: Mapping[str, Any]) -> str:
    """RFC 7638: the hash of the required members, in order and without spaces. Empty for what is no public key."""
    kty = jwk.get("kty")
    names = _THUMBPRINT_MEMBERS.get(kty, ()) if isinstance(kty, str) else ()
    required = {name: jwk.get(name) for name in names}
    if not required or not all(isinstance(value, str) and value.isascii() for value in required.values()):
        return ""
    canonical = json.dumps(required, sort_keys=True, separators=(",", ":")).encode("ascii")
    return base64.urlsafe_b64encode(hashlib.sha256(canonical).digest()).rstrip(b"=").decode("ascii")


def read_key(jwk: Mapping[str, Any]) -> PublicKey | None:
    """None for what is no public key that can verify a signature."""
    kid = jwk.get("kid")
    if _PRIVATE_MEMBERS & jwk.keys() or not (kid is None or isinstance(kid, str)):
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
