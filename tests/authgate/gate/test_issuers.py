"""Access tokens of other issuers at the running gateway: whose are taken, for what, and what each refusal says."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.gateway import Gateway
from tests.support.hostile import JWKS, Reply, Seen, broken, signing_key, unsigned
from tests.support.issuers import API, TokenMaker
from tests.support.upstream import RecordingUpstream

OLD = int(time.time()) - 10_000


def a_minute_ago() -> int:
    return int(time.time()) - 60


def policy(target: str) -> str:
    return f"""\
version: 1
upstreams:
  api: {{targets: ["{target}"]}}
roles:
  user: {{}}
  reader: {{}}
  admin: {{}}
grants:
  - {{role: user, when: {{authenticated: true}}}}
  - {{role: reader, when: {{claim: scope, contains: read}}}}
  - {{role: admin, when: {{provider: ci, claim: groups, contains: admins}}}}
routes:
  - {{name: any,    path: /any,    access: authenticated, upstream: api}}
  - {{name: public, path: /public, access: public, upstream: api}}
  - {{name: ci,     path: /ci,     access: authenticated, issuers: [ci], upstream: api}}
  - {{name: own,    path: /own,    access: authenticated, issuers: [gateway], upstream: api}}
  - {{name: scoped, path: /scoped, access: authenticated, scopes: [read, write], upstream: api}}
  - {{name: narrow, path: /narrow, access: authenticated, audience: "{API}/narrow", upstream: api}}
  - {{name: reader, path: /reader, access: roles, roles: [reader], upstream: api}}
  - {{name: admin,  path: /admins, access: roles, roles: [admin], upstream: api}}
  - {{name: passed, path: /passed, access: authenticated, pass_authorization: true, upstream: api}}
