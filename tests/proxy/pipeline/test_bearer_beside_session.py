"""An application's own bearer token beside the gateway's session, on routes that hand on Authorization."""

from __future__ import annotations

import base64

import pytest

from tests.support.gateway import Gateway
from tests.support.sessions import make_session, new_cookie, run
from tests.support.signing import sign_token

APP_TOKEN = "app-token-123"
APP_JWT = sign_token(header={"kid": "app-key"}, claims={"iss": "https://app.test"}).decode()
POLICY = """\
version: 1
upstreams:
  up: {{targets: ["{target}"]}}
routes:
  - {{name: pub,      path: /pub,      access: public,        upstream: up}}
  - {{name: pubauth,  path: /pubauth,  access: public,        upstream: up, pass_authorization: true}}
  - {{name: prot,     path: /prot,     access: authenticated, upstream: up}}
  - {{name: protauth, path: /protauth, access: authenticated, upstream: up, pass_authorization: true}}
"""


@pytest.fixture(scope="module")
def site(gateway_template, session_upstream, tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("beside") / "data"
    with Gateway(data_dir, template=gateway_template, policy=POLICY.format(target=session_upstream.target)) as gateway:
        yield gateway.start()


@pytest.fixture(scope="module")
def session(site):
    return make_session(site).headers


def caller(upstream) -> tuple[str | None, list[str]]:
    return upstream.only.header("x-auth-user-id"), upstream.only.all("authorization")


@pytest.mark.parametrize("token", [APP_TOKEN, APP_JWT], ids=["opaque", "signed by another issuer"])
@pytest.mark.parametrize("path", ["/pubauth/x", "/protauth/x"])
def test_the_session_says_who_calls_and_the_applications_token_travels(site, upstream, session, path, token):
    assert site.get(path, token=token, headers=session).status == 200
    assert caller(upstream) == ("idp|alice", [f"Bearer {token}"])


def test_it_is_decided_anew_for_each_request_of_a_connection(site, upstream, session):
    """The headers are the same ones, and what was found in them is kept with them."""
    headers = [*session, ("Authorization", f"Bearer {APP_TOKEN}")]
    host = f"localhost:{site.port}"
    with site.connect() as client:
        statuses = []
        for path in ("/protauth/x", "/prot/x", "/protauth/x", "/prot/x"):
            client.send(b"".join((f"GET {path} HTTP/1.1\r\nHost: {host}\r\n".encode(),
                                  *(f"{name}: {value}\r\n".encode() for name, value in headers), b"\r\n")))  # fmt: skip
            statuses.append(client.response().status)
    assert statuses == [200, 401, 200, 401]


def test_where_authorization_stays_here_another_token_is_still_refused(site, upstream, session):
    answer = site.get("/prot/x", token=APP_TOKEN, headers=session)
    assert (answer.status, answer.json()["reason"], upstream.requests) == (401, "invalid_token", [])


def test_without_a_session_another_token_is_still_refused(site, upstream):
    assert site.get("/protauth/x", token=APP_TOKEN).json()["reason"] == "invalid_token"
    assert site.get("/protauth/x", token=APP_JWT).json()["reason"] == "unknown_key"
    assert upstream.requests == []


@pytest.mark.parametrize("cookie", ["junk", ""])
def test_a_bad_session_is_not_made_good_by_another_token(site, upstream, cookie):
    answer = site.get("/protauth/x", token=APP_TOKEN, headers=[("Cookie", f"auth_token={cookie}")])
    assert (answer.status, upstream.requests) == (401, [])


def test_a_session_that_ended_is_not_made_good_by_another_token(site, upstream):
    made = make_session(site, cookie_age=400, unseen_for=999_999)
    answer = site.get("/protauth/x", token=APP_TOKEN, headers=made.headers)
    assert (answer.status, answer.json()["reason"], upstream.requests) == (401, "token_expired", [])


def test_a_good_token_of_ours_counts_before_the_session(site, upstream, session):
    token = site.mint("bob")
    assert site.get("/protauth/x", token=token, headers=session).status == 200
    assert caller(upstream) == ("bob", [f"Bearer {token}"])


@pytest.mark.parametrize("path", ["/pubauth/x", "/protauth/x"])
def test_a_revoked_token_of_ours_never_gives_way_to_the_session(site, upstream, session, path):
    token = site.mint("mallory", fresh=True)
    run(site, "import jwt\n"
        "claims = jwt.decode(options['token'], options={'verify_signature': False})\n"
        "RevokedToken.objects.create(jti=claims['jti'], expires_at=now + timedelta(days=9))", token=token)  # fmt: skip
    site.settle()
    answer = site.get(path, token=token, headers=session)
    if path == "/protauth/x":
        assert (answer.status, answer.json()["reason"], upstream.requests) == (401, "token_revoked", [])
    else:
        assert (answer.status, caller(upstream)[0]) == (200, "")


DAMAGED = {
    "padded": lambda token: token + "=",
    "another signature": lambda token: token[:-8] + "AAAAAAAA",
    "no signature": lambda token: token.rpartition(".")[0] + ".",
    "a fourth part": lambda token: token + ".x",
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
def test_a_token_of_ours_that_was_changed_never_gives_way_to_the_session(site, upstream, session, damage):
    answer = site.get("/protauth/x", token=damage(site.mint("bob")), headers=session)
    assert (answer.status, upstream.requests) == (401, [])


DISGUISES = {
    "no scheme": "{}",
    "another scheme": "Token {}",
    "a scheme for JWTs": "JWT {}",
    "with a parameter": 'Token token="{}"',
    "behind another one": "Digest username=a, Bearer {}",
    "padded": "DPoP {}=",
}


@pytest.mark.parametrize("disguise", DISGUISES.values(), ids=DISGUISES)
def test_a_token_of_ours_under_another_scheme_never_gives_way_to_the_session(site, upstream, session, disguise):
    """A service may take it from there, and cannot know whether it was revoked."""
    headers = [*session, ("Authorization", disguise.format(site.mint("bob")))]
    answer = site.get("/protauth/x", headers=headers)
    assert (answer.status, answer.json()["reason"], upstream.requests) == (401, "invalid_token", [])


def test_a_token_of_ours_as_basics_password_never_gives_way_to_the_session(site, upstream, session):
    pair = base64.b64encode(f"git:{site.mint('bob')}".encode()).decode()
    answer = site.get("/protauth/x", headers=[*session, ("Authorization", f"basic {pair}")])
    assert (answer.status, upstream.requests) == (401, [])


@pytest.mark.parametrize(
    "value",
    [
        "Basic YWxpY2U6cGFzcy53b3JkLng=", "Basic !!", "Basic", f"Token {APP_JWT}",
        'Digest username="a", uri="/a.b.c.d"',
        "AWS4-HMAC-SHA256 Credential=AK/20260101/eu-1.a.b/s3/aws4_request, SignedHeaders=host, Signature=fe5f80",
    ],
)  # fmt: skip
def test_what_is_a_services_own_under_another_scheme_travels(site, upstream, session, value):
    assert site.get("/protauth/x", headers=[*session, ("Authorization", value)]).status == 200
    assert caller(upstream) == ("idp|alice", [value])


@pytest.mark.parametrize("site_word", ["cross-site", "same-site"])
def test_another_site_cannot_write_with_the_session_and_a_token_of_its_own(site, upstream, session, site_word):
    headers = [*session, ("Sec-Fetch-Site", site_word), ("Authorization", f"Bearer {APP_TOKEN}")]
    answer = site.request("/protauth/x", method="POST", headers=headers, body=b"")
    assert (answer.status, answer.json()["reason"], upstream.requests) == (403, "cross_site", [])


def test_on_a_public_route_another_site_is_nobody_and_its_token_travels(site, upstream, session):
    headers = [*session, ("Origin", "http://evil.test"), ("Authorization", f"Bearer {APP_TOKEN}")]
    assert site.request("/pubauth/x", method="POST", headers=headers, body=b"").status == 200
    assert caller(upstream) == ("", [f"Bearer {APP_TOKEN}"])


def test_a_malformed_bearer_stays_a_bad_request(site, upstream, session):
    for value in ("Bearer", "Bearer a b", "Bearer a,b"):
        answer = site.get("/protauth/x", headers=[*session, ("Authorization", value)])
        assert (answer.status, answer.json()["reason"]) == (400, "malformed_credential")
    assert upstream.requests == []


@pytest.mark.parametrize("path", ["/pubauth/x", "/protauth/x"])
def test_a_page_that_sends_its_own_token_keeps_its_session_alive(site, upstream, path):
    made = make_session(site, cookie_age=400)
    answer = site.get(path, token=APP_TOKEN, headers=made.headers)
    assert (answer.status, new_cookie(answer) is not None) == (200, True)
    assert caller(upstream) == ("idp|alice", [f"Bearer {APP_TOKEN}"])
