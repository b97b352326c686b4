"""Identity headers that routes set: what services are told by them, and that no client can say it."""

from __future__ import annotations

import base64

import pytest

from tests.support.gateway import Gateway
from tests.support.http2 import Http2Client, head
from tests.support.sessions import make_session, new_cookie

POLICY = """\
version: 1
upstreams:
  api: {targets: ["%(target)s"]}
  same: {targets: ["%(target)s"]}
  app: {targets: ["%(app)s"]}
roles: {ops: {}, dev: {}}
routes:
  - name: told
    path: /told
    access: public
    upstream: api
    identity_headers:
      X-WEBAUTH-USER: email
      X-Remote-Groups: {claim: groups, join: ","}
      X-Login: {claim: preferred_username}
      X-Roles: {roles: true, join: ","}
      X-Groups-JSON: {claim: groups}
      X-Forwarded-Access-Token: access_token
  - {name: basic, path: /basic, access: public, upstream: api,
     identity_headers: {Authorization: {basic_from: preferred_username}}}
  - {name: login, path: /login, access: authenticated, upstream: app, pass_authorization: true,
     identity_headers: {X-Token-Sent: access_token}}
  - {name: open, path: /open, access: public, upstream: api}
  - {name: twin, path: /twin, access: public, upstream: same}
"""
NAMES = ("x-webauth-user", "x-remote-groups", "x-login", "x-roles", "x-groups-json", "x-forwarded-access-token")
SPELLINGS = [str, str.upper, str.title, lambda name: name.replace("-", "_"), lambda name: name.replace("-", "_", 1)]


@pytest.fixture(scope="module", params=[(), ("--http2",)], ids=["callbacks", "asgi"])
def site(request, gateway_template, session_upstream, tmp_path_factory):
    data = tmp_path_factory.mktemp("told") / "data"
    target = session_upstream.target
    policy = POLICY % {"target": target, "app": target.replace("127.0.0.1", "localhost")}
    with Gateway(data, template=gateway_template, policy=policy, args=request.param) as gateway:
        gateway.start()
        gateway.settle()
        yield gateway


def told(upstream, *names):
    return {name: upstream.only.header(name) for name in names or NAMES}


def test_what_a_token_says_is_told(site, upstream):
    token = site.mint(
        "alice", roles=("dev", "ops"), email="a@b.test", claims={"preferred_username": "ali", "groups": "x"}
    )
    assert site.get("/told/x", token=token).status == 200
    assert told(upstream) == {
        "x-webauth-user": "a@b.test", "x-remote-groups": "x", "x-login": "ali", "x-roles": "dev,ops",
        "x-groups-json": "x", "x-forwarded-access-token": token,
    }  # fmt: skip


def test_of_nobody_every_header_is_there_and_empty(site, upstream):
    assert site.get("/told/x").status == 200
    assert told(upstream) == dict.fromkeys(NAMES, "")


def test_what_is_unknown_is_empty(site, upstream):
    token = site.mint("bob")
    assert site.get("/told/x", token=token).status == 200
    assert told(upstream) == {**dict.fromkeys(NAMES, ""), "x-forwarded-access-token": token}


@pytest.mark.parametrize("path", ["/told/x", "/open/x", "/twin/x", "/basic/x"])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_no_client_can_say_it_on_any_route(site, upstream, path, spelling):
    planted = [(spelling(name), "planted") for name in NAMES]
    assert site.get(path, headers=[*planted, *planted]).status == 200
    assert b"planted" not in upstream.only.head


def test_a_connection_header_does_not_take_it_out(site, upstream):
    token = site.mint("alice", email="a@b.test")
    headers = [("Connection", "X-WEBAUTH-USER, X-Roles")]
    assert site.get("/told/x", token=token, headers=headers).status == 200
    assert told(upstream, "x-webauth-user", "x-roles") == {"x-webauth-user": "a@b.test", "x-roles": ""}


