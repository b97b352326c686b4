"""Scripts of other origins: preflights without a credential, and what no origin gets that a route does not name."""

from __future__ import annotations

import pytest

from tests.support.gateway import Gateway
from tests.support.http2 import Http2Client, head
from tests.support.scripted import answer
from tests.support.sessions import make_session

APP, EVIL = "https://app.test", "https://evil.test"
POLICY = """\
version: 1
upstreams: {api: {targets: ["%s"]}}
rate_limits: {tight: {rate: 1/h, burst: 1, per: client}}
routes:
  - name: api
    path: /api
    access: authenticated
    upstream: api
    cors: {origins: ["https://app.test", "http://localhost:3000"], headers: [Authorization], expose: [X-Total], max_age: 60}
  - {name: reads,  path: /split, access: public, upstream: api, methods: [GET]}
  - {name: writes, path: /split, access: authenticated, upstream: api, methods: [POST], cors: {origins: ["https://app.test"]}}
  - {name: any,    path: /any, access: public, upstream: api, cors: {origins: ["*"]}}
  - {name: person, path: /person, access: authenticated, upstream: api, cors: {origins: ["https://app.test"], credentials: true}}
  - {name: pass,   path: /pass, access: authenticated, upstream: api, cors: pass}
  - {name: none,   path: /none, access: authenticated, upstream: api}
  - {name: off,    path: /off, access: public, enabled: false, upstream: api, cors: {origins: ["*"]}}
  - {name: tight,  path: /tight, access: public, upstream: api, rate_limit: tight, cors: {origins: ["*"]}}
  - {name: own,    path: /own, access: authenticated, upstream: api, cors: {origins: ["*"]}}
  - {name: ownask, path: /own, access: public, methods: [OPTIONS], upstream: api}
"""  # noqa: E501


@pytest.fixture(scope="module", params=[(), ("--http2",)], ids=["callbacks", "asgi"])
def site(request, gateway_template, session_upstream, tmp_path_factory):
    data = tmp_path_factory.mktemp("cors") / "data"
    with Gateway(
        data, template=gateway_template, policy=POLICY % session_upstream.target, args=request.param
    ) as gateway:
        gateway.start()
        gateway.settle()
        yield gateway


def asks(origin=APP, method="POST"):
    return [("Origin", origin), ("Access-Control-Request-Method", method)]


def preflight(site, path="/api/x", origin=APP, method="POST", more=(), body=None):
    return site.request(path, method="OPTIONS", headers=[*asks(origin, method), *more], body=body)


def allowed(response):
    """The CORS headers, by what follows their common beginning."""
    found = [(name, value) for name, value in response.headers if name.startswith("access-control-")]
    assert len(dict(found)) == len(found)
    return {name.removeprefix("access-control-"): value for name, value in found}


def varies_by_origin(response):
    return "origin" in ",".join(response.all("vary")).lower()


def test_a_preflight_is_answered_without_a_credential(site, upstream):
    response = preflight(site)
    assert (response.status, response.body, upstream.requests) == (204, b"", [])
    assert allowed(response) == {
        "allow-origin": APP, "allow-methods": "GET, HEAD, POST, PUT, PATCH, DELETE",
        "allow-headers": "Authorization", "max-age": "60",
    }  # fmt: skip
    assert varies_by_origin(response)
    assert response.header("content-length") is None
    assert site.log_lines(wait_for=1, reason="cors_preflight", decision="allow")


