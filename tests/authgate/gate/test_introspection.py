"""Tokens that only their issuer can tell about, and what its answers are worth."""

from __future__ import annotations

import json
import secrets
import time
from base64 import b64decode
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any
from urllib.parse import unquote_plus

import pytest

from tests.support.gateway import Gateway
from tests.support.hostile import JWKS, Reply, broken, sign, signing_key
from tests.support.introspecting import (
    API,
    CLIENT_ID,
    CLIENT_SECRET,
    INTROSPECT,
    SIGNED,
    IntrospectingIssuer,
    add_issuer,
    change_issuer,
    remove_issuer,
)

NUMBERS = count()


def policy(target: str) -> str:
    return f"""\
version: 1
upstreams: {{api: {{targets: ["{target}"]}}}}
roles: {{reader: {{}}, user: {{}}}}
grants:
  - {{role: user, when: {{authenticated: true}}}}
  - {{role: reader, when: {{claim: scope, contains: read}}}}
routes:
  - {{name: a,      path: /a,      access: authenticated, issuers: [a], upstream: api}}
  - {{name: b,      path: /b,      access: authenticated, issuers: [b], upstream: api}}
  - {{name: always, path: /always, access: authenticated, issuers: [always], upstream: api}}
  - {{name: signs,  path: /signs,  access: authenticated, issuers: [signs], upstream: api}}
  - {{name: auto,   path: /auto,   access: authenticated, issuers: [auto], upstream: api}}
  - {{name: own,    path: /own,    access: authenticated, issuers: [gateway], upstream: api}}
  - {{name: any,    path: /any,    access: authenticated, upstream: api}}
  - {{name: public, path: /public, access: public, upstream: api}}
  - {{name: reader, path: /reader, access: roles, roles: [reader], issuers: [a], upstream: api}}
  - {{name: passed, path: /passed, access: authenticated, pass_authorization: true, upstream: api}}
  - {{name: named,  path: /named,  access: authenticated, pass_authorization: true, issuers: [a], upstream: api}}
"""


def opaque() -> str:
    return f"opaque-{next(NUMBERS)}-{secrets.token_urlsafe(16)}"


@pytest.fixture(scope="module")
def issuers():
    made = {slug: IntrospectingIssuer() for slug in ("a", "b", "always", "signs", "auto")}
    made["signs"].metadata["introspection_signing_alg_values_supported"] = ["RS256"]
    for issuer in made.values():
        issuer.__enter__()
    yield made
    for issuer in made.values():
        issuer.__exit__()


@pytest.fixture(scope="module")
def gate(gateway_template, session_upstream, tmp_path_factory, issuers):
    directory = tmp_path_factory.mktemp("introspection") / "data"
    with Gateway(directory, template=gateway_template, policy=policy(session_upstream.target)) as gateway:
        add_issuer(gateway, "a", issuers["a"].url)
        add_issuer(gateway, "b", issuers["b"].url, client_authentication="post")
        add_issuer(gateway, "always", issuers["always"].url, introspection_seconds=0)
        add_issuer(gateway, "signs", issuers["signs"].url, "", client_authentication="private_key_jwt")
        add_issuer(gateway, "auto", issuers["auto"].url, strategy="auto")
        yield gateway.start()


@pytest.fixture
def a(issuers):
    yield issuers["a"]
    for issuer in issuers.values():
        issuer.reply, issuer.delay = None, 0.0
        issuer.hold.set()


def answer(gate: Gateway, path: str, token: str) -> tuple[int, str]:
    got = gate.get(path, token=token)
    return got.status, json.loads(got.body).get("reason", "") if got.status >= 400 else ""


def jwt(issuer: IntrospectingIssuer, **claims: Any) -> str:
    now = int(time.time())
    good = {"iss": issuer.url, "aud": API, "sub": "robot", "iat": now, "exp": now + 300, "jti": opaque(), **claims}
    return sign(issuer.key, good, {"alg": "RS256", "kid": issuer.key.kid, "typ": "at+jwt"})


