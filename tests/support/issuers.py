"""An issuer of access tokens, at a real address and with real keys, whose every claim a test can bend."""

from __future__ import annotations

import time
from typing import Any

from tests.support.gateway import Gateway
from tests.support.hostile import HostileProvider, SigningKey, sign

API = "https://api.example.com"


class TokenMaker(HostileProvider):
    """`with TokenMaker() as ci: ci.register(gateway, "ci"); gateway.get("/api", token=ci.access_token())`."""

    def register(self, gateway: Gateway, slug: str, *options: str, audience: str = API) -> None:
        """As an operator would."""
        gateway.shell.command("issuer", "add", slug, "--issuer", self.url, "--audience", audience, *options)

    def access_token(
        self,
        key: SigningKey | None = None,
        header: dict[str, Any] | None = None,
        **claims: Any,
    ) -> str:
        """A good one but for the changes; `...` leaves a member out."""
        key = key or self.key
        now = int(time.time())
        good = {
            "iss": self.url, "aud": API, "sub": "robot", "iat": now, "exp": now + 300, "jti": f"t-{time.time_ns()}",
        }  # fmt: skip
        return sign(key, good | claims, {"alg": key.algorithm, "kid": key.kid, "typ": "at+jwt"} | (header or {}))
