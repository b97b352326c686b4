"""Signing key pairs: making, sealing at rest, signing, verifying. Which keys count is decided in `trust`."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from authgate import cipher
from authgate.authn.jwk import thumbprint_of

RSA_BITS = 2048
_RS256 = RSAAlgorithm(RSAAlgorithm.SHA256)
_ES256 = ECAlgorithm(ECAlgorithm.SHA256, ec.SECP256R1)


class KeyUnusable(RuntimeError):
    """A stored signing key cannot be used. The only safe answer is to stop."""


@dataclass(frozen=True, slots=True, eq=False)
class KeyPair:
    """A private key bound to exactly one algorithm (RFC 8725 3.1)."""

    kid: str
    algorithm: str
    public_jwk: dict[str, Any]
    _private: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
    _public: rsa.RSAPublicKey | ec.EllipticCurvePublicKey

    def sign(self, message: bytes) -> bytes:
        if isinstance(self._private, rsa.RSAPrivateKey):
            return _RS256.sign(message, self._private)
        return _ES256.sign(message, self._private)

    def verify(self, message: bytes, unverified_signature: bytes) -> bool:
        if isinstance(self._public, rsa.RSAPublicKey):
            return _RS256.verify(message, self._public, unverified_signature)
        return _ES256.verify(message, self._public, unverified_signature)


def generate_key_pair(algorithm: str) -> KeyPair:
    if algorithm == "RS256":
        return _pair(rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS))
    if algorithm == "ES256":
        return _pair(ec.generate_private_key(ec.SECP256R1()))
    raise ValueError(f"no such signing algorithm: {algorithm!r}")


def seal(pair: KeyPair, purpose: str, secret: str) -> str:
    pem = pair._private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return base64.b64encode(cipher.seal(pem, _sealing_key(secret), _place(pair.kid, purpose))).decode("ascii")


def read_private_key(pem: bytes) -> KeyPair:
    """Raises KeyUnusable."""
    try:
        private = serialization.load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:  # TypeError: it is encrypted
        raise KeyUnusable("is no private key in PEM without a passphrase") from error
    if not isinstance(private, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise KeyUnusable("is of a kind that signs nothing here")
    return _pair(private)


def unseal(
    sealed: str,
    kid: str,
    purpose: str,
    algorithm: str,
    secrets: Sequence[str],
    source: str = "AUTHGATE_SECRET_KEY",
) -> KeyPair:
    """Raises KeyUnusable, which names the secrets' `source`.

    The public half comes out of the seal too, never from the database: whoever can write that but does not know the
    secret must not be able to plant a key.
    """
    try:
        raw = base64.b64decode(sealed, validate=True)
        pem = cipher.unseal_by_any(raw, map(_sealing_key, secrets), _place(kid, purpose))
        # The seal vouches for the key, and OpenSSL's check of an RSA key costs 40 ms on every reload.
        private = serialization.load_pem_private_key(pem, None, unsafe_skip_rsa_key_validation=True)
    except ValueError as error:
        raise KeyUnusable(
            f"signing key {kid} cannot be unsealed: {source} is not the one it was made with, "
            "or the row was changed. Restore that secret, or retire the key to have a new one made."
        ) from error
    if not isinstance(private, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise KeyUnusable(f"signing key {kid} is of a kind that signs nothing here")
    pair = _pair(private)
    if (pair.kid, pair.algorithm) != (kid, algorithm):
        raise KeyUnusable(f"signing key {kid} is not the {algorithm} key its row says")
    return pair


def is_sealed_with(secret: str, sealed: str, kid: str, purpose: str) -> bool:
    try:
        cipher.unseal(base64.b64decode(sealed, validate=True), _sealing_key(secret), _place(kid, purpose))
    except ValueError:
        return False
    return True


def _pair(private: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> KeyPair:
    if isinstance(private, rsa.RSAPrivateKey):
        if private.key_size < RSA_BITS:
            raise KeyUnusable(f"an RSA key of {private.key_size} bits is too short")
        algorithm, members = "RS256", RSAAlgorithm.to_jwk(private.public_key(), as_dict=True)
        required = {name: members[name] for name in ("e", "kty", "n")}
    else:
        if not isinstance(private.curve, ec.SECP256R1):
            raise KeyUnusable(f"a key on {private.curve.name} cannot sign ES256")
        algorithm, members = "ES256", ECAlgorithm.to_jwk(private.public_key(), as_dict=True)
        required = {name: members[name] for name in ("crv", "kty", "x", "y")}
    kid = thumbprint_of(required)
    jwk = {**required, "kid": kid, "use": "sig", "alg": algorithm}
    return KeyPair(kid, algorithm, jwk, private, private.public_key())


def _sealing_key(secret: str) -> AESGCM:
    return cipher.derive_key(secret, salt=b"authgate signing keys", info="seal private key v1")


def _place(kid: str, purpose: str) -> str:
    """A sealed key cannot be moved to another row or purpose."""
    return f"{purpose} {kid}"