def test_the_caller_of_an_active_token_reaches_the_service(gate, a, upstream):
    token = a.grant(opaque(), sub="robot", email="r@example.com", name="Robot", scope="write read")
    assert gate.get("/reader", token=token).status == 200
    [request] = upstream.requests
    assert request.header("X-Auth-User-ID") == "a|robot"
    assert request.header("X-Auth-User-Email") == "r@example.com"
    assert json.loads(request.header("X-Auth-User-Roles")) == ["reader", "user"]
    assert request.header("Authorization") is None


def test_a_scope_that_only_contains_the_word_gives_no_role(gate, a):
    assert answer(gate, "/reader", a.grant(opaque(), scope="reads unread")) == (403, "missing_role")


def test_it_is_asked_with_the_token_in_the_form_and_the_secret_in_basic(gate, a):
    token = a.grant(opaque())
    gate.get("/a", token=token)
    seen = a.asked[-1]
    assert (seen.method, seen.path) == ("POST", INTROSPECT)
    assert seen.form == {"token": token, "token_type_hint": "access_token"}
    name, _, secret = b64decode(seen.headers["authorization"].removeprefix("Basic ")).decode().partition(":")
    assert (unquote_plus(name), unquote_plus(secret)) == (CLIENT_ID, CLIENT_SECRET)
    assert seen.headers["accept"] == "application/json"
    assert seen.headers["accept-encoding"] == "identity"


def test_it_is_asked_with_the_secret_in_the_form(gate, a, issuers):
    token = issuers["b"].grant(opaque())
    assert gate.get("/b", token=token).status == 200
    seen = issuers["b"].asked[-1]
    assert "authorization" not in seen.headers
    assert seen.form == {
        "token": token, "token_type_hint": "access_token", "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET,
    }  # fmt: skip


def test_it_is_asked_once_for_as_long_as_its_answer_holds(gate, a):
    token = a.grant(opaque())
    assert [gate.get("/a", token=token).status for _ in range(5)] == [200] * 5
    assert a.times_asked(token) == 1


def test_it_is_asked_once_for_all_who_wait(gate, a):
    token = a.grant(opaque())
    a.delay = 0.3
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda _: gate.get("/a", token=token).status, range(8)))
    assert statuses == [200] * 8
    assert a.times_asked(token) == 1


def test_without_seconds_every_request_asks(gate, a, issuers):
    always = issuers["always"]
    token = always.grant(opaque())
    assert [gate.get("/always", token=token).status for _ in range(3)] == [200] * 3
    assert always.times_asked(token) == 3
    del always.active[token]
    assert answer(gate, "/always", token) == (401, "token_inactive")
    always.grant(token)
    assert gate.get("/always", token=token).status == 200


def test_an_answer_holds_no_longer_than_the_token(gate, a):
    token = a.grant(opaque(), exp=int(time.time()) + 2)
    assert gate.get("/a", token=token).status == 200
    time.sleep(2.1)
    assert answer(gate, "/a", token) == (401, "token_expired")


def test_an_answer_holds_no_longer_than_configured(start_gateway, upstream, a):
    gateway = start_gateway(policy=policy(upstream.target))
    add_issuer(gateway, "a", a.url, introspection_seconds=1)
    token = a.grant(opaque())
    assert gateway.get("/a", token=token).status == 200
    del a.active[token]
    time.sleep(1.1)
    assert answer(gateway, "/a", token) == (401, "token_inactive")


def test_an_inactive_token_is_not_asked_about_again_at_once_but_soon(gate, a):
    token = opaque()
    assert [answer(gate, "/a", token) for _ in range(3)] == [(401, "token_inactive")] * 3
    assert a.times_asked(token) == 1
    a.grant(token)
    time.sleep(3.1)
    assert gate.get("/a", token=token).status == 200


