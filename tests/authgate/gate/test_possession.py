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
) -> str:
    snapshot = make_snapshot(make_trust(issuers={URL: issuer(dpop=dpop)}))
    try:
        used = prove_possession(identity, CREDENTIAL._replace(**credential), request, snapshot, time.time())
    except InvalidCredential as refused:
        return refused.reason.value
    return "" if used else "used before"


def test_the_scheme() -> None:
    assert refusal(facts(proof())) == ""
    assert refusal(facts(proof()), is_dpop=False) == "proof_required"
    assert refusal(None) == "proof_required"


def test_a_token_that_is_bound_to_no_key() -> None:
    assert refusal(facts(proof()), identity=replace(IDENTITY, key_thumbprint="")) == "bad_proof"


def test_the_number_of_proofs() -> None:
    assert [refusal(facts(*(proof() for _ in range(number)))) for number in (0, 1, 2)] == ["bad_proof", "", "bad_proof"]


def test_the_key() -> None:
    assert refusal(facts(proof(THIEF))) == "bad_proof"


def test_a_host_that_nobody_has_named() -> None:
    assert refusal(facts(proof(host="evil.test"), host="evil.test")) == "bad_proof"


@pytest.mark.parametrize(
    ("dpop", "nonce", "expected"),
    [
        ("nonce", None, "nonce_required"),
        ("nonce", "A" * 22, "nonce_required"),
        ("nonce", "", "nonce_required"),
        ("required", None, ""),
        ("required", "A" * 22, ""),
        ("optional", None, ""),
    ],
)
def test_the_nonce(dpop: Dpop, nonce: str | None, expected: str) -> None:
    assert refusal(facts(proof(**({} if nonce is None else {"nonce": nonce}))), dpop) == expected
    assert refusal(facts(proof(nonce=current_nonce())), dpop) == ""


def test_the_gateways_own_tokens_need_no_nonce() -> None:
    assert refusal(facts(proof()), "nonce", replace(IDENTITY, issuer="http://gateway.test")) == ""


def test_a_proof_is_used_once_and_not_by_a_refusal() -> None:
    bad, good = proof(jti="p-1", htm="PUT"), proof(jti="p-1")
    assert [refusal(facts(each)) for each in (bad, good, good)] == ["bad_proof", "", "used before"]