"""


@pytest.fixture(scope="module")
def ci() -> Iterator[TokenMaker]:
    with TokenMaker() as maker:
        yield maker


@pytest.fixture(scope="module")
def other() -> Iterator[TokenMaker]:
    with TokenMaker() as maker:
        maker.key = signing_key(kid="other")
        maker.published = [maker.key.jwk]
        yield maker


@pytest.fixture(scope="module")
def stranger() -> Iterator[TokenMaker]:
    with TokenMaker() as maker:
        yield maker


@pytest.fixture(scope="module")
def gate(
    gateway_template: Any, session_upstream: RecordingUpstream, tmp_path_factory: Any, ci: TokenMaker, other: TokenMaker
) -> Iterator[Gateway]:
    directory = tmp_path_factory.mktemp("issuers") / "data"
    with Gateway(directory, template=gateway_template, policy=policy(session_upstream.target), workers=2) as gateway:
        ci.register(
            gateway, "ci", "--audience", f"{API}/narrow", "--roles-claim", "realm_access.roles",
            "--claim-mapping", "name=profile.display",
        )  # fmt: skip
        other.register(gateway, "other", "--typ", "strict", "--required-claim", "env=prod", "--max-age", "600")
        gateway.start()
        yield gateway


def answer(gateway: Gateway, path: str, token: str) -> tuple[int, str]:
    got = gateway.get(path, token=token)
    return got.status, json.loads(got.body).get("reason", "") if got.status >= 400 else ""


def test_caller_of_an_issuer_reaches_the_service_under_its_issuers_name(
    gate: Gateway, ci: TokenMaker, upstream: RecordingUpstream
) -> None:
    token = ci.access_token(
        email="r@example.com", profile={"display": "Robot"}, realm_access={"roles": ["deploy"]}, scope="read",
        groups="admins",
    )  # fmt: skip
    assert gate.get("/admins", token=token).status == 200
    request = upstream.requests[-1]
    assert request.header("X-Auth-User-ID") == "ci|robot"
    assert request.header("X-Auth-User-Email") == "r@example.com"
    assert request.header("X-Auth-User-Name") == "Robot"
    assert json.loads(request.header("X-Auth-User-Roles") or "") == ["admin", "deploy", "reader", "user"]
    assert request.header("Authorization") is None
    request_id = request.header("X-Request-ID")
    [line] = gate.log_lines(wait_for=1, request_id=request_id)
    assert (line["sub"], line["credential"], bool(line["jti"])) == ("ci|robot", "bearer", True)


def test_me_tells_what_the_gateway_knows_of_it(gate: Gateway, ci: TokenMaker) -> None:
    me = json.loads(gate.get("/auth/me", token=ci.access_token(scope="b a")).body)
    assert (me["subject"], me["issuer"], me["scopes"]) == ("ci|robot", ci.url, ["a", "b"])


def test_the_same_subject_of_two_issuers_is_two_callers(
    gate: Gateway, ci: TokenMaker, other: TokenMaker, upstream: RecordingUpstream
) -> None:
    for maker in (ci, other):
        assert gate.get("/any", token=maker.access_token(env="prod")).status == 200
    assert [request.header("X-Auth-User-ID") for request in upstream.requests] == ["ci|robot", "other|robot"]


CHANGED = [
    ("other audience", {"aud": "https://elsewhere.example"}, "wrong_audience"),
    ("no audience", {"aud": ...}, "wrong_audience"),
    ("audience among others", {"aud": ["x", API]}, ""),
    ("empty audience", {"aud": []}, "wrong_audience"),
    ("audience with a slash more", {"aud": f"{API}/"}, "wrong_audience"),
    ("expired", {"exp": OLD}, "token_expired"),
    ("no expiry", {"exp": ...}, "invalid_token"),
    ("expiry as text", {"exp": "9999999999"}, "invalid_token"),
    ("expiry 1e300", {"exp": 1e300}, "invalid_token"),
    ("expiry -1", {"exp": -1}, "invalid_token"),
    ("expiry null", {"exp": None}, "invalid_token"),
    ("expiry true", {"exp": True}, "invalid_token"),
    ("expiry 2^63", {"exp": 2**63}, "invalid_token"),
    ("expiry NaN, which is not JSON", {"exp": float("nan")}, "unknown_key"),
    ("lives for ten years", {"exp": int(time.time()) + 10 * 366 * 86400}, "invalid_token"),
    ("expiry with a fraction", {"exp": time.time() + 3600.5}, ""),
    ("not yet valid", {"nbf": time.time() + 1000}, "token_not_yet_valid"),
    ("issued tomorrow", {"iat": time.time() + 86400}, "token_not_yet_valid"),
    ("no iat", {"iat": ...}, ""),
    ("no subject", {"sub": ...}, "invalid_token"),
    ("subject is a number", {"sub": 7}, "invalid_token"),
    ("subject with a line end", {"sub": "a\r\nX-Auth-User-ID: root"}, "invalid_token"),
    ("subject of 10,000 letters", {"sub": "a" * 10_000}, "invalid_token"),
    ("a logout token", {"events": {"http://schemas.openid.net/event/backchannel-logout": {}}}, "wrong_type"),
    ("an ID token with a nonce", {"nonce": "n"}, "wrong_type"),
    ("an ID token by at_hash", {"at_hash": "h"}, "wrong_type"),
    ("Keycloak's ID token", {"typ": "ID"}, "wrong_type"),
    ("Keycloak's refresh token", {"typ": "Refresh"}, "wrong_type"),
    ("Cognito's ID token", {"token_use": "id"}, "wrong_type"),
    ("Keycloak's access token", {"typ": "Bearer"}, ""),
    ("no jti", {"jti": ...}, ""),
]


@pytest.mark.parametrize(("claims", "reason"), [case[1:] for case in CHANGED], ids=[case[0] for case in CHANGED])
def test_claims(gate: Gateway, ci: TokenMaker, claims: dict[str, Any], reason: str) -> None:
    assert answer(gate, "/any", ci.access_token(**claims)) == ((401 if reason else 200), reason)


HEADERS = [
    ("typ JWT", {"typ": "JWT"}, ""),
    ("no typ", {"typ": ...}, ""),
    ("typ of a session", {"typ": "session+jwt"}, "wrong_type"),
    ("typ of an assertion", {"typ": "assertion+jwt"}, "wrong_type"),
    ("typ of a logout token", {"typ": "logout+jwt"}, "wrong_type"),
    ("typ of a security event", {"typ": "secevent+jwt"}, "wrong_type"),
    ("typ of a DPoP proof", {"typ": "dpop+jwt"}, "wrong_type"),
    ("a critical extension", {"crit": ["exp"]}, "invalid_token"),
    ("b64", {"b64": False}, "invalid_token"),
    ("another algorithm than it is signed with", {"alg": "PS256"}, "invalid_token"),
    ("HS256", {"alg": "HS256"}, "invalid_token"),
    ("none", {"alg": "none"}, "invalid_token"),
    ("algorithm is no text", {"alg": ["RS256"]}, "invalid_token"),
    ("unknown kid", {"kid": "never made"}, "unknown_key"),
    ("kid is a number", {"kid": 7}, "invalid_token"),
    ("kid is a path", {"kid": "../../etc/passwd"}, "unknown_key"),
    ("no kid, with one key there", {"kid": ...}, ""),
    ("a key of its own", {"jwk": signing_key(kid="mine").jwk}, ""),
]


@pytest.mark.parametrize(("header", "reason"), [case[1:] for case in HEADERS], ids=[case[0] for case in HEADERS])
def test_headers(gate: Gateway, ci: TokenMaker, header: dict[str, Any], reason: str) -> None:
    token = ci.access_token(header=header, iat=a_minute_ago())
    assert answer(gate, "/any", token) == ((401 if reason else 200), reason)


def test_a_key_that_the_token_brings_along_verifies_nothing(gate: Gateway, ci: TokenMaker) -> None:
    mine = signing_key(kid="mine")
    token = ci.access_token(
        mine, {"kid": ci.key.kid, "jwk": mine.jwk, "jku": f"{ci.url}/evil", "x5u": f"{ci.url}/evil"}
    )
    assert answer(gate, "/any", token) == (401, "bad_signature")
    assert ci.count("/evil") == 0


def test_signature_is_verified(gate: Gateway, ci: TokenMaker) -> None:
    token = ci.access_token()
    assert gate.get("/any", token=token).status == 200
    assert answer(gate, "/any", broken(token)) == (401, "bad_signature")
    assert answer(gate, "/any", unsigned(token)) == (401, "invalid_token")


def test_one_issuers_key_signs_nothing_for_another(gate: Gateway, ci: TokenMaker, other: TokenMaker) -> None:
    assert answer(gate, "/any", ci.access_token(other.key, iat=a_minute_ago())) == (401, "unknown_key")
    assert answer(gate, "/any", ci.access_token(other.key, {"kid": ci.key.kid})) == (401, "bad_signature")
    assert answer(gate, "/any", other.access_token(iss=ci.url, iat=a_minute_ago())) == (401, "unknown_key")


@pytest.mark.parametrize("change", ["/", "?a=b", "#f", " "])
def test_issuer_is_compared_to_the_letter(gate: Gateway, ci: TokenMaker, change: str) -> None:
    assert answer(gate, "/any", ci.access_token(iss=f"{ci.url}{change}")) == (401, "wrong_issuer")


def test_issuer_that_nobody_trusts(gate: Gateway, stranger: TokenMaker) -> None:
    assert answer(gate, "/any", stranger.access_token()) == (401, "wrong_issuer")
    assert stranger.seen == []


def test_issuers_token_in_the_gateways_name(gate: Gateway, ci: TokenMaker) -> None:
    assert gate.get("/any", token=ci.access_token(iss=gate.url, aud=gate.url)).status == 401


@pytest.mark.parametrize(
    ("claims", "header", "reason"),
    [
        ({}, {}, "claim_missing"),
        ({"env": "test"}, {}, "claim_missing"),
        ({"env": ["test", "prod"]}, {}, ""),
        ({"env": "prod"}, {"typ": "JWT"}, "wrong_type"),
        ({"env": "prod"}, {"typ": ...}, "wrong_type"),
        ({"env": "prod"}, {"typ": "application/at+JWT"}, ""),
        ({"env": "prod", "iat": int(time.time()) - 700}, {}, "token_expired"),
        ({"env": "prod", "iat": ...}, {}, "invalid_token"),
    ],
)
def test_what_an_issuers_tokens_must_be(
    gate: Gateway, other: TokenMaker, claims: dict[str, Any], header: dict[str, Any], reason: str
) -> None:
    assert answer(gate, "/any", other.access_token(header=header, **claims)) == ((401 if reason else 200), reason)


def test_routes_take_the_issuers_they_name(gate: Gateway, ci: TokenMaker, other: TokenMaker) -> None:
    own = gate.mint("alice")
    theirs = other.access_token(env="prod")
    assert [answer(gate, "/ci", token)[1] for token in (ci.access_token(), theirs, own)] == [
        "", "issuer_not_taken", "issuer_not_taken",
    ]  # fmt: skip
    assert [answer(gate, "/own", token)[1] for token in (ci.access_token(), theirs, own)] == [
        "issuer_not_taken", "issuer_not_taken", "",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("claims", "status"),
    [
        ({"scope": "read write"}, 200),
        ({"scope": "write other read"}, 200),
        ({"scp": ["read", "write"]}, 200),
        ({"scope": "read"}, 403),
        ({"scope": "readwrite"}, 403),
        ({"scope": "READ WRITE"}, 403),
        ({"scope": {"read": True, "write": True}}, 403),
        ({}, 403),
    ],
)
def test_scopes_of_a_route(gate: Gateway, ci: TokenMaker, claims: dict[str, Any], status: int) -> None:
    got = gate.get("/scoped", token=ci.access_token(**claims))
    assert got.status == status
    if status == 403:
        assert json.loads(got.body)["reason"] == "insufficient_scope"
        challenge = got.header("www-authenticate")
        assert 'error="insufficient_scope"' in challenge
        assert 'scope="read write"' in challenge


def test_audience_of_a_route(gate: Gateway, ci: TokenMaker) -> None:
    assert answer(gate, "/narrow", ci.access_token()) == (401, "wrong_audience")
    assert answer(gate, "/narrow", ci.access_token(aud=[f"{API}/narrow"])) == (200, "")


def test_scope_gives_a_role(gate: Gateway, ci: TokenMaker) -> None:
    assert answer(gate, "/reader", ci.access_token(scope="write read")) == (200, "")
    assert answer(gate, "/reader", ci.access_token(scope="write")) == (403, "missing_role")


def test_groups_of_another_issuer_give_no_role_of_this_one(gate: Gateway, ci: TokenMaker, other: TokenMaker) -> None:
    assert answer(gate, "/admins", ci.access_token(groups=["admins"])) == (200, "")
    assert answer(gate, "/admins", other.access_token(env="prod", groups=["admins"])) == (403, "missing_role")


@pytest.mark.parametrize(
    ("verified", "email"), [(True, "a@example.com"), (False, ""), ("true", ""), (..., "a@example.com")]
)
def test_email_counts_unless_the_issuer_says_that_it_is_not_verified(
    gate: Gateway, ci: TokenMaker, upstream: RecordingUpstream, verified: Any, email: str
) -> None:
    assert gate.get("/any", token=ci.access_token(email="a@example.com", email_verified=verified)).status == 200
    assert upstream.requests[-1].header("X-Auth-User-Email") == email


def test_public_route_lets_a_bad_token_in_as_nobody(gate: Gateway, ci: TokenMaker, upstream: RecordingUpstream) -> None:
    for token, who in (
        (ci.access_token(), "ci|robot"),
        (broken(ci.access_token()), ""),
        (ci.access_token(header={"kid": "never made"}), ""),
    ):
        assert gate.get("/public", token=token).status == 200
        assert upstream.requests[-1].header("X-Auth-User-ID") == who


def test_token_of_a_trusted_issuer_is_a_credential_where_the_header_is_passed_on(
    gate: Gateway, ci: TokenMaker, upstream: RecordingUpstream
) -> None:
    token = ci.access_token()
    assert gate.get("/passed", token=token).status == 200
    assert upstream.requests[-1].header("Authorization") == f"Bearer {token}"
    assert answer(gate, "/passed", ci.access_token(exp=OLD)) == (401, "token_expired")


def test_issuers_token_is_no_session(gate: Gateway, ci: TokenMaker) -> None:
    cookie = [("Cookie", f"auth_token={ci.access_token()}")]
    got = gate.get("/any", headers=cookie)
    assert (got.status, json.loads(got.body)["reason"]) == (401, "unknown_key")


def test_revoked_by_its_id(gate: Gateway, ci: TokenMaker) -> None:
    token = ci.access_token(jti="to-be-revoked")
    assert gate.get("/any", token=token).status == 200
    gate.shell.run(
        "from authgate.policy.powers import Machine; from authgate.state.revocation import revoke; "
        "revoke('to-be-revoked', '', Machine('test'))"
    )
    assert answer(gate, "/any", token) == (401, "token_revoked")


def test_unknown_kid_asks_the_issuer_once_in_a_while(gate: Gateway, ci: TokenMaker) -> None:
    before = ci.count(JWKS)
    for number in range(40):
        token = ci.access_token(header={"kid": f"made up {number}"}, iat=a_minute_ago())
        assert answer(gate, "/any", token) == (401, "unknown_key")
    assert ci.count(JWKS) - before <= 2  # one for each worker


def test_a_token_that_was_made_since_the_issuer_was_asked_may_have_a_new_key(gate: Gateway, ci: TokenMaker) -> None:
    for number in range(8):  # both workers ask
        gate.get("/any", token=ci.access_token(header={"kid": f"made up {number}"}))
    for claims, expected in (
        ({}, (503, "issuer_unavailable")),
        ({"iat": a_minute_ago()}, (401, "unknown_key")),
        ({"iat": ...}, (401, "unknown_key")),
        ({"iat": "now"}, (401, "unknown_key")),
    ):
        assert answer(gate, "/any", ci.access_token(header={"kid": "another"}, **claims)) == expected
    refused = gate.get("/any", token=ci.access_token(header={"kid": "another"}))
    assert int(refused.header("Retry-After") or "") > 0
    [line] = gate.log_lines(wait_for=1, request_id=refused.header("X-Request-ID"))
    assert line["rule"] == "its key is none of those that the issuer published when it was asked last"


def test_an_issuer_that_does_not_answer_in_time_may_have_the_key(
    start_gateway: Any, upstream: RecordingUpstream
) -> None:
    answering = threading.Event()

    def hang(seen: Seen) -> Reply:
        answering.wait(20)
        return Reply(500)

    with TokenMaker() as maker:
        gateway = start_gateway(policy=policy(upstream.target))
        maker.answers[JWKS] = hang
        maker.register(gateway, "ci")
        assert answer(gateway, "/any", maker.access_token(iat=a_minute_ago())) == (503, "issuer_unavailable")
        answering.set()


def test_junk_among_the_keys_takes_no_good_one_with_it(start_gateway: Any, upstream: RecordingUpstream) -> None:
    with TokenMaker() as maker:
        good = maker.key.jwk
        maker.published = [
            {}, None, 7, {"kty": "oct", "k": "c2VjcmV0", "kid": "first"}, {**good, "use": "enc"},
            {**good, "key_ops": ["sign"]}, {"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "short"}, good,
        ]  # fmt: skip
        gateway = start_gateway(policy=policy(upstream.target))
        maker.register(gateway, "ci")
        assert answer(gateway, "/any", maker.access_token()) == (200, "")
        assert "7 of its keys are of no use" in gateway.output


def test_issuer_that_cannot_be_asked(start_gateway: Any, upstream: RecordingUpstream) -> None:
    with TokenMaker() as maker:
        maker.answers[JWKS] = lambda seen: Reply(500)
        gateway = start_gateway(policy=policy(upstream.target))
        maker.register(gateway, "ci")
        got = gateway.get("/any", token=maker.access_token())
        assert (got.status, json.loads(got.body)["reason"]) == (503, "issuer_unavailable")
        assert int(got.header("retry-after")) > 0
        assert gateway.get("/any", token=gateway.mint("alice")).status == 200


def test_removal_is_in_force_with_its_answer(start_gateway: Any, upstream: RecordingUpstream) -> None:
    with TokenMaker() as maker:
        gateway = start_gateway(policy=policy(upstream.target), workers=2)
        maker.register(gateway, "ci")
        token = maker.access_token()
        for _ in range(8):
            assert answer(gateway, "/any", token) == (200, "")
        gateway.shell.command("issuer", "remove", "ci")
        for _ in range(8):
            assert gateway.get("/any", token=token).status == 401


def test_keys_are_rotated_without_one_false_refusal(start_gateway: Any, upstream: RecordingUpstream) -> None:
    with TokenMaker() as maker:
        gateway = start_gateway(policy=policy(upstream.target), workers=2)
        maker.register(gateway, "ci")
        assert answer(gateway, "/any", maker.access_token()) == (200, "")
        newer = signing_key(kid="second")
        maker.published = [newer.jwk]
        # Both workers have fetched a moment ago; the first token of the new key waits for nothing but the fetch.
        deadline = time.monotonic() + 15
        while answer(gateway, "/any", maker.access_token(newer)) != (200, ""):
            assert time.monotonic() < deadline
            time.sleep(0.2)


def test_pasted_keys_need_no_address(start_gateway: Any, upstream: RecordingUpstream, tmp_path: Any) -> None:
    key = signing_key(kid="pasted")
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps({"keys": [key.jwk]}))
    gateway = start_gateway(policy=policy(upstream.target))
    gateway.shell.command(
        "issuer", "add", "offline", "--issuer", "kubernetes/serviceaccount", "--audience", API, "--jwks-file", str(file)
    )
    with TokenMaker() as maker:
        token = maker.access_token(key, iss="kubernetes/serviceaccount")
        assert answer(gateway, "/any", token) == (200, "")
        assert maker.seen == []


@pytest.mark.parametrize(
    ("claims", "rule"),
    [
        ({"aud": ["https://elsewhere.example", 7]}, "aud is 'https://elsewhere.example', a number"),
        ({"aud": []}, "aud is empty"),
        ({"exp": ...}, "exp is missing or null, which is no time"),
        ({"exp": "9999"}, "exp is '9999', which is no time"),
        ({"exp": True}, "exp is true or false, which is no time"),
        ({"sub": "a\nb"}, "sub is not a text of 1 to 190 safe characters"),
        ({"nonce": "n"}, "its claims are those of another kind of token"),
        ({"aud": "x" * 5000}, f"aud is '{'x' * 199}"),
    ],
)
def test_the_log_says_what_a_token_does_not_meet(
    gate: Gateway, ci: TokenMaker, claims: dict[str, Any], rule: str
) -> None:
    refused = gate.get("/any", token=ci.access_token(**claims))
    [line] = gate.log_lines(wait_for=1, request_id=refused.header("X-Request-ID"))
    assert (refused.status, line["rule"]) == (401, rule)
    assert rule not in refused.text


def test_a_deep_header_of_a_stranger_is_named_by_its_type(gate: Gateway, ci: TokenMaker) -> None:
    deep: Any = []
    for _ in range(5):
        deep = [deep]
    refused = gate.get("/any", token=ci.access_token(header={"typ": deep}))
    [line] = gate.log_lines(wait_for=1, request_id=refused.header("X-Request-ID"))
    assert (line["reason"], line["rule"]) == ("wrong_type", "typ is a list")


def test_issuer_test_says_what_a_token_does_not_meet(gate: Gateway, ci: TokenMaker, other: TokenMaker) -> None:
    for maker, slug, claims, words in (
        (ci, "ci", {"exp": ...}, "invalid_token: exp is missing or null"),
        (other, "other", {}, "claim_missing: env must be 'prod'"),
    ):
        judged = gate.run("issuer", "test", slug, "--token", maker.access_token(**claims))
        assert words in judged.stdout + judged.stderr
