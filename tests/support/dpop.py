"""A client that proves to have its token's key (RFC 9449), in ways a test can bend."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from typing import Any

from tests.support.gateway import Gateway
from tests.support.hostile import SigningKey, sign, signing_key
from tests.support.raw import Response

REQUIRED = {"EC": ("crv", "kty", "x", "y"), "RSA": ("e", "kty", "n"), "OKP": ("crv", "kty", "x")}


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def private_jwk(key: SigningKey) -> dict[str, Any]:
    size = (key.private.key_size + 7) // 8
    return public_jwk(key) | {"d": b64(key.private.private_numbers().private_value.to_bytes(size))}


def public_jwk(key: SigningKey) -> dict[str, Any]:
    return {name: key.jwk[name] for name in REQUIRED[key.jwk["kty"]]}


class Holder:
    """`Holder().get(gateway, "/api", token)`; in the changes, `...` leaves a member out."""

    def __init__(self, algorithm: str = "ES256", kid: str = "holder", bits: int = 2048) -> None:
        self.key = signing_key(algorithm, kid, bits)

    @property
    def thumbprint(self) -> str:
        canonical = json.dumps(public_jwk(self.key), sort_keys=True, separators=(",", ":"))
        return b64(hashlib.sha256(canonical.encode()).digest())

    @property
    def cnf(self) -> dict[str, str]:
        return {"jkt": self.thumbprint}

    def proof(
        self,
        method: str,
        url: str,
        token: str,
        *,
        header: dict[str, Any] | None = None,
        signer: SigningKey | None = None,
        **changes: Any,
    ) -> str:
        claims = {
            "jti": f"proof-{time.time_ns()}", "htm": method, "htu": url, "iat": int(time.time()),
            "ath": b64(hashlib.sha256(token.encode()).digest()),
        }  # fmt: skip
        good = {"typ": "dpop+jwt", "alg": self.key.algorithm, "jwk": public_jwk(self.key)}
        return sign(signer or self.key, claims | changes, good | (header or {}))

    def get(self, gateway: Gateway, path: str, token: str, **changes: Any) -> Response:
        return send(gateway, path, token, self.proof("GET", f"{gateway.url}{path}", token, **changes))


def send(
    gateway: Gateway, path: str, token: str, *proofs: str, scheme: str = "DPoP", method: str = "GET", body: bytes = b""
) -> Response:
    headers = [("Authorization", f"{scheme} {token}"), *(("DPoP", proof) for proof in proofs)]
    return gateway.request(path, method=method, headers=headers, body=body or None)
