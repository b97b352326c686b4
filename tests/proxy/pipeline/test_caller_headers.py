"""Who the caller is said to be upstream: always by the gateway, never by the caller."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import raw
from tests.support.gateway import Gateway
from tests.support.neighbours import IDENTITY, OURS, neighbour_policy
from tests.support.upstream import RecordedRequest, RecordingUpstream

METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")


def assert_ours_once(request: RecordedRequest, subject: str = "") -> None:
    """Each of our headers exactly once, nothing else that some service takes for one, and nothing planted."""
    names = [name.lower() for name, _ in request.headers]
    assert [names.count(name.encode()) for name in OURS] == [1] * len(OURS)
    plain = [bytes(byte for byte in name if chr(byte).isalnum()) for name in names]
    assert len(set(plain)) == len(plain), "two names that CGI reads as one"
    assert b"planted" not in request.head
    assert request.header("x-auth-user-id") == subject


def planted(*names: str) -> list[tuple[str, str]]:
    return [(name, "planted") for name in names]


SPOOFS = {
    "plain": planted(*IDENTITY),
    "upper case": planted(*(name.upper() for name in IDENTITY)),
    "twice": planted(*IDENTITY, *IDENTITY),
    "CVE-2025-64484 underscores": planted("X_Auth_User_ID", "X_AUTH_USER_ROLES", "x_auth_assertion"),
    "CVE-2025-64484 mixed": planted("X-Auth_User_ID", "X_Auth-User-ID", "x-auth_user-id", "x_auth-user_id"),
    "CVE-2026-52845 other signs": planted("X.Auth.User.ID", "X!Auth!User!ID", "X~Auth-User-ID", "X'Auth'User'ID"),
    "empty values": [(name, "") for name in IDENTITY],
    "request id": planted("X-Request-ID", "X_Request_ID"),
    "CVE-2026-35051 forwarded family": planted(
        "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Prefix",
        "X-Forwarded-Server", "X-Forwarded-Uri", "X-Forwarded-Method", "X-Forwarded-User", "X-Forwarded-Ssl",
        "X-Forwarded", "Forwarded", "X-Real-IP",
    ),
    "CVE-2026-39858 forwarded with underscores": planted("X_Forwarded_Proto", "X-Forwarded_For", "X_Real_IP"),
    "addresses": planted("True-Client-IP", "Client-IP", "CF-Connecting-IP", "X-Client-IP", "X-Cluster-Client-IP"),
    "targets": planted("X-Original-URL", "X-Original-URI", "X-Rewrite-URL", "X-Original-Method", "X-Original-Host"),
    "methods": planted("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"),
    "servers": planted("X-Accel-Redirect", "X-Accel-Mapping", "X-Sendfile", "X-Sendfile-Type", "X-Envoy-Original-Path"),
    "httpoxy": planted("Proxy"),
    "CGI variables": planted("Content_Length", "Script_Name", "Remote_User", "Path_Info"),
}  # fmt: skip


@pytest.mark.parametrize("headers", SPOOFS.values(), ids=SPOOFS.keys())
@pytest.mark.parametrize("method", METHODS)
def test_a_stranger_cannot_say_who_it_is(gateway, upstream, method, headers):
    assert gateway.request("/api/public/x", method=method, headers=headers).status == 200
    assert_ours_once(upstream.only)
    assert {upstream.only.header(name) for name in IDENTITY} == {""}


@pytest.mark.parametrize("headers", SPOOFS.values(), ids=SPOOFS.keys())
def test_a_known_caller_cannot_say_it_is_another(gateway, upstream, headers):
    token = gateway.mint("alice", email="alice@a.test", name="Ália", roles=("user",))
    assert gateway.get("/api/protected/x", token=token, headers=headers).status == 200
    assert_ours_once(upstream.only, "alice")
    assert upstream.only.header("x-auth-user-email") == "alice@a.test"
    assert upstream.only.header("x-auth-user-name") == "Ália".encode().decode("latin-1")
    assert json.loads(upstream.only.header("x-auth-user-roles")) == ["user"]
    assert upstream.only.header("x-auth-assertion").count(".") == 2


@pytest.mark.parametrize("headers", SPOOFS.values(), ids=SPOOFS.keys())
def test_the_gateways_own_pages_believe_none_of_it_either(gateway, headers):
    """CVE-2026-3902"""
    assert gateway.get("/auth/me", headers=headers).status == 401
    response = gateway.get("/auth/me", token=gateway.mint("alice"), headers=headers)
    assert response.json()["subject"] == "alice"
    assert b"planted" not in response.raw_head + response.body


@pytest.mark.parametrize("method", METHODS)
def test_a_known_caller_is_known_on_public_routes_and_with_every_method(gateway, upstream, method):
    token = gateway.mint("alice")
    for target in ("/api/public/x", "/api/protected/x"):
        assert gateway.request(target, method=method, token=token).status == 200
    for request in upstream.wait(2):
        assert_ours_once(request, "alice")


@pytest.mark.parametrize("credential", ["Bearer x.y.z", "Bearer", "Bearer a b", "Basic eA==", "\xe9"])
def test_a_bad_credential_on_a_public_route_makes_a_stranger(gateway, upstream, credential):
    headers = [("Authorization", credential), ("X-Auth-User-ID", "planted")]
    assert gateway.get("/api/public/x", headers=headers).status == 200
    assert_ours_once(upstream.only)
    assert upstream.only.all("authorization") == []


LISTED = ", ".join((*OURS, "cookie", "authorization", "content-length", "x-forwarded-for"))
CONNECTIONS = {
    "CVE-2022-31813 listed": [("Connection", f"close, {LISTED}")],
    "CVE-2026-29054 in lower case": [("connection", LISTED.lower())],
    "in upper case": [("CONNECTION", LISTED.upper())],
    "CVE-2024-45410 in mixed case": [("Connection", "X-Real-Ip, x-FORWARDED-for"), ("Connection", "X-Auth-User-Id")],
    "in several lines": [("Connection", name) for name in OURS],
    "with odd spaces": [("Connection", ",, \tx-auth-user-id ,,x-real-ip\t,")],
    "in another connection header": [("Proxy-Connection", LISTED)],
}


@pytest.mark.parametrize("headers", CONNECTIONS.values(), ids=CONNECTIONS.keys())
def test_a_connection_header_removes_nothing_of_ours(gateway, upstream, headers):
    """GHSA-w9mr-28mw-j8hg, CVE-2025-48865"""
    token = gateway.mint("alice")
    response = gateway.request("/api/protected/x", method="POST", token=token, headers=headers, body=b"hello")
    assert response.status == 200
    request = upstream.wait(1, complete=True)[0]
    assert_ours_once(request, "alice")
    assert bytes(request.body) == b"hello"
    assert request.all("connection") == []


def test_a_header_listed_in_connection_goes_no_further(gateway, upstream):
    gateway.get("/api/public/x", headers=[("X-Hop", "1"), ("X-End", "2"), ("Connection", "keep-alive, x-HOP")])
    assert (upstream.only.header("x-hop"), upstream.only.header("x-end")) == (None, "2")


HOP_BY_HOP = (
    "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization", "TE", "Trailer", "HTTP2-Settings",
)  # fmt: skip


@pytest.mark.parametrize("name", HOP_BY_HOP)
def test_hop_by_hop_headers_go_no_further(gateway, upstream, name):
    assert gateway.get("/api/public/x", headers=[(name, "trailers")]).status == 200
    assert upstream.only.header(name) is None


OFFERS = ["h2c", "H2C", "h2c, TLS/1.3", "HTTP/2.0", "h2,h2c", "TLS/1.2, HTTP/1.1", "", ","]


@pytest.mark.parametrize("offer", OFFERS)
def test_an_offer_of_another_version_of_http_is_an_ordinary_request(gateway, upstream, offer):
    headers = [("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", offer), ("HTTP2-Settings", "AAMAAABk")]
    assert gateway.get("/api/public/x", headers=headers).status == 200
    assert upstream.only.all("connection") + upstream.only.all("upgrade") == []


def test_a_browser_that_would_rather_use_https_asks_for_no_upgrade(gateway, upstream):
    assert gateway.get("/api/public/x", headers=[("Upgrade-Insecure-Requests", "1")]).status == 200
    assert upstream.only.header("upgrade-insecure-requests") == "1"


UPGRADES = {
    "websocket of another version": [("Connection", "Upgrade"), ("Upgrade", "websocket/13")],
    "in a list": [("Connection", "Upgrade"), ("Upgrade", "h2c, irc")],
    "in two lines": [("Connection", "Upgrade"), ("Upgrade", "h2c"), ("Upgrade", "irc")],
    "not named in Connection": [("Upgrade", "irc")],
    "kubectl exec": [("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1")],
    "docker attach": [("Connection", "Upgrade"), ("Upgrade", "tcp")],
}


@pytest.mark.parametrize("headers", UPGRADES.values(), ids=UPGRADES)
def test_an_upgrade_to_another_protocol_is_refused_and_not_dropped(gateway, upstream, headers):
    answer = gateway.get("/api/public/x", headers=headers)
    assert (answer.status, answer.json()["reason"]) == (501, "upgrade_not_supported")
    assert answer.all("upgrade") == upstream.requests == []
    line = gateway.log_lines(wait_for=1, request_id=answer.header("x-request-id"))[0]
    assert (line["status"], line["reason"], line["route"]) == (501, "upgrade_not_supported", "public")


def test_an_upgrade_of_somebody_who_may_not_come_in_is_refused_for_that(gateway, upstream):
    assert gateway.get("/api/protected/x", headers=UPGRADES["docker attach"]).json()["reason"] == "no_credential"
    answer = gateway.get("/api/protected/x", token=gateway.mint("alice"), headers=UPGRADES["docker attach"])
    assert (answer.status, upstream.requests) == (501, [])


@pytest.mark.parametrize("headers", UPGRADES.values(), ids=UPGRADES)
def test_the_connection_ends_after_an_upgrade_was_refused(gateway, upstream, headers):
    """What follows may be what the client says in the other protocol, or what a cache takes for that."""
    host = f"{gateway.host}:{gateway.port}"
    with gateway.connect() as client:
        client.send(raw.request("GET", "/api/public/x", headers, host=host) + raw.request(host=host))
        assert client.response().header("connection") == "close"
        assert client.read_all() == b""
    assert upstream.requests == []


def test_other_headers_are_carried_byte_for_byte(gateway, upstream):
    head = b"GET /api/public/x HTTP/1.1\r\nHost: localhost\r\nX-A:  \xff, \t;\xe9 \r\nx-empty:\r\nX-A: 2\r\n\r\n"
    assert gateway.send(head).status == 200
    sent = [pair for pair in upstream.only.headers if pair[0] in (b"x-a", b"x-empty")]
    assert sent == [(b"x-a", b"\xff, \t;\xe9"), (b"x-empty", b""), (b"x-a", b"2")]


def test_ten_thousand_headers_are_refused_quickly(gateway, upstream):
    """CVE-2025-14550"""
    assert gateway.get("/api/public/x", headers=[("X-A", "1")] * 10000).status == 431
    assert upstream.requests == []


@pytest.mark.parametrize("name", ["Authorization", "authorization"])
def test_authorization_is_for_the_gateway_alone(gateway, upstream, name):
    headers = [(name, f"Bearer {gateway.mint('alice')}")]
    assert gateway.get("/api/protected/x", headers=headers).status == 200
    assert upstream.only.all("authorization") == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param(["Bearer {}", "Bearer {}"], 400, id="twice"),
        pytest.param(["Bearer {}", "Basic eA=="], 400, id="two kinds"),
        pytest.param(["Bearer {}, Bearer {}"], 400, id="list"),
    ],
)
def test_two_credentials_are_none(gateway, upstream, headers, status):
    """CVE-2026-26308"""
    pairs = [("Authorization", value.replace("{}", gateway.mint("alice"))) for value in headers]
    assert gateway.get("/api/protected/x", headers=pairs).status == status
    assert upstream.requests == []


def test_the_request_id_is_one_everywhere(gateway, upstream):
    response = gateway.get("/api/public/x", headers=[("X-Request-ID", "planted")])
    request_id = response.header("x-request-id")
    assert upstream.only.header("x-request-id") == request_id
    assert len(gateway.log_lines(wait_for=1, request_id=request_id)) == 1


# --- the address of the client ---------------------------------------------------------------------------


def test_a_stranger_is_the_address_it_comes_from(gateway, upstream):
    """CVE-2023-36456"""
    headers = [("X-Forwarded-For", "8.8.8.8"), ("X-Real-IP", "8.8.8.8"), ("Forwarded", "for=8.8.8.8")]
    response = gateway.get("/api/public/x", headers=headers)
    assert upstream.only.header("x-real-ip") == upstream.only.header("x-forwarded-for") == "127.0.0.1"
    (line,) = gateway.log_lines(wait_for=1, request_id=response.header("x-request-id"))
    assert line["client"] == "127.0.0.1"


LIMITED = """\
rate_limits: {twice: {rate: 1/h, burst: 2, per: client}}
routes:
  - {name: limited, path: /limited, access: public, upstream: api, rate_limit: twice}
