"""Tokens that are bound to a key at the running gateway, whose two workers remember every proof together."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from authgate.ratelimit.once import MOST
from authgate.ratelimit.storage import TABLE_WORD
from tests.support.dpop import Holder, send
from tests.support.gateway import Gateway
from tests.support.issuers import TokenMaker
from tests.support.raw import Response
from tests.support.upstream import RecordingUpstream

HOLDER, THIEF = Holder(), Holder(kid="thief")
MODES = ("off", "optional", "required", "nonce")


def policy(target: str) -> str:
    return f"""\
version: 1
upstreams:
  api: {{targets: ["{target}"]}}
routes:
  - {{name: any,    path: /any,    access: authenticated, upstream: api}}
  - {{name: public, path: /public, access: public, upstream: api}}
  - {{name: passed, path: /passed, access: authenticated, pass_authorization: true, upstream: api}}
  - {{name: hosted, path: /any, host: api.test, access: authenticated, upstream: api}}
  - {{name: tools,  path: /mcp, access: authenticated, upstream: api, mcp: true, scopes: [tools], issuers: [required]}}
"""


@pytest.fixture(scope="module")
def issuers() -> Iterator[dict[str, TokenMaker]]:
    makers = {mode: TokenMaker() for mode in MODES}
    for maker in makers.values():
        maker.__enter__()
    yield makers
    for maker in makers.values():
        maker.__exit__()


@pytest.fixture(scope="module")
def gate(
    gateway_template: Any,
    session_upstream: RecordingUpstream,
    tmp_path_factory: Any,
    issuers: dict[str, TokenMaker],
) -> Iterator[Gateway]:
    directory = tmp_path_factory.mktemp("dpop") / "data"
    with Gateway(directory, template=gateway_template, policy=policy(session_upstream.target), workers=2) as gateway:
        for mode, maker in issuers.items():
            maker.register(gateway, mode, *(("--dpop", mode) if mode != "off" else ()))
        yield gateway.start()


@pytest.fixture
def bound(issuers: dict[str, TokenMaker]) -> str:
    return issuers["optional"].access_token(cnf=HOLDER.cnf)


def reason(response: Response) -> str:
    return str(response.json()["reason"]) if response.status >= 400 else ""


def test_a_bound_token_with_its_proof(gate: Gateway, bound: str, upstream: RecordingUpstream) -> None:
    for _ in range(3):
        answer = HOLDER.get(gate, "/any?a=b", bound, htu=f"{gate.url}/any")
        assert answer.status == 200
    request = upstream.requests[-1]
    assert request.header("X-Auth-User-ID") == "optional|robot"
    assert (request.header("Authorization"), request.header("DPoP")) == (None, None)
    [line] = gate.log_lines(wait_for=1, request_id=answer.header("X-Request-ID"))
    assert (line["sub"], line["credential"]) == ("optional|robot", "dpop")


def test_a_bound_token_is_no_bearer_token(gate: Gateway, bound: str) -> None:
    for proofs in ((), (HOLDER.proof("GET", f"{gate.url}/any", bound),)):
        refused = send(gate, "/any", bound, *proofs, scheme="Bearer")
        assert (refused.status, reason(refused)) == (401, "proof_required")
        challenge = refused.header("www-authenticate") or ""
        assert challenge.startswith('DPoP error="invalid_token"')
        assert 'algs="ES256 ES384' in challenge.replace("EdDSA ", "")


def test_nor_after_it_was_taken_with_a_proof_and_the_other_way_round(
    gate: Gateway, bound: str, issuers: dict[str, TokenMaker]
) -> None:
    plain = issuers["optional"].access_token()
    for _ in range(4):
        assert HOLDER.get(gate, "/any", bound).status == 200
        assert reason(gate.get("/any", token=bound)) == "proof_required"
        assert gate.get("/any", token=plain).status == 200
        assert reason(HOLDER.get(gate, "/any", plain)) == "bad_proof"


def test_the_scheme_is_read_in_any_case(gate: Gateway, bound: str) -> None:
    proof = HOLDER.proof("GET", f"{gate.url}/any", bound)
    assert send(gate, "/any", bound, proof, scheme="dpop").status == 200


def test_no_proof_and_two(gate: Gateway, bound: str) -> None:
    url = f"{gate.url}/any"
    one, two = HOLDER.proof("GET", url, bound), HOLDER.proof("GET", url, bound)
    for proofs in ((), (one, two), (one, one), (f"{one}, {two}",), ("",)):
        refused = send(gate, "/any", bound, *proofs)
        assert (refused.status, reason(refused)) == (401, "bad_proof")
        assert (refused.header("www-authenticate") or "").startswith('DPoP error="invalid_dpop_proof"')
    assert send(gate, "/any", bound, one).status == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"htm": "POST"},
        {"htu": "http://localhost/any"},
        {"ath": "A" * 43},
        {"iat": int(time.time()) - 3600},
        {"iat": int(time.time()) + 3600},
        {"header": {"alg": "none"}},
        {"signer": THIEF.key},
    ],
    ids=["method", "port", "token", "old", "future", "none", "signature"],
)
def test_a_bad_proof(gate: Gateway, bound: str, changes: dict[str, Any]) -> None:
    assert HOLDER.get(gate, "/any", bound).status == 200
    assert reason(HOLDER.get(gate, "/any", bound, **changes)) == "bad_proof"


def test_the_log_says_what_a_proof_does_not_meet(gate: Gateway, bound: str) -> None:
    refused = {
        "htm is not the method of the request": HOLDER.get(gate, "/any", bound, htm="POST"),
        "ath is not the hash of the token": HOLDER.get(gate, "/any", bound, ath="another"),
        "iat is not within 60 seconds of now": HOLDER.get(gate, "/any", bound, iat=1),
        "jwk is not the key that the token is bound to (its cnf.jkt)": THIEF.get(gate, "/any", bound),
    }
    for rule, answer in refused.items():
        [line] = gate.log_lines(wait_for=1, request_id=answer.header("X-Request-ID"))
        assert (line["reason"], line["rule"]) == ("bad_proof", rule)
        assert rule not in answer.text


def test_a_thief_with_a_key_of_its_own(gate: Gateway, bound: str) -> None:
    assert reason(THIEF.get(gate, "/any", bound)) == "bad_proof"


def test_a_proof_for_another_host_behind_no_proxy(gate: Gateway, bound: str) -> None:
    assert HOLDER.get(gate, "/any", bound, htu=f"http://LOCALHOST:{gate.port}/any").status == 200
    assert reason(HOLDER.get(gate, "/any", bound, htu=f"http://127.0.0.1:{gate.port}/any")) == "bad_proof"


def test_a_proof_for_another_service_is_not_taken_under_the_name_of_that_service(gate: Gateway, bound: str) -> None:
    """Which has the token and the proof from its caller, and may write what it likes into Host."""
    for url in ("http://evil.example.com/any", f"http://evil.example.com:{gate.port}/any"):
        assert as_host(gate, bound, url) == (401, "bad_proof")
    assert gate.request("/any", host="evil.example.com", token=gate.mint("alice")).status == 200
    for url in (f"{gate.url}/any", "http://api.test/any"):
        assert as_host(gate, bound, url) == (200, "")


def as_host(gate: Gateway, token: str, url: str) -> tuple[int, str]:
    headers = [("Authorization", f"DPoP {token}"), ("DPoP", HOLDER.proof("GET", url, token))]
    got = gate.request("/any", host=url.split("/")[2], headers=headers)
    return got.status, reason(got)


def test_post_with_a_body_of_a_megabyte(gate: Gateway, bound: str, upstream: RecordingUpstream) -> None:
    proof = HOLDER.proof("POST", f"{gate.url}/any", bound)
    assert send(gate, "/any", bound, proof, method="POST", body=b"x" * 1_000_000).status == 200
    assert len(upstream.requests[-1].body) == 1_000_000


def test_a_proof_of_a_megabyte(gate: Gateway, bound: str) -> None:
    assert send(gate, "/any", bound, HOLDER.proof("GET", f"{gate.url}/any", bound, pad="x" * 1_000_000)).status == 431
    assert reason(HOLDER.get(gate, "/any", bound, pad="x" * 9_000)) == "bad_proof"


def test_a_proof_is_used_once_whichever_worker_has_seen_it(gate: Gateway, bound: str) -> None:
    for _ in range(8):
        proof = HOLDER.proof("GET", f"{gate.url}/any", bound)
        answers = [send(gate, "/any", bound, proof) for _ in range(8)]
        assert [answer.status for answer in answers] == [200] + [401] * 7
        assert {reason(answer) for answer in answers[1:]} == {"bad_proof"}


def test_nor_again_on_one_connection(gate: Gateway, bound: str) -> None:
    proof = HOLDER.proof("GET", f"{gate.url}/any", bound)
    head = f"GET /any HTTP/1.1\r\nHost: {gate.host}:{gate.port}\r\nAuthorization: DPoP {bound}\r\nDPoP: {proof}\r\n\r\n"
    with gate.connect() as client:
        assert [client.send(head.encode()).response().status for _ in range(3)] == [200, 401, 401]


def test_one_clients_proof_does_not_use_up_anothers(gate: Gateway, bound: str, issuers: dict[str, TokenMaker]) -> None:
    others = issuers["optional"].access_token(cnf=THIEF.cnf)
    assert HOLDER.get(gate, "/any", bound, jti="the same").status == 200
    assert THIEF.get(gate, "/any", others, jti="the same").status == 200
    assert reason(HOLDER.get(gate, "/any", bound, jti="the same")) == "bad_proof"


def test_a_refused_proof_uses_up_nothing(gate: Gateway, bound: str) -> None:
    assert reason(HOLDER.get(gate, "/any", bound, jti="again", htm="PUT")) == "bad_proof"
    assert HOLDER.get(gate, "/any", bound, jti="again").status == 200


@pytest.mark.parametrize(
    ("mode", "plain", "bearer", "proven"),
    [
        ("off", "", "proof_required", "proof_required"),
        ("optional", "", "proof_required", ""),
        ("required", "proof_required", "proof_required", ""),
    ],
)
def test_what_an_issuer_asks_for(
    gate: Gateway, issuers: dict[str, TokenMaker], mode: str, plain: str, bearer: str, proven: str
) -> None:
    """Of an unbound token; of a bound one as a bearer token, and with its proof."""
    unbound, bound = issuers[mode].access_token(), issuers[mode].access_token(cnf=HOLDER.cnf)
    assert reason(gate.get("/any", token=unbound)) == plain
    assert reason(gate.get("/any", token=bound)) == bearer
    assert reason(HOLDER.get(gate, "/any", bound)) == proven


def test_a_challenge_speaks_of_the_scheme_that_the_client_used(gate: Gateway, issuers: dict[str, TokenMaker]) -> None:
    maker, now = issuers["optional"], int(time.time())
    expired = {"iat": now - 900, "exp": now - 600}
    for token, error in (
        (maker.access_token(cnf=HOLDER.cnf, **expired), "token expired"),
        (maker.access_token(cnf=HOLDER.cnf, aud="https://elsewhere.example.com"), "wrong audience"),
        ("a.b.c", "invalid token"),
    ):
        for path in ("/any", "/auth/me"):
            said = HOLDER.get(gate, path, token).header("www-authenticate") or ""
            assert said.startswith(f'DPoP error="invalid_token", error_description="{error}", algs="ES256 ')
            plain = gate.get(path, token=token).header("www-authenticate") or ""
            assert plain.startswith('Bearer realm="authgate", error="invalid_token"')
    assert (gate.get("/any").header("www-authenticate") or "") == 'Bearer realm="authgate"'


def test_a_missing_scope_is_told_to_who_has_proven_the_key(gate: Gateway, issuers: dict[str, TokenMaker]) -> None:
    token = issuers["required"].access_token(cnf=HOLDER.cnf)
    headers = [("Authorization", f"DPoP {token}"), ("DPoP", HOLDER.proof("GET", f"{gate.url}/mcp", token))]
    refused = gate.get("/mcp", headers=headers)
    said = refused.header("www-authenticate") or ""
    assert (refused.status, said.partition(",")[0]) == (403, 'DPoP error="insufficient_scope"')
    assert ', scope="tools", resource_metadata="' in said


def test_what_clients_of_mcp_servers_are_told(gate: Gateway) -> None:
    described = gate.get("/.well-known/oauth-protected-resource/mcp").json()
    assert described["dpop_bound_access_tokens_required"] is True
    assert {"ES256", "EdDSA"} < set(described["dpop_signing_alg_values_supported"])


def test_a_revoked_token_is_refused_with_its_proof(gate: Gateway, issuers: dict[str, TokenMaker]) -> None:
    token = issuers["optional"].access_token(cnf=HOLDER.cnf, jti="to-be-revoked")
    assert HOLDER.get(gate, "/any", token).status == 200
    gate.shell.command("revoke", "--jti", "to-be-revoked", "--yes")
    assert [reason(HOLDER.get(gate, "/any", token)) for _ in range(4)] == ["token_revoked"] * 4


def test_an_issuer_whose_proofs_need_a_nonce(gate: Gateway, issuers: dict[str, TokenMaker]) -> None:
    token = issuers["nonce"].access_token(cnf=HOLDER.cnf)
    for wrong in ({}, {"nonce": ""}, {"nonce": "A" * 22}):
        refused = HOLDER.get(gate, "/any", token, **wrong)
        assert (refused.status, reason(refused)) == (401, "nonce_required")
        assert (refused.header("www-authenticate") or "").startswith('DPoP error="use_dpop_nonce"')
    nonce = refused.header("dpop-nonce")
    assert HOLDER.get(gate, "/any", token, nonce=nonce).status == 200
    assert HOLDER.get(gate, "/any", token, nonce=nonce).status == 200
    me = HOLDER.get(gate, "/auth/me", token)
    assert (me.status, bool(me.header("dpop-nonce"))) == (401, True)


@pytest.mark.parametrize("cnf", [{}, {"x5t#S256": "A" * 43}, "text", None], ids=str)
def test_a_token_that_is_bound_in_another_way(gate: Gateway, issuers: dict[str, TokenMaker], cnf: Any) -> None:
    for mode in ("off", "optional"):
        assert reason(gate.get("/any", token=issuers[mode].access_token(cnf=cnf))) == "invalid_token"


def test_the_gateways_own_pages(gate: Gateway, bound: str) -> None:
    proof = HOLDER.proof("GET", f"{gate.url}/auth/me", bound)
    me = send(gate, "/auth/me", bound, proof)
    assert (me.status, me.json()["credential"], me.json()["subject"]) == (200, "dpop", "optional|robot")
    assert reason(send(gate, "/auth/me", bound, proof)) == "bad_proof"
    assert reason(gate.get("/auth/me", token=bound)) == "proof_required"


def test_the_gateways_own_tokens_can_be_bound(gate: Gateway) -> None:
    token = gate.mint("robot", claims={"cnf": json.dumps(HOLDER.cnf)})
    assert reason(gate.get("/any", token=token)) == "proof_required"
    assert reason(gate.get("/any", headers=[("Cookie", f"auth_token={token}")])) == "proof_required"
    assert HOLDER.get(gate, "/any", token).status == 200


def test_a_service_token_is_bound_to_no_key(gate: Gateway) -> None:
    token = gate.shell.command("service_token", "create", "unbound", "--quiet").strip()
    assert gate.get("/any", token=token).status == 200
    assert reason(HOLDER.get(gate, "/any", token)) == "bad_proof"
    assert gate.get("/any", token=token).status == 200


def test_no_token_is_minted_that_would_be_refused(gate: Gateway) -> None:
    failed = gate.run("mint_token", "robot", "--claim", 'cnf={"jkt": "short"}')
    assert failed.returncode != 0
    assert "cnf must have jkt" in failed.stderr


def test_a_public_route_lets_a_bad_proof_in_as_nobody(gate: Gateway, bound: str, upstream: RecordingUpstream) -> None:
    assert HOLDER.get(gate, "/public", bound).status == 200
    assert upstream.requests[-1].header("X-Auth-User-ID") == "optional|robot"
    assert HOLDER.get(gate, "/public", bound, htm="PUT").status == 200
    assert upstream.requests[-1].header("X-Auth-User-ID") == ""


def test_where_the_token_is_passed_on_its_proof_is_as_well(
    gate: Gateway, bound: str, upstream: RecordingUpstream
) -> None:
    proof = HOLDER.proof("GET", f"{gate.url}/passed", bound)
    assert send(gate, "/passed", bound, proof).status == 200
    request = upstream.requests[-1]
    assert (request.header("Authorization"), request.header("DPoP")) == (f"DPoP {bound}", proof)
    assert reason(gate.get("/passed", token=bound)) == "proof_required"


def test_a_proof_of_the_services_own_is_not_judged(gate: Gateway, upstream: RecordingUpstream) -> None:
    refused = send(gate, "/passed", "an-opaque-token", "not a proof")
    assert (refused.status, reason(refused)) == (401, "invalid_token")
    cookie = ("Cookie", f"auth_token={gate.mint('alice')}")
    headers = [("Authorization", "DPoP an-opaque-token"), ("DPoP", "not a proof"), cookie]
    assert gate.get("/passed", headers=headers).status == 200
    request = upstream.requests[-1]
    assert (request.header("Authorization"), request.header("DPoP")) == ("DPoP an-opaque-token", "not a proof")


def test_a_change_of_what_an_issuer_asks_for_counts_at_once(gate: Gateway, issuers: dict[str, TokenMaker]) -> None:
    token = issuers["off"].access_token()
    assert gate.get("/any", token=token).status == 200
    for mode, then in (("required", "proof_required"), ("off", "")):
        gate.shell.run(
            "from authgate.models.issuers import TokenIssuer; issuer = TokenIssuer.objects.get(slug='off'); "
            f"issuer.dpop = '{mode}'; issuer.save()"
        )
        assert [reason(gate.get("/any", token=token)) for _ in range(4)] == [then] * 4


def test_no_proof_is_taken_that_cannot_be_remembered(
    start_gateway: Any, upstream: RecordingUpstream, issuers: dict[str, TokenMaker]
) -> None:
    gateway = start_gateway(policy=policy(upstream.target), workers=2)
    issuers["optional"].register(gateway, "optional", "--dpop", "optional")
    token = issuers["optional"].access_token(cnf=HOLDER.cnf)
    assert HOLDER.get(gateway, "/any", token).status == 200
    with open(memory_of(gateway), "r+b") as memory:
        memory.seek(TABLE_WORD * 8)
        bucket = struct.pack("<256Q", *range(1, 129), *[int(time.time()) + 3600] * 128)
        memory.write(bucket * (MOST // 128))
    refused = HOLDER.get(gateway, "/any", token)
    assert (refused.status, reason(refused)) == (503, "busy")
    assert gateway.get("/any", token=gateway.mint("alice")).status == 200


def memory_of(gateway: Gateway) -> Path:
    opened = Path(f"/proc/{gateway.worker_pids()[0]}/fd").iterdir()
    return next(one for one in opened if "authgate DPoP proofs" in str(one.readlink()))
