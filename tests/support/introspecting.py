"""An issuer of opaque tokens whose introspection endpoint answers as a test says, and how a gateway is told of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from tests.support.gateway import Gateway
from tests.support.hostile import HostileProvider, Reply, Seen, SigningKey, sign

API = "https://api.example.com"
INTROSPECT = "/introspect"
SIGNED = "application/token-introspection+jwt"
CLIENT_ID, CLIENT_SECRET = "gateway", "s3cret: with % and +signs"


class IntrospectingIssuer(HostileProvider):
    """`active` holds the claims of the tokens that are active; `reply` replaces the whole answer."""

    def __init__(self) -> None:
        super().__init__()
        self.active: dict[str, dict[str, Any]] = {}
        self.asked: list[Seen] = []
        self.reply: Callable[[Seen], Reply] | None = None
        self.delay = 0.0
        self.busy = self.most_busy = 0
        self._counting = threading.Lock()
        self.hold = threading.Event()  # answers wait until it is set
        self.hold.set()
        self.metadata = {"introspection_endpoint": self.url + INTROSPECT}
        self.answers[INTROSPECT] = self._introspect

    def grant(self, token: str, **changes: Any) -> str:
        """The token, which is active from now on. A change to `...` leaves the claim out."""
        now = int(time.time())
        claims = {"active": True, "iss": self.url, "aud": API, "sub": "robot", "iat": now, "exp": now + 300, **changes}
        self.active[token] = {name: value for name, value in claims.items() if value is not ...}
        return token

    def times_asked(self, token: str) -> int:
        return sum(seen.form.get("token") == token for seen in self.asked)

    def signed(self, answer: Any, key: SigningKey | None = None, **changes: Any) -> Reply:
        """RFC 9701. `changes` are of the claims around it, and `header` of the header."""
        key, header = key or self.key, changes.pop("header", {})
        claims = {"iss": self.url, "aud": CLIENT_ID, "iat": int(time.time()), "token_introspection": answer, **changes}
        token = sign(key, claims, {"alg": key.algorithm, "kid": key.kid, "typ": "token-introspection+jwt", **header})
        return Reply(body=token.encode(), headers={"Content-Type": SIGNED})

    def _introspect(self, seen: Seen) -> Reply:
        self.asked.append(seen)
        with self._counting:
            self.busy += 1
            self.most_busy = max(self.busy, self.most_busy)
        self.hold.wait(20)
        time.sleep(self.delay)
        with self._counting:
            self.busy -= 1
        if self.reply is not None:
            return self.reply(seen)
        return Reply(body=self.active.get(seen.form.get("token", ""), {"active": False}))


def add_issuer(gateway: Gateway, slug: str, issuer: str, secret: str = CLIENT_SECRET, **fields: Any) -> None:
    """As an operator would: one that is asked."""
    given = {
        "slug": slug, "issuer": issuer, "audiences": [API], "strategy": "introspection", "client_id": CLIENT_ID,
        **fields,
    }  # fmt: skip
    gateway.shell.run(f"""
from authgate.models.issuers import TokenIssuer
from authgate.policy.powers import Machine
from authgate.state import issuers
row = TokenIssuer(**{given!r})
row.sealed_client_secret = issuers.seal_client_secret(row.slug, {secret!r})
issuers.save(row, Machine("test"))
""")


def change_issuer(gateway: Gateway, slug: str, **fields: Any) -> None:
    gateway.shell.run(f"""
from authgate.models.issuers import TokenIssuer
from authgate.policy.powers import Machine
from authgate.state import issuers
row = TokenIssuer.objects.get(slug={slug!r})
for name, value in {fields!r}.items():
    setattr(row, name, value)
issuers.save(row, Machine("test"))
""")


def remove_issuer(gateway: Gateway, slug: str) -> None:
    gateway.shell.run(f"""
from authgate.models.issuers import TokenIssuer
from authgate.policy.powers import Machine
from authgate.state import issuers
issuers.remove(TokenIssuer.objects.filter(slug={slug!r}), Machine("test"))
""")


def path_of(seen: Seen) -> str:
    return urlsplit(seen.path).path