NOW = int(time.time())
HOSTILE = [
    ("active as text", {"active": "true"}, (503, "issuer_unavailable")),
    ("active as a number", {"active": 1}, (503, "issuer_unavailable")),
    ("active as a list", {"active": [True]}, (503, "issuer_unavailable")),
    ("active null", {"active": None}, (503, "issuer_unavailable")),
    ("no active", {"active": ...}, (503, "issuer_unavailable")),
    ("inactive", {"active": False}, (401, "token_inactive")),
    ("other issuer", {"iss": "https://elsewhere.example"}, (401, "wrong_issuer")),
    ("issuer with a slash more", {"iss": lambda a: a.url + "/"}, (401, "wrong_issuer")),
    ("issuer null", {"iss": None}, (401, "wrong_issuer")),
    ("no issuer", {"iss": ...}, (200, "")),
    ("other audience", {"aud": "https://elsewhere.example"}, (401, "wrong_audience")),
    ("no audience", {"aud": ...}, (401, "wrong_audience")),
    ("audience among others", {"aud": ["x", API]}, (200, "")),
    ("expired", {"exp": NOW - 1}, (401, "token_expired")),
    ("expires now", {"exp": NOW}, (401, "token_expired")),
    ("no expiry", {"exp": ...}, (200, "")),
    ("expiry 1e300", {"exp": 1e300}, (401, "invalid_token")),
    ("expiry as text", {"exp": "9999999999"}, (401, "invalid_token")),
    ("expiry true", {"exp": True}, (401, "invalid_token")),
    ("expiry null", {"exp": None}, (401, "invalid_token")),
    ("expiry -1", {"exp": -1}, (401, "invalid_token")),
    ("not yet valid", {"nbf": NOW + 1000}, (401, "token_not_yet_valid")),
    ("no subject", {"sub": ...}, (401, "invalid_token")),
    ("subject with a line end", {"sub": "a\r\nX-Auth-User-ID: root"}, (401, "invalid_token")),
    ("a refresh token by token_type", {"token_type": "refresh_token"}, (401, "wrong_type")),
    ("a refresh token of Hydra", {"token_use": "refresh_token"}, (401, "wrong_type")),
    ("a refresh token of Keycloak", {"typ": "Refresh"}, (401, "wrong_type")),
    ("a token bound to a key that is not named", {"token_type": "DPoP"}, (401, "wrong_type")),
    ("a bound token, while DPoP is off", {"token_type": "DPoP", "cnf": {"jkt": "A" * 43}}, (401, "proof_required")),
    ("a bearer token", {"token_type": "bearer"}, (200, "")),
    ("token_type 7", {"token_type": 7}, (401, "wrong_type")),
]


@pytest.mark.parametrize(("claims", "expected"), [row[1:] for row in HOSTILE], ids=[row[0] for row in HOSTILE])
def test_what_an_answer_says(gate, a, claims, expected):
    claims = {name: value(a) if callable(value) else value for name, value in claims.items()}
    assert answer(gate, "/a", a.grant(opaque(), **claims)) == expected


def raw_answers(a, token):
    good = json.dumps(a.active[token])
    plain = {"Content-Type": "application/json"}
    yield "100 KB", Reply(body={**a.active[token], "x": "y" * 100_000})
    yield "deep", Reply(body=good[:-1].encode() + b', "x": ' + b"[" * 20_000 + b"]" * 20_000 + b"}")
    yield "nested more than 16", Reply(body=good[:-1].encode() + b', "x": ' + b"[" * 17 + b"]" * 17 + b"}")
    yield "two members active", Reply(body=good[:-1].encode() + b', "active": true}')
    yield "NaN", Reply(body=good[:-1].encode() + b', "x": NaN}')
    yield "a list", Reply(body=b"[true]")
    yield "true", Reply(body=b"true")
    yield "nothing", Reply(body=b"")
    yield "not UTF-8", Reply(body=good[:-1].encode() + b', "x": "\xff"}')
    yield "a page", Reply(body=good.encode(), headers={"Content-Type": "text/html"})
    yield "no type", Reply(body=good.encode(), headers={})
    yield "said to be compressed", Reply(body=b"\x1f\x8b", headers={**plain, "Content-Encoding": "gzip"})
    for status in (201, 204, 400, 401, 403, 404, 413, 500):
        yield f"status {status}", Reply(status, good.encode())
    for status in (301, 302, 303, 307, 308):
        yield f"redirect {status}", Reply(status, b"", {**plain, "Location": f"{a.url}/elsewhere"})


