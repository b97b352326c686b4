"""Routes that redirect: only to what the policy names, whatever the request says."""

from __future__ import annotations

import pytest

from tests.support.gateway import Gateway
from tests.support.websocket import handshake

POLICY = """\
version: 1
upstreams: {api: {targets: ["%s"]}}
roles: {admin: {}}
routes:
  - {name: plain,  path: /plain,  access: public, redirect: {to: "https://new.test/x?y=1#z"}}
  - {name: whole,  path: /whole,  access: public, redirect: {to: "https://new.test", status: 308, keep_path: true, keep_query: true}}
  - {name: here,   path: /here,   access: public, redirect: {to: /, status: 301, keep_path: true}}
  - {name: base,   path: /base,   access: public, redirect: {to: /there/, keep_path: true, keep_query: true}}
  - {name: mine,   path: /mine,   access: roles, roles: [admin], redirect: {to: /secret-place}}
  - {name: rest,   path: /, host: old.test, access: public, redirect: {to: "https://new.test/base", status: 307, keep_path: true}}
  - {name: cors,   path: /cors,   access: public, redirect: {to: /x}, cors: {origins: ["*"]}}
  - {name: api,    path: /there,  access: public, upstream: api}
"""  # noqa: E501


@pytest.fixture(scope="module", params=[(), ("--http2",)], ids=["callbacks", "asgi"])
def site(request, gateway_template, session_upstream, tmp_path_factory):
    data = tmp_path_factory.mktemp("redirects") / "data"
    with Gateway(
        data, template=gateway_template, policy=POLICY % session_upstream.target, args=request.param
    ) as gateway:
        gateway.start()
        gateway.settle()
        yield gateway


@pytest.mark.parametrize(
    ("path", "status", "location"),
    [
        ("/plain/a?b", 302, "https://new.test/x?y=1#z"), ("/whole", 308, "https://new.test"),
        ("/whole/a/b?c=d&e", 308, "https://new.test/a/b?c=d&e"), ("/whole/?c", 308, "https://new.test/?c"),
        ("/here", 301, "/"), ("/here/", 301, "/"), ("/here/a", 301, "/a"), ("/base/a?b", 302, "/there/a?b"),
        ("/base", 302, "/there"), ("/whole/%C3%A9", 308, "https://new.test/%C3%A9"),
        ("/whole/x@evil.test", 308, "https://new.test/x@evil.test"), ("/here/evil.test", 301, "/evil.test"),
    ],
)  # fmt: skip
def test_where_it_leads(site, path, status, location):
    response = site.get(path)
    assert (response.status, response.header("location"), response.body) == (status, location, b"")
    assert response.header("cache-control") == "no-store"


@pytest.mark.parametrize(
    "path",
    ["/here//evil.test", "/here/%2Fevil.test", "/here/\\evil.test", "/here/%5Cevil.test", "/here/..//evil.test",
     "/whole.evil.test", "/whole@evil.test", "/here/%0d%0aSet-Cookie:x", "/here;//evil.test"],
)  # fmt: skip
def test_no_path_makes_another_host_of_it(site, path):
    response = site.get(path)
    assert (response.status in (400, 404), response.header("location")) == (True, None)


def test_a_host_that_the_client_names_is_not_repeated(site):
    response = site.request("/here/a", headers=[("X-Forwarded-Host", "evil.test")])
    assert response.header("location") == "/a"
    assert site.request("/a/b", host="old.test").header("location") == "https://new.test/base/a/b"


@pytest.mark.parametrize("method", ["POST", "PUT", "HEAD", "DELETE"])
def test_any_method(site, upstream, method):
    body = b"x" if method in ("POST", "PUT") else None
    assert site.request("/whole/a", method=method, body=body).status == 308
    assert upstream.requests == []


def test_only_those_who_are_let_in_learn_where(site):
    assert (site.get("/mine").status, site.get("/mine").header("location")) == (401, None)
    assert site.get("/mine", token=site.mint("bob")).status == 403
    assert site.get("/mine", token=site.mint("root", roles=("admin",))).header("location") == "/secret-place"


def test_the_log_says_so(site):
    site.get("/plain/logged")
    line = site.log_lines(wait_for=1, path="/plain/logged")[0]
    assert (line["decision"], line["reason"], line["status"], line["route"]) == ("allow", "redirect", 302, "plain")


def test_a_connection_goes_on(site):
    with site.connect() as client:
        for path in ("/plain/a", "/there/a", "/here/a"):
            client.send(f"GET {path} HTTP/1.1\r\nHost: localhost:{site.port}\r\n\r\n".encode())
            assert client.response("GET").status in (200, 301, 302)


def test_scripts_of_other_origins_follow(site):
    response = site.get("/cors/a", headers=[("Origin", "https://app.test")])
    assert (response.status, response.header("access-control-allow-origin")) == (302, "*")


def test_a_websocket_does_not_open(site):
    assert site.get("/plain/a", headers=handshake()).status == 302
