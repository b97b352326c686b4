"""Redirects, and cookies' paths, as a service says them and as a visitor gets them."""

from __future__ import annotations

import random
from typing import Any

import pytest

from authgate.policy.document import PolicyDocument, Route, Upstream
from authgate.policy.table import RouteEntry, build_table
from authgate.request import RequestFacts
from authgate.wire.authority import parse_authority
from authgate.wire.headers import Headers
from proxy.places import rewrite_places
from tests.support.browser import CHROMIUM, chromium
from tests.support.gateway import Gateway
from tests.support.scripted import answer, keep_connection


def entry(*targets: str, **fields: Any) -> RouteEntry:
    route = Route(**{"name": "r", "path": "/app", "access": "public", "upstream": "api", **fields})
    upstreams = {"api": Upstream(targets=targets or ("http://10.0.0.5:8080",))}
    return build_table(PolicyDocument(upstreams=upstreams, routes=(route,))).entries[0]


def visit(path: str = "/app/a/b", scheme: str = "https", host: str = "gw.test") -> RequestFacts:
    return RequestFacts("GET", scheme, parse_authority(host.encode()), path, b"", "1.2.3.4", "1.2.3.4", Headers())


def rewritten(value: str, by: RouteEntry, of: RequestFacts | None = None, name: str = "location") -> str:
    raw = [(name.encode(), value.encode("latin-1"))]
    ((_, result),) = rewrite_places(raw, by, of or visit())
    return result.decode("latin-1")


STRIPPED = entry(strip_prefix=True)
PLAIN = entry()

BELOW_A_STRIPPED_PREFIX = [
    ("/admin/login/", "/app/admin/login/"),
    ("/admin/login/?next=/admin/#x", "/app/admin/login/?next=/admin/#x"),
    ("/", "/app/"),
    ("/auth/logout", "/app/auth/logout"),
    ("/app/there/already", "/app/there/already"),
    ("/app", "/app"),
    ("/apple", "/app/apple"),
    ("login/", "/app/a/login/"),
    ("./login", "/app/a/login"),
    ("..", "/app/"),
    (".", "/app/a/"),
    ("../../admin/login/", "/app/admin/login/"),
    ("../../../../../admin", "/app/admin"),
    ("app/x", "/app/a/app/x"),
    ("/../admin/", "/app/admin/"),
    ("/app/../admin/", "/app/admin/"),
    ("/%2e%2e/admin", "/app/admin"),
    ("/app/%2E%2e/admin", "/app/admin"),
    ("/app/.%2e/admin", "/app/admin"),
    ("..\\..\\..\\admin", "/app/admin"),
    ("\\admin", "/app/admin"),
    (" /admin ", "/app/admin"),
    ("/ad\tmin", "/app/admin"),
    ("/.\t./admin", "/app/admin"),
    ("https:/admin", "/app/admin"),
    ("https:admin", "/app/a/admin"),
    ("/caf\xe9", "/app/caf\xe9"),
    ("/X", "/app/X"),
    ("/a/b/../c", "/app/a/c"),
    ("/a/b/./c/..", "/app/a/b/"),
    # to the target, or to the host that X-Forwarded-Host names
    ("http://10.0.0.5:8080/admin/", "https://gw.test/app/admin/"),
    ("http://10.0.0.5:8080", "https://gw.test/app/"),
    ("http://10.0.0.5:8080?x", "https://gw.test/app/?x"),
    ("HTTP://10.0.0.5:8080/app/x", "https://gw.test/app/x"),
    ("https://10.0.0.5:8080/x", "https://gw.test/app/x"),
    ("//10.0.0.5:8080/x", "https://gw.test/app/x"),
    ("http:/\\10.0.0.5:8080\\x", "https://gw.test/app/x"),
    ("http://10.0.0.5:8080//evil.test/", "https://gw.test/app//evil.test/"),
    ("https://gw.test/admin/login/", "https://gw.test/app/admin/login/"),
    ("http://gw.test/admin/login/", "http://gw.test/app/admin/login/"),
    ("https://GW.test:443/admin/?a#b", "https://gw.test:443/app/admin/?a#b"),
    ("//gw.test/admin/", "https://gw.test/app/admin/"),
    ("//@gw.test/admin/", "https://gw.test/app/admin/"),
    ("https://user:word@gw.test/admin/", "https://gw.test/app/admin/"),
    ("///gw.test/admin/", "https://gw.test/app/admin/"),
    ("/\\gw.test/admin/", "https://gw.test/app/admin/"),
    ("https:////gw.test/app/../admin/", "https://gw.test/app/admin/"),
]
UNTOUCHED = [
    "", "?page=2", "#top", "https://other.test/admin/", "//other.test/x", "/\\evil.test/x", "http://10.0.0.5/x",
    "http://10.0.0.5:9090/x", "https://gw.test:8443/x", "https://sub.gw.test/admin", "mailto:a@b.test",
    "com.example.app://done", "javascript:1", "a-b.c+d1:e", "z:", "https://user@other.test/x", "http://[::bad/x", "ws://gw.test/x",
]  # fmt: skip