@pytest.mark.parametrize("number", range(25))
def test_what_is_no_answer(gate, a, number):
    token = a.grant(opaque())
    name, reply = list(raw_answers(a, token))[number]
    a.answers["/elsewhere"] = lambda _: Reply(body=a.active[token])
    a.reply = lambda _: reply
    got = gate.get("/a", token=token)
    assert (got.status, got.json()["reason"], got.header("retry-after")) == (503, "issuer_unavailable", "5"), name
    assert a.count("/elsewhere") == 0
    a.reply = None
    assert gate.get("/a", token=token).status == 200


# -- to whom a token is shown -----------------------------------------------------------------------------------------


def all_asked(issuers, token):
    return {slug for slug, issuer in issuers.items() if issuer.times_asked(token)}


def test_an_opaque_token_is_shown_to_nobody_where_several_may_be_meant(gate, a, issuers):
    token = a.grant(opaque())
    assert answer(gate, "/any", token) == (401, "issuer_unclear")
    assert "name that issuer on the route" in gate.get("/any", token=token).json()["message"]
    assert all_asked(issuers, token) == set()


def test_a_token_that_one_issuer_knows_is_not_good_for_another(gate, a, issuers):
    token = a.grant(opaque())
    assert gate.get("/a", token=token).status == 200
    assert answer(gate, "/b", token) == (401, "token_inactive")
    assert gate.get("/a", token=token).status == 200
    assert answer(gate, "/any", token) == (401, "issuer_unclear")


@pytest.mark.parametrize("token", ["agt_" + "0" * 46, "x" * 17_000])
def test_what_may_be_ours_is_never_shown(gate, a, issuers, token):
    gate.get("/a", token=token)
    assert all_asked(issuers, token) == set()


def test_a_token_that_names_somebody_is_shown_to_nobody_else(gate, a, issuers):
    stranger = sign(signing_key(kid="x"), {"iss": "https://x.example", "aud": API, "sub": "r"}, {"alg": "RS256"})
    ours = sign(signing_key(kid="x"), {"iss": gate.url, "sub": "r"}, {"alg": "RS256", "kid": "x"})
    minted = gate.mint("alice")
    kid = json.loads(gate.get("/.well-known/jwks.json").body)["keys"][0]["kid"]
    with_our_key = sign(signing_key(), {"iss": a.url, "sub": "r", "aud": API}, {"alg": "RS256", "kid": kid})
    without_issuer_with_our_key = sign(signing_key(), {"sub": "r"}, {"alg": "RS256", "kid": kid})
    for token in (stranger, ours, minted, with_our_key, without_issuer_with_our_key):
        for path in ("/a", "/any", "/auto", "/passed", "/named"):
            gate.get(path, token=token)
        assert all_asked(issuers, token) == set()


def test_a_jwt_is_asked_about_at_the_issuer_that_it_names(gate, a, issuers):
    token = jwt(a)
    assert answer(gate, "/any", token) == (401, "token_inactive")  # its signature does not count
    assert all_asked(issuers, token) == {"a"}
    active = jwt(a, jti="other")
    a.grant(active)
    assert gate.get("/any", token=active).status == 200
    assert answer(gate, "/b", active) == (403, "issuer_not_taken")


def test_a_jwt_that_fails_is_never_asked_about(gate, a, issuers):
    auto = issuers["auto"]
    good = jwt(auto)
    assert gate.get("/auto", token=good).status == 200
    header, payload, signature = good.split(".")
    bad = [
        jwt(auto, exp=NOW - 100), jwt(auto, aud="x"), broken(good), f"{header}.{payload}.", f"{header}.{payload}.AAAA",
        f"{header}.{payload}=.{signature}", sign(signing_key(kid="o"), {"iss": auto.url}, {"alg": "RS256", "kid": "o"}),
        sign(auto.key, {"iss": auto.url}, {"alg": "none"}),
    ]  # fmt: skip
    for token in bad:
        auto.grant(token)
        assert gate.get("/auto", token=token).status in (400, 401)
    assert all_asked(issuers, good) | {slug for token in bad for slug in all_asked(issuers, token)} == set()


def test_an_opaque_token_of_an_issuer_that_signs_others_is_asked_about(gate, a, issuers):
    token = issuers["auto"].grant(opaque())
    assert gate.get("/auto", token=token).status == 200
    assert all_asked(issuers, token) == {"auto"}


