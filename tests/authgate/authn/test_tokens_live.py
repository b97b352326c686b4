from __future__ import annotations

import json

import jwt
import pytest

from tests.support.signing import ISSUER, key, sign_token

REVOKE = """
from datetime import timedelta
from django.utils import timezone
from authgate.models.trust import RevokedToken
RevokedToken.objects.create(jti={jti!r}, expires_at=timezone.now() + timedelta(hours=1))
"""
RETIRE = """
from django.utils import timezone
from authgate.models.trust import SigningKey
for row in SigningKey.objects.filter(purpose="tokens", retired_at=None):
    row.retired_at = timezone.now()
    row.save()
"""


def answers(gateway, token, path="/api/protected", count=8):
    """Of many connections, so that each of two workers takes some."""
    seen = [gateway.get(path, token=token) for _ in range(count)]
    return {(answer.status, json.loads(answer.body).get("reason") if answer.status >= 400 else "") for answer in seen}


def test_a_revoked_token_is_refused_by_every_worker_within_two_seconds(start_gateway):
    gateway = start_gateway(workers=2)
    token, other = gateway.mint("alice"), gateway.mint("bob")
    assert answers(gateway, token) == {(200, "")}
    gateway.manage("shell", "-c", REVOKE.format(jti=jwt.decode(token, options={"verify_signature": False})["jti"]))
    gateway.settle()
    assert answers(gateway, token) == {(401, "token_revoked")}
    assert answers(gateway, other) == {(200, "")}


def test_a_retired_key_is_replaced_in_every_worker_and_proves_nothing_any_more(start_gateway):
    gateway = start_gateway(workers=2)
    old = gateway.mint("alice")
    gateway.manage("shell", "-c", RETIRE)
    gateway.settle()
    gateway.settle()
    new = gateway.mint("alice", fresh=True)
    assert answers(gateway, old) == {(401, "unknown_key")}
    assert answers(gateway, new) == {(200, "")}


def test_the_service_verifies_the_assertion_with_the_published_keys(gateway, upstream):
    assert gateway.get("/api/protected", token=gateway.mint("alice", roles=("admin",))).status == 200
    assertion = upstream.only.header("x-auth-assertion")
    jwks = jwt.PyJWKSet.from_dict(json.loads(gateway.get("/.well-known/jwks.json").body))
    signer = jwks[jwt.get_unverified_header(assertion)["kid"]]
    claims = jwt.decode(assertion, signer, algorithms=["ES256"], audience="protected", issuer=gateway.url)
    assert (claims["sub"], claims["roles"]) == ("alice", ["admin", "user"])


def test_an_assertion_is_no_credential(gateway, upstream):
    gateway.get("/api/protected", token=gateway.mint("alice"))
    assertion = upstream.only.header("x-auth-assertion")
    answer = gateway.get("/api/protected", token=assertion)
    assert (answer.status, json.loads(answer.body)["reason"]) == (401, "unknown_key")
    cookie = [("Cookie", f"auth_token={assertion}")]
    assert gateway.get("/api/protected", headers=cookie).status == 401


FORGED = {
    "other-key": sign_token(),
    "unsigned": sign_token(header={"alg": "none"}),
    "other-issuer": sign_token(claims={"iss": ISSUER + "1"}),
    "jwk": sign_token(signer=key("attacker"), header={"jwk": key("attacker").public_jwk}),
    "dots": b"." * 9000,
    "deep": sign_token(header=b'{"a":' + b"[" * 4000 + b"]" * 4000 + b"}"),
}


@pytest.mark.parametrize("token", FORGED.values(), ids=FORGED)
def test_a_forged_token_reaches_nothing(gateway, upstream, token):
    answer = gateway.get("/api/protected", token=token.decode())
    assert answer.status == 401
    assert 'error="invalid_token"' in answer.header("www-authenticate")
    assert upstream.requests == []


def test_a_program_is_told_what_is_wrong_with_its_token_and_which_role_it_lacks(gateway):
    elsewhere = gateway.get("/api/protected/x", token=gateway.mint("alice", audience="elsewhere")).json()
    assert (elsewhere["reason"], elsewhere["message"]) == (
        "wrong_audience",
        "The token was made for another audience. Ask for one that is made for this gateway.",
    )
    lacking = gateway.get("/api/admin/x", token=gateway.mint("alice"))
    assert (lacking.status, lacking.json()["reason"], lacking.json()["roles"]) == (403, "missing_role", ["admin"])
    assert "roles" not in gateway.get("/api/admin/x").json()
