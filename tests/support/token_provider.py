"""An OpenID provider of few words: discovery, keys, and a token endpoint that answers as the test says."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs

from tests.support.signing import b64, compact, key

CLIENT_ID = "gateway"
LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"


class TokenProvider:
    """`answer` makes the token endpoint's status and body from the form; `forms` are those that came."""

    def __init__(self) -> None:
        self.forms: list[dict[str, str]] = []
        self.delay = 0.0
        self.answer: Any = lambda form: (200, {"access_token": "a", "token_type": "Bearer"})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.issuer = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def __enter__(self) -> TokenProvider:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def id_token(self, **changes: Any) -> str:
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": CLIENT_ID, "sub": "alice", "iat": now, "exp": now + 600, **changes}
        return self.sign(claims)

    def logout_token(self, **changes: Any) -> str:
        now = int(time.time())
        claims = {
            "iss": self.issuer, "aud": CLIENT_ID, "iat": now, "exp": now + 120, "jti": f"logout-{time.time_ns()}",
            "events": {LOGOUT_EVENT: {}}, **changes,
        }  # fmt: skip
        return self.sign(claims, typ="logout+jwt")

    def sign(self, claims: dict[str, Any], signer: str = "provider", **header: Any) -> str:
        """A claim or a header member that is `...` is left out."""
        pair = key(signer)
        head = {"alg": pair.algorithm, "kid": pair.kid, **header}
        kept = [{name: value for name, value in part.items() if value is not ...} for part in (head, claims)]
        return compact(*(json.dumps(part).encode() for part in kept), pair.sign).decode()

    def unsigned(self, claims: dict[str, Any]) -> str:
        header = b64(b'{"alg":"none"}').decode()
        return f"{header}.{b64(json.dumps(claims).encode()).decode()}."

    def document(self, path: str) -> dict[str, Any]:
        if path == "/jwks":
            return {"keys": [key("provider").public_jwk]}
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/jwks",
            "end_session_endpoint": f"{self.issuer}/logout?from=here",
            "id_token_signing_alg_values_supported": ["RS256"],
        }


def _handler(provider: TokenProvider) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._reply(200, provider.document(self.path))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            form = {name: values[0] for name, values in parse_qs(body).items()}
            provider.forms.append(form)
            time.sleep(provider.delay)
            self._reply(*provider.answer(form))

        def _reply(self, status: int, document: dict[str, Any]) -> None:
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    return Handler