def test_where_the_header_is_for_the_service_its_opaque_tokens_are_shown_to_nobody(gate, a, issuers, upstream):
    token = a.grant(opaque())
    assert answer(gate, "/passed", token)[0] == 401
    assert all_asked(issuers, token) == set()
    assert gate.get("/named", token=token).status == 200  # unless the route names who is asked
    assert all_asked(issuers, token) == {"a"}
    assert upstream.requests[-1].header("Authorization") == f"Bearer {token}"


def test_a_public_route_asks_nobody(gate, a, issuers):
    token = a.grant(opaque())
    assert gate.get("/public", token=token).status == 200
    assert all_asked(issuers, token) == set()


def test_a_route_for_the_gateways_own_asks_nobody(gate, a, issuers):
    token = a.grant(opaque())
    assert gate.get("/own", token=token).status == 401
    assert all_asked(issuers, token) == set()


def test_neither_token_nor_secret_is_in_any_log(gate, a):
    token = a.grant(opaque())
    gate.get("/a", token=token)
    a.reply = lambda _: Reply(500, token.encode() + CLIENT_SECRET.encode())
    other = a.grant(opaque())
    gate.get("/a", token=other)
    time.sleep(0.3)
    for secret in (token, other, CLIENT_SECRET):
        assert secret not in gate.output


# -- signed answers (RFC 9701), and a client that signs (RFC 7523) ----------------------------------------------------


def test_a_signed_answer_is_asked_for_and_used(gate, a, issuers):
    signs = issuers["signs"]
    token = signs.grant(opaque(), sub="signed")
    signs.reply = lambda seen: signs.signed(signs.active[seen.form["token"]])
    assert gate.get("/signs", token=token).status == 200
    assert signs.asked[-1].headers["accept"] == f"{SIGNED}, application/json"


