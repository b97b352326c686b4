"""A real provider (oidc-provider) takes another signing key while callers send its tokens: no good one gets 401."""

from __future__ import annotations

import base64
import json
import random
import threading
import time
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from authgate.state.issuer_keys import PAUSE_SECONDS
from tests.support import raw
from tests.support.gateway import Gateway
from tests.support.hostile import SigningKey, signing_key
from tests.support.issuers import API
from tests.support.oidc import OpenIdProvider, ProviderUnavailable
from tests.support.streams import wait_until

MACHINE, MACHINE_SECRET = "machine", "another secret of more than thirty-two characters"
OLD, NEW = signing_key(kid="old"), signing_key(kid="new")
PAUSE = PAUSE_SECONDS + 0.5


class Provider(OpenIdProvider):
    """The first of its keys signs; all are published."""

    def __init__(self, *keys: SigningKey) -> None:
        super().__init__(jwt_tokens={"audience": API, "scope": "read"}, ttl={"ClientCredentials": 3600})
        self._keys = self.directory / "keys.json"
        self.settings["keys_file"] = str(self._keys)
        self.settings["clients"] = [
            {
                "client_id": MACHINE, "client_secret": MACHINE_SECRET, "grant_types": ["client_credentials"],
                "redirect_uris": [], "response_types": [],
            }
        ]  # fmt: skip
        self._write_keys(keys)

    def rotate(self, *keys: SigningKey) -> None:
        self._write_keys(keys)
        self.restart()

    def tokens(self, number: int = 40) -> list[str]:
        return [self._token() for _ in range(number)]

    def _write_keys(self, keys: tuple[SigningKey, ...]) -> None:
        self._keys.write_text(json.dumps({"keys": [key.private_jwk for key in keys]}))

    def _token(self) -> str:
        form = {"grant_type": "client_credentials", "resource": API, "scope": "read"}
        request = urllib.request.Request(f"{self.issuer}/token", urllib.parse.urlencode(form).encode())
        pair = ":".join(map(urllib.parse.quote_plus, (MACHINE, MACHINE_SECRET)))
        request.add_header("Authorization", f"Basic {base64.b64encode(pair.encode()).decode()}")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=10) as response:
            return str(json.load(response)["access_token"])


class Callers:
    """Each sends one of the tokens after the other, on new connections, so that every worker gets some."""

    def __init__(self, gateway: Gateway, tokens: list[str], number: int = 6) -> None:
        self.answers: Counter[str] = Counter()  # "let in", or the reason
        self._gateway, self._tokens = gateway, [*tokens]
        self._unused: list[str] = []
        self._lock, self._leaving = threading.Lock(), threading.Event()
        self._failures: list[Exception] = []
        self._threads = [threading.Thread(target=self._call, daemon=True) for _ in range(number)]

    def __enter__(self) -> Callers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._leaving.set()
        for thread in self._threads:
            thread.join(20)
        assert self._failures == []

    def use(self, tokens: list[str]) -> None:
        """Each of these once, and again by chance; returns when all were sent."""
        with self._lock:
            self._unused += tokens
        assert wait_until(lambda: not self._unused or bool(self._failures), 30)
        assert self._failures == []

    def forget(self, tokens: list[str]) -> None:
        """They are not good any more."""
        with self._lock:
            self._tokens = [token for token in self._tokens if token not in tokens]

    def _call(self) -> None:
        try:
            while not self._leaving.is_set():
                got = self._gateway.get("/api/protected", token=self._next())
                answer = "let in" if got.status == 200 else got.json()["reason"]
                with self._lock:
                    self.answers[answer] += 1
        except (OSError, AssertionError, raw.ProtocolViolation) as error:
            self._failures.append(error)

    def _next(self) -> str:
        with self._lock:
            if self._unused:
                self._tokens.append(self._unused.pop())
                return self._tokens[-1]
            return random.choice(self._tokens)


Start = Callable[..., tuple[Gateway, Provider]]


@pytest.fixture
def start(start_gateway: Any) -> Iterator[Start]:
    """With these keys, which every worker knows when it returns."""
    with ExitStack() as running:

        def start(*keys: SigningKey) -> tuple[Gateway, Provider]:
            provider = Provider(*keys)
            running.callback(provider.remove)
            try:
                provider.start()
            except ProviderUnavailable as error:
                pytest.skip(f"needs the OpenID provider: {error}")
            gateway = start_gateway(workers=2)
            gateway.shell.command(
                "issuer", "add", "as", "--issuer", provider.issuer, "--audience", API,
                "--claim-mapping", "sub=client_id",
            )  # fmt: skip
            for token in provider.tokens(16):
                assert gateway.get("/api/protected", token=token).status == 200
            return gateway, provider

        yield start


def test_a_key_that_is_published_before_it_signs(start: Start) -> None:
    gateway, provider = start(OLD, NEW)
    old, kept = provider.tokens(), provider.tokens()
    with Callers(gateway, old) as callers:
        provider.rotate(NEW, OLD)
        callers.use([*provider.tokens(), *kept])
        callers.forget([*old, *kept])
        provider.rotate(NEW)
        callers.use(provider.tokens())
    assert {*callers.answers} == {"let in"}


def test_a_key_that_signs_at_once(start: Start) -> None:
    gateway, provider = start(OLD)
    old, kept = provider.tokens(), provider.tokens()
    with Callers(gateway, old) as callers:
        time.sleep(PAUSE)
        provider.rotate(NEW, OLD)
        callers.use([*provider.tokens(), *kept])
    assert {*callers.answers} == {"let in"}


def test_a_key_that_signs_at_once_just_after_the_provider_was_asked(start: Start) -> None:
    gateway, provider = start(OLD)
    old, kept = provider.tokens(), provider.tokens()
    with Callers(gateway, old) as callers:
        provider.rotate(NEW, OLD)
        new = provider.tokens()
        callers.use([*new, *kept])
        time.sleep(PAUSE)
    assert {*callers.answers} <= {"let in", "issuer_unavailable"}
    with Callers(gateway, new) as callers:
        callers.use([*provider.tokens(), *kept])
    assert {*callers.answers} == {"let in"}
