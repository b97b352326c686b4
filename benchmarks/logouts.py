"""An identity provider that only tells of sign-outs, with a key of its own: and the same with a key that is not."""

from __future__ import annotations

import json
import secrets
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

_EVENT = "http://schemas.openid.net/event/backchannel-logout"


class LogoutProvider:
    """`with LogoutProvider() as provider:` answers discovery and keys at `provider.issuer`."""

    def __init__(self) -> None:
        self._key, self._other_key = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2))
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _answering(self._documents()))
        self.issuer = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> LogoutProvider:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def tokens(self, count: int, *, genuine: bool) -> list[str]:
        key = self._key if genuine else self._other_key
        return [
            jwt.encode(self._claims(), key, "RS256", headers={"typ": "logout+jwt", "kid": "1"}) for _ in range(count)
        ]

    def _claims(self) -> dict[str, Any]:
        now = int(time.time())
        return {
            "iss": self.issuer, "aud": "bench", "iat": now, "exp": now + 600, "jti": secrets.token_hex(16),
            "sub": "nobody", "events": {_EVENT: {}},
        }  # fmt: skip

    def _documents(self) -> dict[str, Any]:
        public = json.loads(RSAAlgorithm.to_jwk(self._key.public_key()))
        return {
            "/jwks": lambda issuer: {"keys": [{**public, "kid": "1", "use": "sig", "alg": "RS256"}]},
            "/.well-known/openid-configuration": lambda issuer: {
                "issuer": issuer, "jwks_uri": f"{issuer}/jwks", "authorization_endpoint": f"{issuer}/authorize",
                "token_endpoint": f"{issuer}/token", "userinfo_endpoint": f"{issuer}/userinfo",
                "response_types_supported": ["code"], "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
            },
        }  # fmt: skip


def _answering(documents: dict[str, Any]) -> type[BaseHTTPRequestHandler]:
    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = documents.get(self.path)
            body = json.dumps(found(f"http://127.0.0.1:{self.server.server_port}") if found else {}).encode()  # type: ignore[attr-defined]
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    return Answers