@pytest.mark.parametrize(
    "origin",
    [EVIL, "null", "https://app.test.evil.test", "https://evil.test/https://app.test", "http://app.test", "https://APP.test",
     "https://app.test:443", "https://sub.app.test", "https://app.test,https://evil.test", "*", "https://app.tes"],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/api/x", "/person/x"])
def test_no_other_origin_is_let_in_or_repeated(site, upstream, origin, path):
    for response in (
        preflight(site, path, origin),
        site.get(path, headers=[("Origin", origin)]),
        site.get(path, headers=[("Origin", origin)], token=site.mint("alice")),
    ):
        assert allowed(response) == {}
        assert varies_by_origin(response)


def test_two_origins_are_none(site, upstream):
    response = site.get("/api/x", headers=[("Origin", APP), ("Origin", EVIL)], token=site.mint("alice"))
    assert allowed(response) == {}


def test_an_answer_can_be_read(site, upstream):
    upstream.reply(answer("X-Total: 3", "Vary: Accept"))
    response = site.get("/api/x", headers=[("Origin", APP)], token=site.mint("alice"))
    assert allowed(response) == {"allow-origin": APP, "expose-headers": "X-Total"}
    assert response.all("vary") == ["Accept", "Origin"]


@pytest.mark.parametrize("closely", [(), ("Location: /x",)], ids=["ordinary", "closely"])
def test_what_the_service_says_of_origins_is_replaced(site, upstream, closely):
    theirs = [f"Access-Control-Allow-Origin: {EVIL}", "Access-Control-Allow-Credentials: true"]
    upstream.reply(answer(*theirs, *closely))
    assert allowed(site.get("/any/x", headers=[("Origin", EVIL)])) == {"allow-origin": "*"}
    upstream.reply(answer(*theirs, *closely))
    assert allowed(site.get("/api/x", headers=[("Origin", EVIL)], token=site.mint("alice"))) == {}


def test_a_refusal_can_be_read(site, upstream):
    response = site.get("/api/x", headers=[("Origin", APP)])
    assert (response.status, response.json()["reason"]) == (401, "no_credential")
    assert allowed(response)["allow-origin"] == APP


def test_a_gateway_that_cannot_reach_the_service_can_be_read(site, upstream):
    upstream.reply(b"nonsense\r\n\r\n")
    response = site.get("/api/x", headers=[("Origin", APP)], token=site.mint("alice"))
    assert (response.status, allowed(response)["allow-origin"]) == (502, APP)


def test_the_method_that_is_asked_for_says_which_route_answers(site, upstream):
    assert allowed(preflight(site, "/split/x"))["allow-methods"] == "POST"
    assert preflight(site, "/split/x", method="GET").status == 404
    assert preflight(site, "/split/x", method="post").status == 404


def test_every_site_may_read_what_is_for_all(site, upstream):
    response = preflight(site, "/any/x", EVIL)
    assert (allowed(response)["allow-origin"], varies_by_origin(response)) == ("*", False)
    assert allowed(site.get("/any/x")) == {"allow-origin": "*"}


def test_without_cors_a_preflight_is_like_any_request(site, upstream):
    assert preflight(site, "/none/x").status == 401


def test_a_disabled_route_answers_no_preflight(site, upstream):
    assert preflight(site, "/off/x").status == 404


def test_preflights_count(site, upstream):
    assert [preflight(site, "/tight/x").status for _ in range(2)] == [204, 429]


def test_a_route_for_options_gets_its_preflights(site, upstream):
    assert preflight(site, "/own/x").status == 200
    assert upstream.only.method == "OPTIONS"


NOT_PREFLIGHTS = {
    "cookie": {"more": [("Cookie", "a=b")]},
    "authorization": {"more": [("Authorization", "Basic eDp5")]},
    "a body": {"body": b"x"},
    "a chunked body": {"more": [("Transfer-Encoding", "chunked")], "body": b"1\r\nx\r\n0\r\n\r\n"},
    "no method asked for": {"method": ""},
    "two methods asked for": {"more": [("Access-Control-Request-Method", "GET")]},
    "two origins": {"more": [("Origin", EVIL)]},
}


@pytest.mark.parametrize("changes", NOT_PREFLIGHTS.values(), ids=NOT_PREFLIGHTS.keys())
@pytest.mark.parametrize("path", ["/pass/x", "/api/x"])
def test_what_no_browser_sends_so_is_decided_like_any_request(site, upstream, path, changes):
    assert (preflight(site, path, **changes).status, upstream.requests) == (401, [])


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "PUT"])
def test_nothing_but_options_passes_unasked(site, upstream, method):
    assert site.request("/pass/x", method=method, headers=asks()).status == 401
    assert upstream.requests == []


def test_a_preflight_is_passed_without_identity(site, upstream):
    upstream.reply(answer("Access-Control-Allow-Origin: https://app.test", status="204 No Content", length=False))
    response = preflight(site, "/pass/x", more=[("X-Auth-User-ID", "root"), ("X-HTTP-Method-Override", "DELETE")])
    assert (response.status, allowed(response)) == (204, {"allow-origin": APP})
    seen = upstream.only
    assert (seen.method, seen.header("x-auth-user-id"), seen.header("x-http-method-override")) == ("OPTIONS", "", None)


def test_where_preflights_pass_refusals_have_nothing(site, upstream):
    response = site.get("/pass/x", headers=[("Origin", APP)])
    assert (response.status, allowed(response)) == (401, {})


def post(site, path, origin, headers):
    return site.request(path, method="POST", headers=[*headers, ("Origin", origin), ("Sec-Fetch-Site", "same-site")])


def test_scripts_of_a_named_origin_may_use_the_session(site, upstream):
    session = make_session(site).headers
    response = post(site, "/person/x", APP, session)
    assert (response.status, allowed(response)) == (200, {"allow-origin": APP, "allow-credentials": "true"})


@pytest.mark.parametrize(
    ("path", "origin"), [("/person/x", EVIL), ("/api/x", APP), ("/none/x", APP), ("/person/x", "null")]
)
def test_no_others_may(site, upstream, path, origin):
    response = post(site, path, origin, make_session(site).headers)
    assert (response.status, response.json()["reason"], upstream.requests) == (403, "cross_site", [])
    assert "allow-credentials" not in allowed(response)


def test_an_origin_is_named_once_to_use_the_session(site, upstream):
    headers = [*make_session(site).headers, ("Origin", EVIL)]
    assert post(site, "/person/x", APP, headers).status == 403


@pytest.mark.parametrize("site", [("--http2",)], ids=["asgi"], indirect=True)
def test_over_http2_a_preflight_brings_no_body(site, upstream):
    fields = [("origin", APP), ("access-control-request-method", "POST")]
    with Http2Client(site.address) as client:
        opened = client.open(head("/pass/x", "OPTIONS", *fields, authority=f"localhost:{site.port}"), end=False)
        client.send_body(opened, b"DELETE ALL")
        client.finish(opened)
        assert client.wait_for(lambda: len(client.ended) == 1)
    assert (upstream.wait(1, complete=True)[0].body, upstream.only.header("x-auth-user-id")) == (b"", "")