@pytest.mark.parametrize(("said", "got"), BELOW_A_STRIPPED_PREFIX, ids=lambda text: ascii(text))
def test_a_place_below_a_stripped_prefix_stays_below_it(said, got):
    assert rewritten(said, STRIPPED) == got


@pytest.mark.parametrize("said", UNTOUCHED, ids=repr)
@pytest.mark.parametrize("by", [STRIPPED, PLAIN], ids=["stripped", "plain"])
def test_a_place_elsewhere_is_what_the_service_said(by, said):
    assert rewritten(said, by) == said


@pytest.mark.parametrize(
    "said",
    [
        "/admin/login/",
        "login/",
        "../../x",
        "/app/../x",
        "https://gw.test/admin/",
        "/%2e%2e/x",
        "https:/x",
        "https://GW.test:443/a/../b",
    ],
)
def test_a_service_that_sees_the_whole_path_means_what_it_says(said):
    assert rewritten(said, PLAIN) == said


@pytest.mark.parametrize(
    ("target", "said", "got"),
    [
        ("http://10.0.0.5:8080", "http://10.0.0.5:8080/x?y", "https://gw.test/x?y"),
        ("http://up.test", "http://up.test/x", "https://gw.test/x"),
        ("http://up.test", "http://up.test:80/x", "https://gw.test/x"),
        ("http://up.test", "https://up.test/x", "https://gw.test/x"),
        ("http://up.test", "http://UP.test./x", "https://gw.test/x"),
        ("https://up.test", "https://up.test:443/x", "https://gw.test/x"),
        ("https://up.test:8443", "//up.test:8443/x", "https://gw.test/x"),
        ("http://[::1]:80", "http://[0:0::1]/x", "https://gw.test/x"),
        ("unix:/run/app.sock", "http://localhost/x", "https://gw.test/x"),
        ("http://up.test", "http://up.test//evil.test", "https://gw.test//evil.test"),
        ("http://up.test", "http://up.test:8080/x", "http://up.test:8080/x"),
        ("http://up.test", "http://up.test.evil.test/x", "http://up.test.evil.test/x"),
    ],
)
def test_an_absolute_place_at_the_target_is_the_visitors(target, said, got):
    assert rewritten(said, entry(target)) == got


def test_every_target_of_an_upstream_is_the_service():
    by = entry("http://a.test:1", "http://b.test:2")
    assert [rewritten(f"http://{host}/x", by) for host in ("a.test:1", "b.test:2")] == ["https://gw.test/x"] * 2
    assert [rewritten(f"s=1; Domain={host}", by, name="set-cookie") for host in ("a.test", "b.test")] == ["s=1"] * 2


@pytest.mark.parametrize(("said", "got"), [("http://gw.test/x", "https://gw.test/x"), ("/x", "/x")])
def test_a_service_that_is_given_the_visitors_host_means_itself_by_it(said, got):
    assert rewritten(said, entry(preserve_host=True)) == got


@pytest.mark.parametrize(("said", "got"), [("login", "/app/login"), ("?x", "?x"), ("..", "/app/"), ("/x", "/app/x")])
def test_the_prefix_alone_is_the_services_root(said, got):
    assert rewritten(said, STRIPPED, visit("/app")) == got