def test_a_trailer_does_not_say_it(site, upstream):
    body = b"1\r\nx\r\n0\r\nX-WEBAUTH-USER: planted\r\n\r\n"
    site.request("/told/x", method="POST", headers=[("Transfer-Encoding", "chunked")], body=body)
    assert all(b"planted" not in request.head + bytes(request.raw_body) for request in upstream.requests)


def test_a_session_carries_the_claims_that_services_are_told(site, upstream):
    claims = {"groups": ["a", "b,admin", "c"], "preferred_username": "ali", "unused": "u"}
    session = make_session(site, claims=claims, cookie_age=400)
    answer = site.get("/told/x", headers=session.headers)
    assert (answer.status, new_cookie(answer) is None) == (200, False)
    assert told(upstream, "x-remote-groups", "x-groups-json", "x-login") == {
        "x-remote-groups": "a,c", "x-groups-json": '["a", "b,admin", "c"]', "x-login": "ali",
    }  # fmt: skip


@pytest.mark.parametrize("path", ["/told/x", "/login/x"])
def test_a_session_cookie_is_never_told(site, upstream, path):
    session = make_session(site)
    assert site.get(path, headers=session.headers).status == 200
    assert session.cookie.encode() not in upstream.only.head
    name = "x-forwarded-access-token" if path == "/told/x" else "x-token-sent"
    assert upstream.only.header(name) == ""


def test_an_applications_own_token_beside_a_session_is_not_told(site, upstream):
    session = make_session(site)
    assert site.get("/login/x", token="app-token", headers=session.headers).status == 200
    assert (upstream.only.header("x-token-sent"), upstream.only.header("authorization")) == ("", "Bearer app-token")


def test_a_password_is_not_told(site, upstream):
    made = site.shell.command("service_token", "create", "bot", "--quiet").strip()
    basic = base64.b64encode(f"x:{made}".encode()).decode()
    assert site.get("/told/x", headers=[("Authorization", f"Basic {basic}")]).status == 200
    assert told(upstream, "x-forwarded-access-token") == {"x-forwarded-access-token": ""}
    assert upstream.only.header("x-auth-user-id") == "service|bot"


def test_an_unverified_token_is_never_told(site, upstream):
    assert site.get("/told/x", token="not.a.token").status == 200
    assert told(upstream) == dict.fromkeys(NAMES, "")
    assert b"not.a.token" not in upstream.only.head


def test_a_user_name_is_sent_as_basic_and_the_clients_own_is_not(site, upstream):
    token = site.mint("alice", claims={"preferred_username": "ali"})
    assert site.get("/basic/x", token=token).status == 200
    scheme, _, value = (upstream.only.header("authorization") or "").partition(" ")
    assert (scheme, base64.b64decode(value)) == ("Basic", b"ali:")


def test_a_colon_in_a_user_name_leaves_it_out(site, upstream):
    token = site.mint("alice", claims={"preferred_username": "admin:x"})
    assert site.get("/basic/x", token=token).status == 200
    assert upstream.only.header("authorization") == ""


@pytest.mark.parametrize("path", ["/basic/x", "/open/x", "/twin/x"])
def test_a_basic_password_of_the_client_does_not_reach_the_service(site, upstream, path):
    basic = base64.b64encode(b"admin:").decode()
    assert site.get(path, headers=[("Authorization", f"Basic {basic}")]).status == 200
    assert upstream.only.header("authorization") == ("" if path == "/basic/x" else None)


@pytest.mark.parametrize("site", [("--http2",)], ids=["asgi"], indirect=True)
def test_over_http2(site, upstream):
    token = site.mint("alice", email="a@b.test")
    fields = [("authorization", f"Bearer {token}"), *[(name, "planted") for name in NAMES]]
    with Http2Client(site.address) as client:
        client.open(head("/told/x", "GET", *fields, authority=f"localhost:{site.port}"), end=True)
        assert client.wait_for(lambda: len(client.ended) == 1)
    assert told(upstream, "x-webauth-user", "x-forwarded-access-token") == {
        "x-webauth-user": "a@b.test", "x-forwarded-access-token": token,
    }  # fmt: skip
    assert b"planted" not in upstream.only.head
