"""Tokens that a real authorization server (oidc-provider) has bound to a client's key, as JWTs and as opaque ones."""

from __future__ import annotations

import base64
import json
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.dpop import Holder
from tests.support.gateway import Gateway
from tests.support.introspecting import API, CLIENT_ID, CLIENT_SECRET, add_issuer
from tests.support.oidc import OpenIdProvider, ProviderUnavailable
from tests.support.policies import demo_policy
from tests.support.upstream import RecordingUpstream

MACHINE, MACHINE_SECRET = "machine", "another secret of more than thirty-two characters"
HOLDER, THIEF = Holder(), Holder(kid="thief")


class Server(OpenIdProvider):
    def __init__(self, kind: str) -> None:
        super().__init__(**{f"{kind}_tokens": {"audience": API, "scope": "read"}})
        self.settings["clients"] = [
            {
                "client_id": client, "client_secret": secret, "grant_types": grants, "redirect_uris": [],
                "response_types": [],
            }
            for client, secret, grants in (
                (MACHINE, MACHINE_SECRET, ["client_credentials"]), (CLIENT_ID, CLIENT_SECRET, []),
            )
        ]  # fmt: skip

    def token(self, holder: Holder | None) -> tuple[str, str]:
        """With its type."""
        form = {"grant_type": "client_credentials", "resource": API, "scope": "read"}
        request = urllib.request.Request(f"{self.issuer}/token", urllib.parse.urlencode(form).encode())
        pair = ":".join(map(urllib.parse.quote_plus, (MACHINE, MACHINE_SECRET)))
        request.add_header("Authorization", f"Basic {base64.b64encode(pair.encode()).decode()}")
        if holder is not None:
            request.add_header("DPoP", holder.proof("POST", f"{self.issuer}/token", "", ath=...))
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=10) as response:
            answer = json.load(response)
        return answer["access_token"], answer["token_type"]


@pytest.fixture(params=["jwt", "opaque"])
def server(
    request: Any, gateway_template: Path, upstream: RecordingUpstream, tmp_path: Path
) -> Iterator[tuple[Gateway, Server]]:
    server = Server(request.param)
    try:
        server.find()
    except ProviderUnavailable as error:
        pytest.skip(f"needs the OpenID provider: {error}")
    strategy = {"jwt": "jwt", "opaque": "introspection"}[request.param]
    with (
        Gateway(tmp_path / "data", template=gateway_template, policy=demo_policy(upstream.target)) as gateway,
        server,
    ):
        mapping = {"sub": "client_id"}
        add_issuer(gateway, "as", server.issuer, strategy=strategy, dpop="optional", claim_mapping=mapping)
        yield gateway.start(), server


def test_its_token_opens_nothing_without_the_clients_key(
    server: tuple[Gateway, Server], upstream: RecordingUpstream
) -> None:
    gateway, provider = server
    token, kind = provider.token(HOLDER)
    assert kind == "DPoP"
    for _ in range(2):
        assert HOLDER.get(gateway, "/api/protected", token).status == 200
        assert upstream.requests[-1].header("X-Auth-User-ID") == f"as|{MACHINE}"
        assert gateway.get("/api/protected", token=token).json()["reason"] == "proof_required"
        assert THIEF.get(gateway, "/api/protected", token).json()["reason"] == "bad_proof"
    assert HOLDER.get(gateway, "/api/protected", token, jti="again").status == 200
    assert HOLDER.get(gateway, "/api/protected", token, jti="again").json()["reason"] == "bad_proof"
    assert len(upstream.requests) == 3


def test_its_bearer_token_is_one(server: tuple[Gateway, Server]) -> None:
    gateway, provider = server
    token, kind = provider.token(None)
    assert kind == "Bearer"
    assert gateway.get("/api/protected", token=token).status == 200
    assert HOLDER.get(gateway, "/api/protected", token).json()["reason"] == "bad_proof"