def test_the_visitors_port_is_kept():
    of = visit(scheme="http", host="gw.test:8000")
    assert rewritten("http://10.0.0.5:8080/x", STRIPPED, of) == "http://gw.test:8000/app/x"


def test_no_other_header_is_changed():
    for said in ("/x", "0; url=/x", "s=1; Domain=10.0.0.5; Path=/"):
        assert rewritten(said, STRIPPED, name="x-other") == said


@pytest.mark.parametrize("name", ["location", "content-location"])
def test_both_headers_that_name_a_place_are_rewritten(name):
    assert rewritten("/x", STRIPPED, name=name) == "/app/x"


@pytest.mark.parametrize(
    ("said", "got"),
    [
        ("0; url=/admin/login/", "0; url=/app/admin/login/"), ("0;URL='/admin/'", "0;URL='/app/admin/'"),
        ('5 , url = "/x" y', '5 , url = "/app/x"'), ("0; /x", "0; /app/x"), ("0 /x", "0 /app/x"), ("3", "3"),
        ("0;url=", "0;url="), ("1.5;url=http://10.0.0.5:8080/x", "1.5;url=https://gw.test/app/x"),
        ("0; url=https://other.test/", "0; url=https://other.test/"), ("url=/x", "url=/app/x"), (";/x", ";/app/x"),
        ('0;url=""', '0;url=""'), ("0;url='/x", "0;url='/app/x'"), ("0,url\t=\n/x", "0,url\t=\n/app/x"),
    ],
)  # fmt: skip
def test_a_refresh_leads_where_a_redirect_would(said, got):
    assert rewritten(said, STRIPPED, name="refresh") == got


COOKIES = [
    ("s=1; Path=/; HttpOnly", "s=1; Path=/app; HttpOnly"),
    ("s=1;path=/x/;Secure", "s=1; Path=/app/x/;Secure"),
    ("s=1; Path=/app", "s=1; Path=/app"),
    ("s=1; Path=/app/x", "s=1; Path=/app/x"),
    ("s=1; Path=/apple", "s=1; Path=/app/apple"),
    ("s=1; Path=/admin; Path=/", "s=1; Path=/app/admin; Path=/app"),
    ("s=1; HttpOnly", "s=1; HttpOnly"),
    ("s=1; Path=", "s=1; Path="),
    ("__Host-s=1; Path=/; Secure", "__Host-s=1; Path=/; Secure"),
    (" __Host-s=1; Path=/x", " __Host-s=1; Path=/x"),
    ("s=1; Foo=10.0.0.5; Bar=/x; Path=/", "s=1; Foo=10.0.0.5; Bar=/x; Path=/app"),
    ("s=1; Domain=10.0.0.5; Path=/", "s=1; Path=/app"),
    ("s=1; Domain=.10.0.0.5", "s=1"),
    ("s=1; Domain=gw.test", "s=1; Domain=gw.test"),
    ("s=Path=/; Expires=Wed, 21 Oct 2026 07:28:00 GMT", "s=Path=/; Expires=Wed, 21 Oct 2026 07:28:00 GMT"),
]


@pytest.mark.parametrize(("said", "got"), COOKIES)
def test_a_cookie_below_a_stripped_prefix_stays_below_it(said, got):
    assert rewritten(said, STRIPPED, name="set-cookie") == got


@pytest.mark.parametrize(("said", "got"), [("s=1", "s=1; Path=/app"), ("s=1; Path=", "s=1; Path=; Path=/app")])
def test_a_cookie_of_the_prefix_itself_is_not_the_hosts(said, got):
    assert rewritten(said, STRIPPED, visit("/app"), name="set-cookie") == got


@pytest.mark.parametrize(
    ("said", "got"),
    [("s=1; Path=/", "s=1; Path=/"), ("s=1; Domain=10.0.0.5", "s=1"), ("s=1; domain=x", "s=1; domain=x")],
)
def test_of_other_cookies_only_the_targets_domain_is_removed(said, got):
    assert rewritten(said, PLAIN, name="set-cookie") == got


