"""Opaque tokens of a real authorization server (oidc-provider), which the gateway introspects there."""

from __future__ import annotations

import base64
import json
import time
import urllib.parse
import urllib.request
from typing import Any

import pytest

from tests.support.gateway import Gateway
from tests.support.introspecting import API, CLIENT_ID, CLIENT_SECRET, add_issuer
from tests.support.oidc import OpenIdProvider, ProviderUnavailable
from tests.support.policies import demo_policy

MACHINE, MACHINE_SECRET = "machine", "another secret of more than thirty-two characters"
METHODS = {
    "basic": {"token_endpoint_auth_method": "client_secret_basic"},
    "post": {"token_endpoint_auth_method": "client_secret_post"},
    "private_key_jwt": {
        "token_endpoint_auth_method": "private_key_jwt",
        "token_endpoint_auth_signing_alg": "RS256",
    },
}


class Server(OpenIdProvider):
    def __init__(self, gateway: Gateway, method: str, signed: bool = False) -> None:
        super().__init__(opaque_tokens={"audience": API, "scope": "read write", "signed": signed})
        machine = {"client_id": MACHINE, "client_secret": MACHINE_SECRET, "grant_types": ["client_credentials"]}
        ours = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "grant_types": [], **METHODS[method]}
        if method == "private_key_jwt":
            del ours["client_secret"]
            ours["jwks_uri"] = f"{gateway.url}/.well-known/jwks.json"
        if signed:
            ours["introspection_signed_response_alg"] = "RS256"
        self.settings["clients"] = [{"redirect_uris": [], "response_types": [], **one} for one in (machine, ours)]

    def token(self, scope: str = "read") -> str:
        answer = self._post("/token", grant_type="client_credentials", resource=API, scope=scope)
        assert answer["access_token"].count(".") == 0
        return str(answer["access_token"])

    def revoke(self, token: str) -> None:
        self._post("/token/revocation", token=token)

    def _post(self, path: str, **form: str) -> dict[str, Any]:
        pair = ":".join(map(urllib.parse.quote_plus, (MACHINE, MACHINE_SECRET)))
        request = urllib.request.Request(self.issuer + path, urllib.parse.urlencode(form).encode())
        request.add_header("Authorization", f"Basic {base64.b64encode(pair.encode()).decode()}")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=10) as response:
            body = response.read()
        return json.loads(body) if body else {}


@pytest.fixture(params=[("basic", False), ("post", False), ("private_key_jwt", False), ("basic", True)])
def server(request, gateway_template, upstream, tmp_path):
    with Gateway(tmp_path / "data", template=gateway_template, policy=demo_policy(upstream.target)) as gateway:
        method, signed = request.param
        server = Server(gateway, method, signed)
        try:
            server.find()
        except ProviderUnavailable as error:
            pytest.skip(f"needs the OpenID provider: {error}")
        add_issuer(
            gateway, "as", server.issuer, client_authentication=method, introspection_seconds=1,
            claim_mapping={"sub": "client_id"},
        )  # fmt: skip
        gateway.start()
        with server:
            server.gateway = gateway
            yield server


def test_its_token_is_good_until_it_is_revoked_there(server, upstream):
    gateway, token = server.gateway, server.token("read write")
    assert gateway.get("/api/protected", token=token).status == 200
    assert upstream.requests[-1].header("X-Auth-User-ID") == f"as|{MACHINE}"
    me = gateway.get("/auth/me", token=token).json()
    assert (me["issuer"], me["scopes"]) == (server.issuer, ["read", "write"])
    server.revoke(token)
    time.sleep(1.1)
    refused = gateway.get("/api/protected", token=token)
    assert (refused.status, refused.json()["reason"]) == (401, "token_inactive")
    assert gateway.get("/api/protected", token="made-up").json()["reason"] == "token_inactive"
    assert "issuer as:" not in gateway.output