def test_the_client_assertion_proves_the_gateway_and_passes_for_nothing_else(gate, a, issuers):
    signs = issuers["signs"]
    assertions = []
    for _ in range(2):
        gate.get("/signs", token=signs.grant(opaque()))
        assertions.append(signs.asked[-1].form["client_assertion"])
    form = signs.asked[-1].form
    assert form["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    assert "client_secret" not in form
    header, payload = (json.loads(b64decode(part + "==", altchars=b"-_")) for part in assertions[0].split(".")[:2])
    assert header["typ"] == "client-authentication+jwt"
    assert (payload["iss"], payload["sub"], payload["aud"]) == (CLIENT_ID, CLIENT_ID, signs.url)
    assert 0 < payload["exp"] - payload["iat"] <= 60
    other = json.loads(b64decode(assertions[1].split(".")[1] + "==", altchars=b"-_"))
    assert payload["jti"] != other["jti"]
    for path in ("/signs", "/any", "/own", "/passed"):
        assert gate.get(path, token=assertions[0]).status == 401
        assert gate.get(path, headers=[("Cookie", f"auth_token={assertions[0]}")]).status == 401
    assert all_asked(issuers, assertions[0]) == set()


FORGED = {
    "another key": lambda s, good: s.signed(good, signing_key(kid="other")),
    "another key under its name": lambda s, good: s.signed(good, signing_key(kid="x"), header={"kid": s.key.kid}),
    "no typ": lambda s, good: s.signed(good, header={"typ": ...}),
    "an access token's typ": lambda s, good: s.signed(good, header={"typ": "at+jwt"}),
    "no signature": lambda s, good: s.signed(good, header={"alg": "none"}),
    "an extension": lambda s, good: s.signed(good, header={"crit": ["x"], "x": 1}),
    "another issuer": lambda s, good: s.signed(good, iss="https://elsewhere.example"),
    "no issuer": lambda s, good: s.signed(good, iss=...),
    "another client": lambda s, good: s.signed(good, aud="other"),
    "another service": lambda s, good: s.signed(good, aud=["https://elsewhere.example", 7]),
    "no client": lambda s, good: s.signed(good, aud=...),
    "old": lambda s, good: s.signed(good, iat=int(time.time()) - 120),
    "of tomorrow": lambda s, good: s.signed(good, iat=int(time.time()) + 86400),
    "no time": lambda s, good: s.signed(good, iat=...),
    "the members outside": lambda s, good: s.signed(..., **good),
    "a text inside": lambda s, good: s.signed(json.dumps(good)),
    "plain JSON under its name": lambda s, good: Reply(body=good, headers={"Content-Type": SIGNED}),
    "signed under JSON's name": lambda s, good: Reply(
        body=s.signed(good).body, headers={"Content-Type": "application/json"}
    ),
    "one bit": lambda s, good: Reply(
        body=broken(s.signed(good).body.decode()).encode(), headers={"Content-Type": SIGNED}
    ),
    "text for active": lambda s, good: s.signed({**good, "active": "true"}),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_signed_answer_that_does_not_verify_is_none(gate, a, issuers, name):
    signs = issuers["signs"]
    token = signs.grant(opaque())
    signs.reply = lambda seen: FORGED[name](signs, signs.active[token])
    assert answer(gate, "/signs", token) == (503, "issuer_unavailable")


def test_keys_of_an_issuer_that_is_always_asked_are_fetched_only_for_a_signed_answer(gate, a):
    gate.get("/a", token=a.grant(opaque()))
    assert a.count(JWKS) == 0


# -- changes of the trust ---------------------------------------------------------------------------------------------


REVOKE = """
from authgate.policy.powers import Machine
from authgate.state.revocation import revoke
revoke("to-revoke", "lost", Machine("test"))
"""


def own_gateway(start_gateway, upstream, issuer, **fields):
    gateway = start_gateway(policy=policy(upstream.target), workers=2)
    add_issuer(gateway, "a", issuer.url, **fields)
    return gateway


def while_it_waits(gateway, issuer, token, change):
    """The answer to a request during whose wait `change` was made."""
    issuer.hold.clear()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(answer, gateway, "/a", token)
        while not issuer.times_asked(token):
            time.sleep(0.01)
        change()
        issuer.hold.set()
        return asked.result()


def test_a_token_that_is_revoked_while_its_issuer_is_asked_is_refused(start_gateway, upstream, a):
    gateway = own_gateway(start_gateway, upstream, a)
    token = a.grant(opaque(), jti="to-revoke")
    assert while_it_waits(gateway, a, token, lambda: gateway.shell.run(REVOKE)) == (401, "token_revoked")
    assert answer(gateway, "/a", token) == (401, "token_revoked")


def test_an_answer_of_an_issuer_that_was_removed_meanwhile_counts_for_nothing(start_gateway, upstream, a):
    gateway = own_gateway(start_gateway, upstream, a)
    token = a.grant(opaque())
    assert while_it_waits(gateway, a, token, lambda: remove_issuer(gateway, "a"))[0] == 401


def test_an_answer_of_an_endpoint_that_is_no_longer_the_issuers_counts_for_nothing(start_gateway, upstream, a, issuers):
    gateway = own_gateway(start_gateway, upstream, a)
    token = a.grant(opaque())
    other = issuers["b"].url + INTROSPECT
    changed = while_it_waits(gateway, a, token, lambda: change_issuer(gateway, "a", introspection_endpoint=other))
    assert changed == (503, "issuer_unavailable")
    assert answer(gateway, "/a", token) == (401, "token_inactive")
    assert issuers["b"].times_asked(token) >= 1


def test_an_answer_that_holds_ends_with_its_issuer(start_gateway, upstream, a):
    gateway = own_gateway(start_gateway, upstream, a)
    token = a.grant(opaque())
    assert {answer(gateway, "/a", token)[0] for _ in range(8)} == {200}
    remove_issuer(gateway, "a")
    assert {answer(gateway, "/a", token)[0] for _ in range(8)} == {401}


def test_another_audience_is_asked_for_at_once(start_gateway, upstream, a):
    gateway = own_gateway(start_gateway, upstream, a)
    token = a.grant(opaque())
    assert answer(gateway, "/a", token) == (200, "")
    change_issuer(gateway, "a", audiences=["https://other.example"])
    assert answer(gateway, "/a", token) == (401, "wrong_audience")