PIECES = (
    "/", "//", "\\", ".", "..", "%2e", "%2E%2e", "admin", "auth", "app", "login", "?", "#", ":", "@", "https:", "http:",
    "HTTPS:/", "gw.test", "GW.TEST:443", "10.0.0.5:8080", "x", " ", "\t", "%2f", ";", "\x0b", "\xa0", "//gw.test/",
)  # fmt: skip
OURS = ("https://gw.test", "http://gw.test")
BASES = ("/app", "/app/", "/app/a", "/app/a/b/c")


@pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium")
def test_no_spelling_leads_a_browser_from_a_stripped_prefix_to_the_gateways_own_pages():
    draw = random.Random(7)
    said = ["".join(draw.choices(PIECES, k=draw.randint(1, 8))) for _ in range(20_000)]
    places = [(path, rewritten(text, STRIPPED, visit(path))) for text in said for path in (draw.choice(BASES),)]
    with chromium() as browser:
        urls = browser.new_page().evaluate(
            """places => places.map(([path, place]) => {
                try { const url = new URL(place, "https://gw.test" + path); return [url.origin, url.pathname] }
                catch { return ["", ""] }
            })""",
            places,
        )
    astray = [
        (text, place, url)
        for text, place, url in zip(said, places, urls, strict=True)
        if url[0] in OURS and not f"{url[1]}/".startswith("/app/")
    ]
    assert astray == []
    assert sum(url[0] in OURS for url in urls) > 5_000


# --- the real thing ------------------------------------------------------------------------------------------

POLICY = """\
version: 1
upstreams: {{api: {{targets: ["{target}"]}}}}
routes:
  - {{name: app, path: /app, access: public, upstream: api, strip_prefix: true}}
  - {{name: plain, path: /plain, access: public, upstream: api}}
"""


@pytest.fixture(scope="module", params=["http/1.1", "http/2"])
def gateway(request, gateway_template, session_upstream, tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("places") / "data"
    policy = POLICY.format(target=session_upstream.target)
    args = ("--http2",) if request.param == "http/2" else ()
    with Gateway(data_dir, template=gateway_template, policy=policy, args=args) as gateway:
        gateway.start()
        gateway.settle()
        yield gateway


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_redirect_to_a_sign_in_page_is_to_the_services_own(gateway, upstream, method, kept):
    if kept:
        keep_connection(gateway, upstream, "/plain/warm")
    upstream.reply(answer("Location: /admin/login/?next=/admin/", "Set-Cookie: sid=1; Path=/", status="302 Found"))
    body = b"x" if method == "POST" else None
    response = gateway.request("/app/admin/", method=method, body=body)
    assert (response.status, response.header("location")) == (302, "/app/admin/login/?next=/admin/")
    assert response.header("set-cookie") == "sid=1; Path=/app"


def test_a_created_thing_is_where_the_visitor_finds_it(gateway, upstream):
    upstream.reply(answer(f"Location: {upstream.target}/things/7", status="201 Created"))
    response = gateway.request("/app/things", method="POST", body=b"{}", headers=[])
    assert response.header("location") == f"http://localhost:{gateway.port}/app/things/7"


def test_the_same_redirect_is_rewritten_for_each_route(gateway, upstream):
    upstream.reply(answer(f"Location: {upstream.target}/x", status="302 Found"))
    seen = [gateway.get(path).header("location") for path in ("/app/y", "/plain/y", "/app/y")]
    assert seen == [f"http://localhost:{gateway.port}{path}" for path in ("/app/x", "/x", "/app/x")]


def test_a_real_django_admin_behind_a_stripped_prefix_keeps_its_visitors(start_gateway):
    service = start_gateway()
    target = f"http://127.0.0.1:{service.port}"
    front = start_gateway(policy=POLICY.format(target=target))
    response = front.get("/app/admin/")
    assert (response.status, response.header("location")) == (302, "/app/admin/login/?next=/admin/")
    page = front.get("/app/admin/login/")
    assert page.status == 200
    assert service.log_lines(wait_for=1, path="/admin/login/")
