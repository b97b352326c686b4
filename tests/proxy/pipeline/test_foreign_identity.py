"""The identity headers of other gateways: no client can say them, in any spelling, except where a route lets one."""

from __future__ import annotations

import pytest

from authgate.request import RequestFacts
from authgate.wire.authority import parse_authority
from authgate.wire.headers import Headers
from authgate.wire.identity_headers import client_may_send
from proxy.pipeline.own_pages import _django_scope
from tests.support import raw
from tests.support.foreign_names import LEGITIMATE, WELL_KNOWN
from tests.support.gateway import Gateway
from tests.support.scripted import keep_connection

SPELLINGS = {
    "plain": str,
    "lower case": str.lower,
    "upper case": str.upper,
    "underscores": lambda name: name.replace("-", "_"),
    "one underscore": lambda name: name.replace("-", "_", 1),
    "last underscore": lambda name: "_".join(name.rsplit("-", 1)),
}
POLICY = """\
version: 1
upstreams: {{api: {{targets: ["{target}"]}}}}
routes:
  - {{name: open, path: /open, access: public, upstream: api}}
  - {{name: mine, path: /mine, access: authenticated, upstream: api}}
  - {{name: lets, path: /lets, access: public, upstream: api, pass_headers: [X-Remote-User, Cf-Access-Jwt-Assertion]}}
"""


# A request may have a hundred headers.
PARTS = [WELL_KNOWN[start : start + 45] for start in range(0, len(WELL_KNOWN), 45)]


def test_more_than_seventy_two_are_known():
    assert len(set(map(str.lower, WELL_KNOWN))) == len(WELL_KNOWN) > 72


@pytest.mark.parametrize("name", WELL_KNOWN)
@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS.keys())
def test_a_client_may_not_speak_for_another_gateway(spelling, name):
    assert not client_may_send(spelling(name).lower().encode())


@pytest.mark.parametrize("name", LEGITIMATE)
def test_what_merely_looks_like_one_may_be_sent(name):
    assert client_may_send(name.lower().encode())


@pytest.fixture(scope="module", params=["http/1.1", "http/2"])
def gateway(request, gateway_template, session_upstream, tmp_path_factory):
    """With the peers on loopback as trusted proxies: not even they are believed."""
    data_dir = tmp_path_factory.mktemp("foreign") / "data"
    args = ("--http2",) if request.param == "http/2" else ()
    with Gateway(
        data_dir, template=gateway_template, policy=POLICY.format(target=session_upstream.target), args=args,
        env={"AUTHGATE_TRUSTED_PROXIES": "127.0.0.1"},
    ) as gateway:  # fmt: skip
        gateway.start()
        gateway.settle()
        yield gateway


def planted(names, spelling):
    return [(spelling(name), "planted") for name in names]


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS.keys())
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_none_of_them_reaches_a_service(gateway, upstream, method, spelling):
    for names in PARTS:
        headers = planted((*names, *names), spelling)
        body = b"x" if method == "POST" else None
        assert gateway.request("/open/x", method=method, headers=headers, body=body).status == 200
    assert not any(b"planted" in request.head for request in upstream.requests)


def test_none_of_them_reaches_a_service_over_a_kept_connection(gateway, upstream):
    keep_connection(gateway, upstream, "/open/warm")
    for names in PARTS:
        assert gateway.get("/open/x", headers=planted(names, str)).status == 200
    assert not any(b"planted" in request.head for request in upstream.requests)


def test_none_of_them_reaches_a_service_beside_a_credential(gateway, upstream):
    for names in PARTS:
        assert gateway.get("/mine/x", token=gateway.mint("alice"), headers=planted(names, str)).status == 200
    assert not any(b"planted" in request.head for request in upstream.requests)


def test_none_of_them_reaches_a_service_in_trailers(gateway, upstream):
    head = raw.request("POST", "/open/x", [("Transfer-Encoding", "chunked"), ("Trailer", "Remote-User")])
    sent = gateway.send(head + b"1\r\nx\r\n0\r\nRemote-User: planted\r\nX-Remote-User: planted\r\n\r\n")
    assert sent.status == 200
    (request,) = upstream.wait(1, complete=True)
    assert b"planted" not in request.head + bytes(request.raw_body)


def test_a_service_still_receives_what_merely_looks_like_one(gateway, upstream):
    for names in (LEGITIMATE,):
        assert gateway.get("/open/x", headers=planted(names, str)).status == 200
    received = {
        name.decode() for request in upstream.requests for name, value in request.headers if value == b"planted"
    }
    assert received == set(map(str.lower, LEGITIMATE))


def test_the_gateways_own_pages_receive_none_of_them(gateway):
    token = gateway.mint("alice")
    for names in PARTS:
        response = gateway.get("/auth/me", token=token, headers=planted(names, str))
        assert response.json()["subject"] == "alice"
        assert "planted" not in response.text


def test_djangos_requests_have_none_of_them():
    names = [spelling(name).lower().encode() for name in WELL_KNOWN for spelling in SPELLINGS.values()]
    headers = Headers([(b"host", b"gateway.test"), *((name, b"planted") for name in names)])
    facts = RequestFacts("GET", "http", parse_authority(b"gateway.test"), "/auth/me", b"", "::1", "::1", headers)
    assert _django_scope({}, facts)["headers"] == [(b"host", b"gateway.test")]


# --- where a route lets one through --------------------------------------------------------------------------


def test_a_route_lets_a_named_one_through_as_it_was_sent(gateway, upstream):
    headers = [("x-REMOTE-user", "bob"), ("Cf-Access-Jwt-Assertion", "x.y.z"), ("Remote-User", "planted")]
    assert gateway.get("/lets/x", headers=headers).status == 200
    assert (upstream.only.header("x-remote-user"), upstream.only.header("cf-access-jwt-assertion")) == ("bob", "x.y.z")
    assert b"planted" not in upstream.only.head


@pytest.mark.parametrize("name", ["X_Remote_User", "X-Remote_User", "X-Remote-User-Id", "X.Remote.User"])
def test_it_lets_no_other_spelling_through(gateway, upstream, name):
    assert gateway.get("/lets/x", headers=[(name, "planted")]).status == 200
    assert b"planted" not in upstream.only.head


def test_one_that_the_client_lists_as_hop_by_hop_stays_here(gateway, upstream):
    assert gateway.get("/lets/x", headers=[("X-Remote-User", "bob"), ("Connection", "x-remote-user")]).status == 200
    assert upstream.only.header("x-remote-user") is None


def test_what_one_route_lets_through_another_does_not(gateway, upstream):
    with gateway.connect() as client:
        for path in ("/lets/x", "/open/x", "/lets/x"):
            client.send(raw.request(target=path, headers=[("X-Remote-User", "bob")]))
            assert client.response().status == 200
    assert [request.header("x-remote-user") for request in upstream.wait(3)] == ["bob", None, "bob"]


def test_an_edit_takes_effect_at_once(start_gateway, upstream):
    policy = POLICY.format(target=upstream.target)
    gateway = start_gateway(policy=policy)
    gateway.import_policy(policy.replace(", pass_headers: [X-Remote-User, Cf-Access-Jwt-Assertion]", ""))
    assert gateway.get("/lets/x", headers=[("X-Remote-User", "bob")]).status == 200
    assert upstream.only.header("x-remote-user") is None
