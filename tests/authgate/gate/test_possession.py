"""Possession of a token's key, each check by itself. tests/authgate/gate/test_dpop.py asks the running gateway."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from authgate.authn.cache import cache_key
from authgate.authn.credentials import Credential
from authgate.authn.issuers import Dpop
from authgate.authn.tokens import Kind
from authgate.gate.possession import prove_possession
from authgate.request import Identity, InvalidCredential, RequestFacts
from authgate.state.nonces import current_nonce
from authgate.wire.authority import parse_authority
from authgate.wire.headers import Headers
from tests.authgate.authn.test_foreign import URL, issuer
from tests.support.dpop import Holder
from tests.support.signing import make_snapshot, make_trust

HOLDER, THIEF = Holder(), Holder(kid="thief")
TOKEN = "an.access.token"
CREDENTIAL = Credential(Kind.ACCESS, TOKEN.encode(), cache_key(Kind.ACCESS, TOKEN.encode()), is_dpop=True)
IDENTITY = Identity("ci|robot", URL, 2**32, by_cookie=False, key_thumbprint=HOLDER.thumbprint)


def facts(*proofs: str, host: str = "gateway.test") -> RequestFacts:
    headers = Headers((b"dpop", proof.encode()) for proof in proofs)
    return RequestFacts("GET", "http", parse_authority(host.encode()), "/any", b"", "", "", headers)


def proof(by: Holder = HOLDER, host: str = "gateway.test", **changes: Any) -> str:
    return by.proof("GET", f"http://{host}/any", TOKEN, **changes)


def refusal(
    request: RequestFacts | None, dpop: Dpop = "required", identity: Identity = IDENTITY, **credential: Any
) -> tuple[str, str]:
    """Reason and rule; both empty for a proof that counts."""
    snapshot = make_snapshot(make_trust(issuers={URL: issuer(dpop=dpop)}))
    try:
        is_first = prove_possession(identity, CREDENTIAL._replace(**credential), request, snapshot, time.time())
    except InvalidCredential as refused:
        return refused.reason.value, refused.rule
    return ("", "") if is_first else ("", "it was used before")


GOOD = ("", "")


def test_a_good_proof() -> None:
    assert refusal(facts(proof())) == GOOD


def test_the_scheme() -> None:
    wanted = ("proof_required", "the scheme must be DPoP")
    assert refusal(facts(proof()), is_dpop=False) == refusal(None) == wanted


def test_a_token_that_is_bound_to_no_key() -> None:
    unbound, no_key = replace(IDENTITY, key_thumbprint=""), proof(header={"jwk": {}})
    for each in (proof(), no_key):
        assert refusal(facts(each), identity=unbound) == (
            "bad_proof", "the token is bound to no key: its scheme is Bearer"
        )  # fmt: skip


@pytest.mark.parametrize("number", [0, 2, 3])
def test_the_number_of_proofs(number: int) -> None:
    proofs = (proof() for _ in range(number))
    assert refusal(facts(*proofs)) == ("bad_proof", f"there must be one DPoP header, not {number}")


def test_the_key() -> None:
    assert refusal(facts(proof(THIEF)))[0] == "bad_proof"


def test_a_host_that_nobody_has_named() -> None:
    rule = "no proof counts on a host that nobody has named in a route or setting"
    assert refusal(facts(proof(host="evil.test"), host="evil.test")) == ("bad_proof", rule)


@pytest.mark.parametrize(
    ("dpop", "nonce", "expected"),
    [
        ("nonce", {}, "nonce_required"),
        ("nonce", {"nonce": ""}, "nonce_required"),
        ("nonce", {"nonce": "A" * 22}, "nonce_required"),
        ("required", {}, ""),
        ("required", {"nonce": "A" * 22}, ""),
        ("optional", {}, ""),
    ],
)
def test_the_nonce(dpop: Dpop, nonce: dict[str, str], expected: str) -> None:
    assert refusal(facts(proof(**nonce)), dpop)[0] == expected
    assert refusal(facts(proof(nonce=current_nonce())), dpop) == GOOD


def test_the_gateways_own_tokens_need_no_nonce() -> None:
    assert refusal(facts(proof()), "nonce", replace(IDENTITY, issuer="http://gateway.test")) == GOOD


def test_a_proof_is_used_once_and_not_by_a_refusal() -> None:
    bad, good = proof(jti="p-1", htm="PUT"), proof(jti="p-1")
    refused, *rest = [refusal(facts(each)) for each in (bad, good, good)]
    assert (refused[0], rest) == ("bad_proof", [GOOD, ("", "it was used before")])
