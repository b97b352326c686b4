from __future__ import annotations

import re

import pytest

ROUTES = """\
version: 1
upstreams: {{wiki: {{targets: ["{target}"]}}}}
routes:
  - {{name: wiki, host: wiki.example.com, path: /, access: public, upstream: wiki}}
"""


@pytest.fixture
def wiki(start_gateway, upstream):
    return start_gateway(policy=ROUTES.format(target=upstream.target))


@pytest.mark.parametrize("path", ["/admin/", "/static/x.css", "/dashboard", "/health", "/metrics", "/.well-known/x"])
def test_a_routed_host_keeps_its_own_paths(wiki, upstream, path):
    assert wiki.request(path, host="wiki.example.com").status == 200
    assert upstream.only.path == path.encode()


def test_on_a_routed_host_the_auth_prefix_is_the_gateways(wiki, upstream):
    assert wiki.request("/auth/me", host="wiki.example.com").json()["reason"] == "no_credential"
    page = wiki.request("/auth/nothing", host="wiki.example.com", headers=[("Accept", "text/html")])
    sheet = re.search(r'rel="stylesheet" href="([^"]+)"', page.text)[1]
    assert wiki.request(sheet, host="wiki.example.com").header("content-type").startswith("text/css")
    assert not upstream.requests


@pytest.mark.parametrize("host", ["10.1.2.3", "whatever.test", "[::1]"])
def test_health_answers_under_any_other_host(gateway, host):
    assert gateway.request("/health", host=host).text == "healthy"
    assert gateway.request("/health/ready", host=host).json() == {"ready": True}


@pytest.mark.parametrize("path", ["/admin/", "/dashboard", "/auth/me", "/static/authgate/site.css"])
def test_the_gateways_pages_answer_only_under_its_own_hosts(gateway, path):
    assert gateway.request(path, host="other.test").json()["reason"] == "bad_host"


def test_allowed_hosts_are_its_own_too(start_gateway):
    gateway = start_gateway(env={"AUTHGATE_ALLOWED_HOSTS": "other.test"})
    assert gateway.request("/auth/signed-out", host="other.test").status == 200


def test_the_auth_prefix_moves(start_gateway):
    gateway = start_gateway(env={"AUTHGATE_AUTH_PREFIX": "/sso"})
    assert gateway.get("/sso/me").status == 401
    assert gateway.get("/auth/me").json()["reason"] == "no_route"


def test_a_static_site_is_served_where_no_route_is(start_gateway, upstream, tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("<h1>site</h1>")
    gateway = start_gateway(env={"AUTHGATE_STATIC_SITE": str(tmp_path / "site")})
    assert gateway.get("/").text == "<h1>site</h1>"
    assert gateway.get("/missing").json()["reason"] == "no_route"
    assert gateway.get("/api/protected").status == 401
    assert gateway.get("/api/public").status == 200
    line = gateway.log_lines(wait_for=1, path="/")[-1]
    assert (line["status"], line["decision"]) == (200, None)


def test_without_one_a_plain_page_says_what_this_is(gateway):
    response = gateway.get("/")
    assert response.header("content-type").startswith("text/html")
    assert "authgate" in response.text


@pytest.mark.parametrize("path", ["/ADMIN/", "/Auth/me", "/admin%2f", "/auth/../admin/", "//admin/", "/admin;x/"])
def test_no_other_spelling_reaches_a_reserved_path(gateway, upstream, path):
    assert gateway.get(path).status in (400, 404)
    assert not upstream.requests


@pytest.mark.parametrize("path", ["/%61dmin/login/", "/a%64min/login/"])
def test_an_escaped_spelling_is_the_same_path(gateway, path):
    assert "<form" in gateway.get(path).text
