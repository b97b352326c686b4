"""Host headers, methods and user agents that other gateways were talked round with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import raw
from tests.support.gateway import Gateway
from tests.support.neighbours import neighbour_policy, upstream_sees_nothing
from tests.support.upstream import RecordingUpstream


@pytest.fixture(scope="module")
def gate(gateway_template: Path, session_upstream: RecordingUpstream, tmp_path_factory) -> Iterator[Gateway]:
    data = tmp_path_factory.mktemp("hosts") / "data"
    with Gateway(data, template=gateway_template, policy=neighbour_policy(session_upstream.target)) as gateway:
        yield gateway.start()


def get(*lines: bytes, target: bytes = b"/open/x") -> bytes:
    return b"\r\n".join((b"GET " + target + b" HTTP/1.1", *lines, b"", b""))


REFUSED_HOSTS = {
    "missing": get(b"Accept: */*"),
    "twice": get(b"Host: localhost", b"Host: wiki.test"),
    "the same twice": get(b"Host: localhost", b"host: localhost"),
    "list": get(b"Host: localhost, wiki.test"),
    **{
        repr(host): get(b"Host: " + host)
        for host in (
            b"", b"a/b", b"a@b", b"a?x", b"a#x", b"a:99999", b"a:0", b"a:1:2", b"[::1", b"a\x00", b"a\x02", b"..", b".",
            b"a..b", b"a b", b"a\xa0", b"a\\b", b"http://a", b"example.com/abc?bar=", b"a;b", b"a%2f", b"-a",
        )
    },
    "obs-fold": b"GET /open/x HTTP/1.1\r\nHost: localhost\r\n .wiki.test\r\n\r\n",
    "space before the colon": get(b"Host : localhost"),
    "absolute target and another Host": get(b"Host: localhost", target=b"http://wiki.test/open/x"),
    "absolute target and no Host": get(b"Accept: */*", target=b"http://localhost/open/x"),
    "absolute target and another port": get(b"Host: localhost:1", target=b"http://localhost:2/open/x"),
}  # fmt: skip


@pytest.mark.parametrize("data", REFUSED_HOSTS.values(), ids=REFUSED_HOSTS.keys())
def test_a_doubtful_host_is_refused(gate, upstream, data):
    assert upstream_sees_nothing(gate, upstream, data).status == 400


def test_http_1_0_without_a_host_is_refused(gate, upstream):
    assert gate.send(b"GET /open/x HTTP/1.0\r\n\r\n").status == 400
    assert upstream.requests == []


@pytest.mark.parametrize(
    "host",
    ["wiki.test", "WIKI.Test", "wiki.test.", "Wiki.TEST.:8000", "wiki.test:", "wiki.test:443", "a.tenant.test",
     "A.B.TENANT.test.", "a.tenant.test:1"],
)  # fmt: skip
def test_every_spelling_of_a_host_finds_its_routes(gate, upstream, host):
    """CVE-2026-48794, CVE-2022-23632, CVE-2026-27588"""
    response = gate.request("/open/x", host=host)
    assert (response.status, response.json()["reason"]) == (401, "no_credential")
    assert upstream.requests == []


@pytest.mark.parametrize("host", ["tenant.test", "xtenant.test", "wiki.test.evil.test", "evilwiki.test", "x.wiki.test"])
def test_a_neighbour_of_a_host_is_another_host(gate, upstream, host):
    assert gate.request("/open/x", host=host).status == 200
    assert upstream.only.header("x-forwarded-host") == host


def test_the_upstream_gets_its_own_host(gate, upstream):
    assert gate.request("/open/x", host="anything.test:99").status == 200
    assert upstream.only.header("host") == f"127.0.0.1:{upstream.port}"
    assert upstream.only.header("x-forwarded-host") == "anything.test:99"
    assert upstream.only.header("x-forwarded-port") == "99"


def test_a_preserved_host_is_the_one_the_policy_saw(gate, upstream):
    assert gate.request("/preserve/x", host="AnyThing.Test.:99").status == 200
    assert upstream.only.header("host") == "anything.test:99"


@pytest.mark.parametrize("path", ["/admin/", "/auth/me", "/static/x", "/dashboard", "/.well-known/jwks.json"])
def test_pages_of_the_gateway_answer_only_under_its_own_names(gate, upstream, path):
    assert gate.request(path, host="evil.test").json()["reason"] == "bad_host"
    assert upstream.requests == []


@pytest.mark.parametrize("path", ["/%61dmin/", "/adm%69n/login/", "//admin/", "/admin%2f", "/./admin/"])
def test_another_spelling_of_a_reserved_path_is_no_way_round(gate, upstream, path):
    assert gate.request(path, host="evil.test").json()["error"] == "bad_request"
    assert upstream.requests == []


def test_two_slashes_and_a_host_redirect_nowhere(gate, upstream):
    """CVE-2018-14574"""
    response = gate.get("//evil.test/admin")
    assert (response.status, response.header("location")) == (400, None)


@pytest.mark.parametrize("method", ["CONNECT", "TRACE"])
def test_a_method_that_is_never_served_is_refused(gate, upstream, method):
    """CVE-2026-71324"""
    target = "localhost:80" if method == "CONNECT" else "/open/x"
    assert upstream_sees_nothing(gate, upstream, raw.request(method, target)).status in (400, 405)


@pytest.mark.parametrize("method", ["get", "Get", "GETX", 'G=":<>', "GET\t", "DELETE\x00", "G\xe9T", "-", "PRI"])
def test_what_is_no_method_is_refused(gate, upstream, method):
    data = raw.request(target="/open/x").replace(b"GET", method.encode("latin-1"), 1)
    assert upstream_sees_nothing(gate, upstream, data).status in (400, 405)


@pytest.mark.parametrize(
    ("method", "status"),
    [("GET", 200), ("HEAD", 200), ("POST", 200), ("PUT", 401), ("DELETE", 401), ("OPTIONS", 404), ("PATCH", 404),
     ("PROPFIND", 404)],
)  # fmt: skip
def test_a_policy_for_methods_is_exact(gate, upstream, method, status):
    """HEAD follows GET; OPTIONS is no exception."""
    assert gate.request("/things/1", method=method).status == status
    assert [request.method for request in upstream.requests] == ([method] if status == 200 else [])


@pytest.mark.parametrize("name", ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"])
def test_a_method_is_not_overridden_behind_the_policy(gate, upstream, name):
    assert gate.request("/things/1", method="POST", headers=[(name, "DELETE")], body=b"").status == 200
    assert upstream.only.method == "POST"
    assert upstream.only.header(name) is None


EXEMPTING = {
    "CVE-2026-34457 probe": ("User-Agent", "kube-probe/1.0"),
    "CVE-2026-34457 health check": ("User-Agent", "GoogleHC/1.0"),
    "CVE-2026-40575 forwarded path": ("X-Forwarded-Uri", "/open/x"),
    "original URL": ("X-Original-URL", "/open/x"),
    "rewritten URL": ("X-Rewrite-URL", "/open/x"),
    "CVE-2026-33495 scheme": ("X-Forwarded-Proto", "https"),
    "host": ("X-Forwarded-Host", "other.test"),
    "method": ("X-Original-Method", "OPTIONS"),
    "client": ("X-Forwarded-For", "127.0.0.1"),
    "identity": ("X-Auth-User-Roles", '["admin"]'),
    "CVE-2025-29927 middleware": ("X-Middleware-Subrequest", "middleware"),
}


@pytest.mark.parametrize("header", EXEMPTING.values(), ids=EXEMPTING.keys())
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST"])
def test_no_header_exempts_from_the_policy(gate, upstream, method, header):
    response = gate.request("/open/admin/x", method=method, headers=[header])
    assert response.status == 401
    assert upstream.requests == []


@pytest.mark.parametrize("name", ["X-Forwarded-Host", "X-Forwarded-Uri", "X-Original-URL", "Referer"])
def test_a_refusal_says_nothing_of_what_was_sent(gate, upstream, name):
    response = gate.get("/open/admin/plantedpath?q=plantedquery", headers=[(name, "http://planted.test/")])
    assert response.status == 401
    assert b"planted" not in response.raw_head + response.body
