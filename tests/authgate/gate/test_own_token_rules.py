"""What the log says of a credential of the gateway's own that does not count. Its sender reads the reason alone."""

from __future__ import annotations

import base64

import pytest

from authgate.authn.service_tokens import new_token
from authgate.gate.authenticate import authenticate
from authgate.request import InvalidCredential
from tests.support.signing import ISSUER, make_snapshot, make_trust, sign_token

TRUST = make_trust(revoked=("gone",))


def header(**changes):
    return bearer(sign_token(header=changes))


def claims(**changes):
    return bearer(sign_token(claims=changes))


def bearer(token):
    return ((b"authorization", b"Bearer " + token),)


TOO_MANY_COOKIES = ((b"cookie", b"auth_token=a; auth_token=b"),)
NO_TEXT = "is not a text of 1 to 200 safe characters"
RULES = {
    "no JWT": (bearer(b"x.y"), "invalid_token", "it is no signed JWT: not three base64url segments"),
    "a member more": (header(cty="JWT"), "invalid_token", "its header must have alg, kid and typ, and nothing else"),
    "no kid": (header(kid=7), "invalid_token", "kid is no text"),
    "another key": (header(kid="k\u2028"), "unknown_key", r"the gateway has no key 'k\u2028'"),
    "a long kid": (header(kid="k" * 9000), "unknown_key", f"the gateway has no key '{'k' * 199}"),
    "alg": (header(alg="none"), "invalid_token", "alg is 'none', and its key's is RS256"),
    "typ": (header(typ="JWT"), "invalid_token", "typ is 'JWT', which is not taken here"),
    "typ no text": (header(typ=[[]]), "invalid_token", "typ is a list, which is not taken here"),
    "iss": (claims(iss="http://b"), "wrong_issuer", f"iss is 'http://b', not {ISSUER}"),
    "aud": (claims(aud=["b", 7]), "wrong_audience", "aud is 'b', a number"),
    "exp": (claims(exp="9"), "invalid_token", "exp, iat or nbf is no whole number"),
    "iat": (claims(iat=-1), "invalid_token", "exp, iat or nbf is out of range"),
    "sub": (claims(sub=" a"), "invalid_token", f"sub {NO_TEXT}"),
    "jti": (claims(jti=...), "invalid_token", f"jti {NO_TEXT}"),
    "roles": (claims(roles="user"), "invalid_token", "roles is not a list of names"),
    "cnf": (claims(cnf={}), "invalid_token", "cnf must have jkt, the thumbprint of a key, and nothing else"),
    "revoked": (claims(jti="gone"), "token_revoked", "its ID was revoked"),
    "no scheme": (((b"authorization", b"?"),), "malformed_credential", "the Authorization header has no scheme"),
    "empty": (bearer(b""), "malformed_credential", "the token is empty or has characters that no token has"),
    "twice": (bearer(b"a") * 2, "malformed_credential", "there is more than one Authorization header"),
    "cookies": (TOO_MANY_COOKIES, "invalid_token", "there is more than one cookie that passes for the session"),
    "mistyped": (bearer(b"agt_x"), "invalid_token", "a service token that is mistyped or cut: its checksum is wrong"),
    "unknown": (
        bearer(new_token().encode()), "invalid_token", "a service token that is not known here, or no longer",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("headers", "reason", "rule"), RULES.values(), ids=RULES)
def test_the_rule_is_exact(headers, reason, rule):
    with pytest.raises(InvalidCredential) as refused:
        authenticate([(b"host", b"gateway.test"), *headers], make_snapshot(TRUST))
    assert (refused.value.reason, refused.value.rule) == (reason, rule)


def test_it_is_in_the_log_and_not_in_the_answer(start_gateway, upstream):
    gateway = start_gateway(policy=_policy(upstream.target))
    ended = gateway.shell.command("service_token", "create", "ended", "--quiet").strip()
    gateway.shell.command("service_token", "revoke", "ended")
    elsewhere = gateway.mint("alice", audience="https://elsewhere.example")
    token = base64.b64encode(f"x:{new_token()}".encode()).decode()
    for path, headers, rule in (
        ("/any", [("Authorization", f"Bearer {elsewhere}")], "aud is 'https://elsewhere.example'"),
        ("/any", [("Authorization", f"Bearer {ended}")], "svc:1 was ended, or its person is kept out"),
        (
            "/passed", [("Authorization", f"Token {ended}"), ("Cookie", f"auth_token={gateway.mint('alice')}")],
            "a token of the gateway beside the session needs Bearer",
        ),
        ("/any", [("Authorization", f"Basic {token}")], "a service token that is not known here, or no longer"),
    ):  # fmt: skip
        refused = gateway.get(path, headers=headers)
        [line] = gateway.log_lines(wait_for=1, request_id=refused.header("X-Request-ID"))
        assert (refused.status, line["rule"]) == (401, rule)
        assert rule not in refused.text
        assert rule not in str(refused.headers)


def _policy(target):
    return f"""\
version: 1
upstreams: {{api: {{targets: ["{target}"]}}}}
routes:
  - {{name: any, path: /any, access: authenticated, upstream: api}}
  - {{name: passed, path: /passed, access: authenticated, pass_authorization: true, upstream: api}}
"""
