"""The API by tokens that are bound to a key, of an issuer that was registered over the API itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.dpop import Holder
from tests.support.gateway import Gateway
from tests.support.issuers import API, TokenMaker
from tests.support.policies import demo_policy
from tests.support.rest import V1, Reply, Rest, account, with_api
from tests.support.upstream import RecordingUpstream

HOLDER = Holder()


@pytest.fixture(scope="module")
def gate(gateway_template: Any, session_upstream: RecordingUpstream, tmp_path_factory: Any) -> Iterator[Gateway]:
    policy = with_api(demo_policy(session_upstream.target))
    with Gateway(tmp_path_factory.mktemp("bound") / "data", template=gateway_template, policy=policy) as gateway:
        yield gateway.start()


@pytest.fixture
def issuer(gate: Gateway) -> Iterator[tuple[Rest, dict[str, Any], TokenMaker]]:
    root = account(gate, "root", is_superuser=True)
    with TokenMaker() as maker:
        yield root, {"issuer": maker.url, "audiences": [API]}, maker
        root.delete("/issuers/as")


def proven(gate: Gateway, token: str, **changes: Any) -> dict[str, str]:
    return {
        "authorization": f"DPoP {token}", "dpop": HOLDER.proof("GET", f"{gate.url}{V1}/policy", token, **changes),
    }  # fmt: skip


def test_it_is_set_and_changed(issuer: tuple[Rest, dict[str, Any], TokenMaker]) -> None:
    root, settings, _ = issuer
    assert root.put("/issuers/as", settings).body["dpop"] == "off"
    for mode in ("optional", "required", "nonce"):
        assert root.put("/issuers/as", {**settings, "dpop": mode}).body["dpop"] == mode
        assert root.get("/issuers/as").body["dpop"] == mode
    refused = root.put("/issuers/as", {**settings, "dpop": "maybe"})
    assert (refused.status, refused.fields) == (422, ["dpop"])


def test_a_bound_token_opens_the_api_with_a_proof_alone(gate: Gateway) -> None:
    token, nobody = gate.mint("ci", roles=("robot",), claims={"cnf": json.dumps(HOLDER.cnf)}), Rest(gate)
    headers = proven(gate, token)
    assert nobody.get("/policy", **headers).status == 200
    assert challenge(nobody.get("/policy", **headers)) == 'DPoP error="invalid_dpop_proof"'
    assert challenge(Rest(gate, token).get("/policy")) == 'DPoP error="invalid_token"'


def test_the_api_gives_the_nonce_that_it_asks_for(
    gate: Gateway, issuer: tuple[Rest, dict[str, Any], TokenMaker]
) -> None:
    """Also to a caller of whom it then turns out that no role opens it."""
    root, settings, maker = issuer
    assert root.put("/issuers/as", {**settings, "dpop": "nonce"}).status == 201
    token, nobody = maker.access_token(cnf=HOLDER.cnf), Rest(gate)
    asked = nobody.get("/policy", **proven(gate, token))
    assert challenge(asked) == 'DPoP error="use_dpop_nonce"'
    assert nobody.get("/policy", **proven(gate, token, nonce=asked.headers["dpop-nonce"])).status == 403


def challenge(refused: Reply) -> str:
    assert refused.status == 401
    return refused.headers["www-authenticate"].partition(",")[0]