"""


@pytest.fixture(scope="module")
def behind(gateway_template: Path, session_upstream: RecordingUpstream, tmp_path_factory) -> Iterator[Gateway]:
    """A gateway whose peers on loopback are trusted proxies."""
    data = tmp_path_factory.mktemp("trusted") / "data"
    policy = neighbour_policy(session_upstream.target).replace("routes:\n", LIMITED)
    env = {"AUTHGATE_TRUSTED_PROXIES": "127.0.0.1", "AUTHGATE_ALLOWED_HOSTS": "shop.test"}
    with Gateway(data, template=gateway_template, policy=policy, env=env) as gateway:
        yield gateway.start()


def test_a_trusted_proxy_is_believed(behind, upstream):
    headers = [
        ("X-Forwarded-For", "6.6.6.6, 8.8.8.8"), ("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "Shop.Test"),
        ("X-Forwarded-Prefix", "/planted"), ("X-Real-IP", "9.9.9.9"), ("Forwarded", "for=9.9.9.9"),
    ]  # fmt: skip
    response = behind.get("/preserve/x", headers=headers)
    request = upstream.only
    seen = [request.header(f"x-forwarded-{name}") for name in ("for", "proto", "host", "port", "prefix")]
    assert seen == ["8.8.8.8, 127.0.0.1", "https", "shop.test", "443", ""]
    assert (request.header("x-real-ip"), request.header("host")) == ("8.8.8.8", "shop.test")
    (line,) = behind.log_lines(wait_for=1, request_id=response.header("x-request-id"))
    assert (line["client"], line["host"]) == ("8.8.8.8", "shop.test")
    assert_ours_once(request)


FORWARDED_FOR = {
    "203.0.113.7:51008": "203.0.113.7",
    "[2001:db8::1]:443": "2001:db8::1",
    "[2001:DB8::1]": "2001:db8::1",
    "::ffff:203.0.113.7": "203.0.113.7",
    "203.0.113.7, 127.0.0.1:4711": "203.0.113.7",
    "203.0.113.7,": "127.0.0.1",
    "203.0.113.7, unknown": "127.0.0.1",
    "fe80::1%\xe9": "fe80::1",
}


@pytest.mark.parametrize(("written", "client"), FORWARDED_FOR.items())
def test_an_address_has_the_same_text_in_headers_and_log_however_a_proxy_writes_it(behind, upstream, written, client):
    response = behind.get("/open/x", headers=[("X-Forwarded-For", written), ("X-Forwarded-Proto", "HTTPS")])
    assert (upstream.only.header("x-real-ip"), upstream.only.header("x-forwarded-proto")) == (client, "https")
    (line,) = behind.log_lines(wait_for=1, request_id=response.header("x-request-id"))
    assert line["client"] == client


def test_one_client_has_one_limit_in_every_spelling_of_its_address(behind):
    spellings = ("203.0.113.50:1", "203.0.113.50:2", "::ffff:203.0.113.50", "[::ffff:203.0.113.50]:3", "203.0.113.50")
    answers = [behind.get("/limited/x", headers=[("X-Forwarded-For", spelling)]).status for spelling in spellings]
    assert answers == [200, 200, 429, 429, 429]


@pytest.mark.parametrize("header", [("X-Forwarded-Host", "evil.test"), ("X-Forwarded-Port", "444")])
def test_a_host_or_port_that_nobody_serves_is_not_believed_of_it(behind, upstream, header):
    assert behind.request("/open/x", host="shop.test", headers=[header]).status == 400
    assert upstream.requests == []


def test_one_served_host_is_not_turned_into_another(behind, upstream):
    response = behind.request("/open/x", host="shop.test", headers=[("X-Forwarded-Host", "a.tenant.test")])
    assert (response.status, response.json()["reason"]) == (400, "bad_host")


def test_the_policy_follows_the_host_the_trusted_proxy_names(behind, upstream):
    assert behind.get("/open/x", headers=[("X-Forwarded-Host", "wiki.test")]).status == 401
    assert upstream.requests == []


@pytest.mark.parametrize(
    "header",
    [("X-Forwarded-Proto", "gopher"), ("X-Forwarded-Host", "a/b"), ("X-Forwarded-Host", "\xe9"),
     ("X-Forwarded-Port", "x")],
    ids=lambda header: ascii(": ".join(header)),
)  # fmt: skip
def test_nonsense_from_a_trusted_proxy_is_refused(behind, upstream, header):
    assert behind.get("/open/x", headers=[header]).status == 400
    assert upstream.requests == []


# --- one route at a time ---------------------------------------------------------------------------------


def test_authorization_is_passed_where_the_route_says_so(behind, upstream):
    for value in ("Basic eDp5", f"Bearer {behind.mint('alice')}"):
        assert behind.get("/pass/x", headers=[("Authorization", value)]).status == 200
    requests = upstream.wait(2)
    assert [request.header("authorization") for request in requests] == ["Basic eDp5", f"Bearer {behind.mint('alice')}"]
    assert [request.header("x-auth-user-id") for request in requests] == ["", "alice"]


def test_two_callers_at_once_are_never_mixed(behind, upstream):
    """CVE-2026-71326"""
    tokens = [behind.mint(subject, email=email) for subject, email in (("a", "bc@x"), ("ab", "c@x"))]
    with behind.connect() as one, behind.connect() as two:
        for _ in range(20):
            for client, token in zip((one, two), tokens, strict=True):
                client.send(raw.request(target="/session/x", token=token, headers=[("X-Token", token[-20:])]))
        for client in (one, two):
            assert {response.status for response in client.responses(20)} == {200}
    expected = dict(zip((token[-20:] for token in tokens), ("a", "ab"), strict=True))
    assert len(upstream.wait(40)) == 40
    assert all(request.header("x-auth-user-id") == expected[request.header("x-token")] for request in upstream.requests)
