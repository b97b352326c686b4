from __future__ import annotations

import re
import shutil

import pytest

from tests.support.gateway import Gateway, environment, manage
from tests.support.policies import demo_policy

ROUTES = """\
version: 1
upstreams: {{wiki: {{targets: ["{target}"]}}}}
routes:
  - {{name: wiki, host: wiki.example.com, path: /, access: public, upstream: wiki}}
"""


@pytest.fixture(scope="module")
def http2_gateway(gateway_template, tmp_path_factory):
    with Gateway(tmp_path_factory.mktemp("http2") / "data", template=gateway_template, args=("--http2",)) as gateway:
        yield gateway.start()


@pytest.fixture(scope="module")
def wiki(gateway_template, session_upstream, tmp_path_factory):
    policy = ROUTES.format(target=session_upstream.target)
    with Gateway(tmp_path_factory.mktemp("wiki") / "data", template=gateway_template, policy=policy) as gateway:
        yield gateway.start()


@pytest.fixture(scope="module")
def moved(gateway_template, session_upstream, tmp_path_factory):
    """With one more host of its own, and its pages below another prefix."""
    data_dir, policy = tmp_path_factory.mktemp("moved") / "data", demo_policy(session_upstream.target)
    env = {"AUTHGATE_ALLOWED_HOSTS": "other.test", "AUTHGATE_AUTH_PREFIX": "/sso"}
    with Gateway(data_dir, template=gateway_template, policy=policy, env=env) as gateway:
        yield gateway.start()


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


@pytest.mark.parametrize("server", ["gateway", "http2_gateway"])
@pytest.mark.parametrize(("path", "text"), [("/health", "healthy"), ("/health/ready", '{"ready": true}')])
def test_health_answers_a_load_balancer_that_sends_no_host(request, server, path, text):
    response = request.getfixturevalue(server).send(f"GET {path} HTTP/1.0\r\n\r\n".encode())
    assert (response.status, response.text) == (200, text)


def test_health_is_plain_text_that_nobody_keeps(gateway):
    answer = gateway.get("/health")
    assert (answer.status, answer.body) == (200, b"healthy")
    assert (answer.header("content-type"), answer.header("cache-control")) == ("text/plain", "no-store")
    assert gateway.request("/health", method="HEAD").body == b""


def test_health_without_a_host_is_never_a_services(wiki, upstream):
    assert wiki.send(b"GET /health HTTP/1.0\r\n\r\n").text == "healthy"
    assert not upstream.requests


@pytest.mark.parametrize("server", ["gateway", "http2_gateway"])
@pytest.mark.parametrize("target", ["/auth/me", "/health/x", "/api/public/x", "/health/../api"])
def test_nothing_else_answers_without_a_host(request, server, target):
    assert request.getfixturevalue(server).send(f"GET {target} HTTP/1.0\r\n\r\n".encode()).status == 400


def test_health_needs_a_host_where_http_does(gateway):
    assert gateway.send(b"GET /health HTTP/1.1\r\n\r\n").status == 400


@pytest.mark.parametrize("path", ["/admin/", "/dashboard", "/auth/me", "/static/authgate/site.css"])
def test_the_gateways_pages_answer_only_under_its_own_hosts(gateway, path):
    assert gateway.request(path, host="other.test").json()["reason"] == "bad_host"


def test_allowed_hosts_are_its_own_too(moved):
    assert moved.request("/sso/signed-out", host="other.test").status == 200


TAKEN = """\
version: 1
upstreams: {{evil: {{targets: ["{target}"]}}}}
routes:
  - {{name: exact, host: admin.example.com, path: /, access: public, upstream: evil}}
  - {{name: wildcard, host: "*.example.com", path: /, access: public, upstream: evil}}
  - {{name: address, host: "[2001:db8::1]", path: /, access: public, upstream: evil}}
  - {{name: phishing, host: "{phished}", path: /admin, access: public, upstream: evil}}
"""
ALLOWED = "Admin.Example.COM. [2001:DB8:0::1] other.example.com"
IMPORT = ("policy", "import", "-")


def taken_policy(phished, target="http://127.0.0.1:9"):
    return TAKEN.format(target=target, phished=phished)


@pytest.fixture(scope="module")
def data_dir(gateway_template, tmp_path_factory):
    """Of a gateway that is not served, into which no policy gets."""
    return shutil.copytree(gateway_template, tmp_path_factory.mktemp("refused") / "data")


@pytest.mark.parametrize("phished", ["admin.example.com", "*.example.com", "[2001:db8::1]"])
def test_no_route_may_take_the_gateways_pages_on_an_allowed_host(data_dir, phished):
    refused = manage(environment(data_dir, AUTHGATE_ALLOWED_HOSTS=ALLOWED), *IMPORT, stdin=taken_policy(phished))
    assert refused.returncode == 1
    assert "routes.phishing.path: /admin belongs to the gateway itself on " in refused.stderr


@pytest.mark.parametrize(
    "host",
    ["admin.example.com", "ADMIN.example.com.", "admin.example.com:8443", "[2001:db8:0:0::1]", "other.example.com"],
)
def test_a_route_from_before_a_host_was_allowed_takes_nothing_from_the_gateway(taken, upstream, host):
    assert "<form" in taken.request("/admin/login/", host=host).text
    assert upstream.requests == []


def test_on_a_host_of_a_service_alone_a_route_that_takes_more_than_it_may_now_denies(taken, upstream):
    assert taken.request("/admin/x", host="wiki.example.com").json()["reason"] == "route_invalid"
    assert taken.request("/wiki", host="wiki.example.com").status == 200


@pytest.fixture(scope="module")
def taken(gateway_template, session_upstream, tmp_path_factory):
    """Started with more hosts of its own than when its policy was imported."""
    policy = taken_policy("*.example.com", session_upstream.target)
    data_dir = tmp_path_factory.mktemp("taken") / "data"
    with Gateway(data_dir, template=gateway_template, policy=policy) as gateway:
        gateway.env["AUTHGATE_ALLOWED_HOSTS"] = ALLOWED
        yield gateway.start()


def test_an_ipv6_address_of_the_public_url_is_reserved_in_any_spelling(data_dir):
    env = environment(data_dir, AUTHGATE_PUBLIC_URL="https://[2001:DB8:0::1]")
    refused = manage(env, *IMPORT, stdin=taken_policy("[2001:db8::1]"))
    assert "/admin belongs to the gateway itself on [2001:db8::1]" in refused.stderr


def test_the_auth_prefix_moves(moved):
    assert moved.get("/sso/me").status == 401
    assert moved.get("/auth/me").json()["reason"] == "no_route"


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
