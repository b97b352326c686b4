"""An OpenID provider on loopback that signs with real keys, and whose every answer a test can bend."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms

CLIENT_ID, CLIENT_SECRET = "authgate-client", "s3cret: with % and +signs"
DISCOVERY, JWKS, TOKEN, USERINFO = "/.well-known/openid-configuration", "/jwks", "/token", "/userinfo"
_CURVES = {"ES256": ec.SECP256R1, "ES384": ec.SECP384R1, "ES512": ec.SECP521R1}


@dataclass(frozen=True)
class SigningKey:
    algorithm: str
    kid: str
    private: Any

    @property
    def jwk(self) -> dict[str, Any]:
        return self._members(self.private.public_key())

    @property
    def private_jwk(self) -> dict[str, Any]:
        return self._members(self.private)

    def sign(self, message: bytes) -> bytes:
        return get_default_algorithms()[self.algorithm].sign(message, self.private)

    def _members(self, key: Any) -> dict[str, Any]:
        members = dict(get_default_algorithms()[self.algorithm].to_jwk(key, as_dict=True))
        members.pop("key_ops", None)
        return {**members, "kid": self.kid, "use": "sig", "alg": self.algorithm}


@cache
def signing_key(algorithm: str = "RS256", kid: str = "first", bits: int = 2048) -> SigningKey:
    """One for each set of arguments, made once."""
    if algorithm in _CURVES:
        return SigningKey(algorithm, kid, ec.generate_private_key(_CURVES[algorithm]()))
    if algorithm == "EdDSA":
        return SigningKey(algorithm, kid, ed25519.Ed25519PrivateKey.generate())
    return SigningKey(algorithm, kid, rsa.generate_private_key(public_exponent=65537, key_size=bits))


@dataclass
class Reply:
    status: int = 200
    body: Any = b""
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})


@dataclass
class Seen:
    method: str
    path: str
    headers: dict[str, str]
    form: dict[str, str]
    body: str = ""


class HostileProvider:
    """Honest until told otherwise. In the dials, `...` leaves a member out; `answers` replaces a whole response."""

    def __init__(self) -> None:
        self.key = signing_key()
        self.published: list[Any] = [self.key.jwk]
        self.metadata: dict[str, Any] = {}
        self.header: dict[str, Any] = {}
        self.claims: dict[str, Any] = {}
        self.token: dict[str, Any] = {}
        self.userinfo: dict[str, Any] = {}
        self.bend: Callable[[str], str] = str  # the signed ID token, before it is sent
        self.answers: dict[str, Callable[[Seen], Reply]] = {}
        self.seen: list[Seen] = []
        self._codes: dict[str, dict[str, str]] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> HostileProvider:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def count(self, path: str) -> int:
        return sum(urlsplit(seen.path).path == path for seen in self.seen)

    def authorize(self, location: str, **changes: Any) -> str:
        """The query of the callback, as the browser would bring it for somebody who has agreed."""
        asked = dict(parse_qsl(urlsplit(location).query))
        code = secrets.token_urlsafe(16)
        self._codes[code] = asked
        return urlencode(_changed({"code": code, "state": asked["state"]}, changes))

    def id_token(self, nonce: Any = "", access_token: str = "", **changes: Any) -> str:
        now = int(time.time())
        claims = {
            "iss": self.url, "sub": "alice", "aud": CLIENT_ID, "nonce": nonce, "iat": now, "exp": now + 300,
            "email": "alice@example.com", "email_verified": True, "name": "Alice",
        }  # fmt: skip
        header = {"alg": self.key.algorithm, "kid": self.key.kid, **self.header}
        return self.bend(sign(self.key, {**claims, **self.claims, **changes}, header))

    def answer(self, seen: Seen) -> Reply:
        path = urlsplit(seen.path).path
        if path in self.answers:
            return self.answers[path](seen)
        if path == DISCOVERY:
            return Reply(body=_changed(self._metadata(), self.metadata))
        if path == JWKS:
            return Reply(body={"keys": self.published})
        if path == TOKEN:
            return self._token(seen)
        if path == USERINFO:
            return Reply(body=_changed({"sub": "alice"}, self.userinfo))
        return Reply(404)

    def _metadata(self) -> dict[str, Any]:
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": self.url + TOKEN,
            "userinfo_endpoint": self.url + USERINFO,
            "jwks_uri": self.url + JWKS,
            "id_token_signing_alg_values_supported": [self.key.algorithm],
        }

    def _token(self, seen: Seen) -> Reply:
        if seen.form.get("grant_type") == "refresh_token":
            return Reply(body=_changed(self._tokens(""), self.token))
        asked = self._codes.pop(seen.form.get("code", ""), None)
        if asked is None or not _is_proven(asked, seen.form):
            return Reply(400, {"error": "invalid_grant"})
        return Reply(body=_changed(self._tokens(asked.get("nonce", "")), self.token))

    def _tokens(self, nonce: str) -> dict[str, Any]:
        return {
            "access_token": "an-access-token", "token_type": "Bearer", "expires_in": 300,
            "refresh_token": "a-refresh-token", "id_token": self.id_token(nonce, "an-access-token"),
        }  # fmt: skip


def sign(key: SigningKey, claims: dict[str, Any], header: dict[str, Any]) -> str:
    """A member that is `...` is left out."""
    signing_input = f"{_segment(_changed(header, {}))}.{_segment(_changed(claims, {}))}"
    return f"{signing_input}.{_b64(key.sign(signing_input.encode()))}"


def half_hash(access_token: str, name: str = "sha256") -> str:
    digest = hashlib.new(name, access_token.encode()).digest()
    return _b64(digest[: len(digest) // 2])


def unsigned(token: str, algorithm: str = "none") -> str:
    """The same claims under another header, with the given algorithm and no signature."""
    return f"{_segment({'alg': algorithm})}.{token.split('.')[1]}."


def broken(token: str) -> str:
    """One bit of the signature is another."""
    signing_input, _, signature = token.rpartition(".")
    raw = bytearray(base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4)))
    raw[5] ^= 1
    return f"{signing_input}.{_b64(bytes(raw))}"


def _is_proven(asked: dict[str, str], form: dict[str, str]) -> bool:
    challenge = _b64(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
    return challenge == asked["code_challenge"] and form.get("redirect_uri") == asked["redirect_uri"]


def _changed(members: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**members, **changes}.items() if value is not ...}


def _segment(value: Any) -> str:
    return _b64(json.dumps(value).encode())


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _handler(provider: HostileProvider) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            form = {name: values[-1] for name, values in parse_qs(body).items()}
            seen = Seen(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, form, body)
            provider.seen.append(seen)
            self._reply(provider.answer(seen))

        do_POST = do_GET

        def _reply(self, reply: Reply) -> None:
            body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            try:
                self.send_response_only(reply.status)
                head = {"Date": self.date_time_string(), **reply.headers, "Content-Length": str(len(body))}
                for name, value in head.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)
            except OSError:
                self.close_connection = True  # whoever asked has had enough

        def log_message(self, *_: object) -> None: ...

    return Handler
