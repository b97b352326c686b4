"""Tokens for the peers, signed by a key made for one run, and many distinct ones for anybody's key."""

from __future__ import annotations

import base64
import functools
import json
import multiprocessing
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

ISSUER = "https://issuer.bench.test"
AUDIENCE = "bench"
KEY_ID = "bench"


@dataclass(frozen=True)
class Signer:
    """Everything that is the same in each token of one issuer."""

    pem: bytes
    header: dict[str, str]
    claims: dict[str, object]

    def sign(self, subject: str) -> str:
        now = int(time.time())
        claims = {**self.claims, "sub": subject, "iat": now, "exp": now + 7200, "jti": uuid.uuid4().hex}
        return jwt.encode(claims, private_key(self.pem), "RS256", self.header)

    def sign_many(self, count: int) -> list[str]:
        """Distinct tokens, made on all cores: a signature costs most of a millisecond."""
        with multiprocessing.get_context("spawn").Pool() as pool:
            chunks = pool.map(self._sign_chunk, range(0, count, 500))
        return [token for chunk in chunks for token in chunk][:count]

    def _sign_chunk(self, begin: int) -> list[str]:
        return [self.sign(f"user-{number}") for number in range(begin, begin + 500)]


def make_signer() -> Signer:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    claims = {
        "iss": ISSUER, "aud": AUDIENCE, "roles": ["bench"],
        "email": "alice@example.com", "name": "Alice Example",
    }  # fmt: skip
    return Signer(pem, {"kid": KEY_ID, "typ": "at+jwt"}, claims)


@functools.cache
def private_key(pem: bytes) -> rsa.RSAPrivateKey:
    """Loading checks the primes, which takes a hundred times as long as a signature."""
    return serialization.load_pem_private_key(pem, None)


def jwks(signer: Signer) -> str:
    numbers = private_key(signer.pem).public_key().public_numbers()
    key = {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": KEY_ID, "n": _b64(numbers.n), "e": _b64(numbers.e)}
    return json.dumps({"keys": [key]})


def write_certificate(signer: Signer, path: Path) -> Path:
    """mod_auth_openidc takes the key out of a certificate."""
    key, name = private_key(signer.pem), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bench")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now - timedelta(hours=1))
    certificate = builder.not_valid_after(now + timedelta(days=1)).sign(key, hashes.SHA256())
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return path


def _b64(number: int) -> str:
    content = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
