"""What of an upstream's headers reaches the client, and what the gateway adds."""

from __future__ import annotations

import gzip
import re

import pytest

from tests.support import raw
from tests.support.gateway import Gateway
from tests.support.policies import demo_policy
from tests.support.scripted import answer, keep_connection

SECURITY = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "strict-origin-when-cross-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
    "cross-origin-opener-policy": "same-origin",
}


def ask(gateway, upstream, *fields: str, path: str = "/api/public/x", body: bytes = b"", **options) -> raw.Response:
    upstream.reply(answer(*fields, body=body))
    return gateway.get(path, **options)


def test_headers_arrive_unchanged_and_in_order(gateway, upstream):
    fields = [
        "X-B: 1",
        "x-a:2",
        "X-B:  3 ",
        "X-Empty:",
        "Vary: Accept",
        'Link: </a>; rel="x", </b>',
        "X-Latin: caf\xe9",
    ]
    response = ask(gateway, upstream, *fields)
    wanted = [("x-b", "1"), ("x-a", "2"), ("x-b", "3"), ("x-empty", ""), ("vary", "Accept")]
    wanted += [("link", '</a>; rel="x", </b>'), ("x-latin", "caf\xe9")]
    assert response.headers[: len(wanted)] == wanted


@pytest.mark.parametrize(
    "name",
    [
        "Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization", "TE", "Trailer",
        "Upgrade", "HTTP2-Settings",
    ],
)  # fmt: skip
@pytest.mark.parametrize("spelling", [str, str.lower, str.upper])
def test_hop_by_hop_headers_are_the_upstreams_own(gateway, upstream, name, spelling):
    response = ask(gateway, upstream, f"{spelling(name)}: secret-of-one-hop", "X-After: 1")
    assert response.all(name) == []
    assert response.header("x-after") == "1"


@pytest.mark.parametrize("fields", [["Connection: X-One, x-TWO"], ["Connection: x-one", "connection: close ,X-Two"]])
def test_what_connection_lists_stays_on_its_hop(gateway, upstream, fields):
    response = ask(gateway, upstream, *fields, "X-One: 1", "X-Two: 2", "X-Three: 3")
    assert (response.all("x-one"), response.all("x-two"), response.all("x-three")) == ([], [], ["3"])


def test_responses_get_the_security_headers_they_lack(gateway, upstream):
    response = ask(gateway, upstream)
    assert {name: response.header(name) for name in SECURITY} == SECURITY


@pytest.mark.parametrize("name", SECURITY)
def test_an_upstreams_own_security_header_is_kept(gateway, upstream, name):
    response = ask(gateway, upstream, f"{name.title()}: its-own")
    assert {key: response.header(key) for key in SECURITY} == {**SECURITY, name: "its-own"}


@pytest.mark.parametrize("listed", [*SECURITY, "content-security-policy", "x-request-id", "date"])
@pytest.mark.parametrize("own", [True, False])
def test_connection_cannot_remove_a_security_header(gateway, upstream, listed, own):
    """Nor what the gateway adds, nor what it left out because the upstream seemed to send it."""
    fields = [f"{listed}: its-own"] if own else []
    response = ask(gateway, upstream, f"Connection: close, {listed.upper()}", *fields)
    for name in SECURITY:
        assert response.header(name) in (SECURITY[name], "its-own")
    assert response.header("date")
    assert re.fullmatch("[0-9a-f]{32}", response.header("x-request-id") or "")


@pytest.mark.parametrize("name", ["Set-Cookie", "Content-Type", "Cache-Control", "Location", "Content-Security-Policy"])
def test_connection_cannot_remove_what_has_meaning_end_to_end(gateway, upstream, name):
    assert ask(gateway, upstream, f"Connection: {name}", f"{name}: a=b").all(name) == ["a=b"]


def test_an_upstreams_content_security_policy_is_kept_and_none_is_added(gateway, upstream):
    policy = "default-src 'self'; frame-ancestors https://example.com"
    assert ask(gateway, upstream, f"Content-Security-Policy: {policy}").header("content-security-policy") == policy
    assert ask(gateway, upstream).all("content-security-policy") == []


def test_the_request_id_is_the_gateways(gateway, upstream):
    response = ask(gateway, upstream, "X-Request-ID: from-upstream", "x-request-id: again")
    assert response.header("x-request-id") == upstream.only.header("x-request-id")


def test_the_upstreams_date_is_the_only_one(gateway, upstream):
    date = "Tue, 15 Nov 1994 08:12:31 GMT"
    assert ask(gateway, upstream, f"Date: {date}").header("date") == date


def test_a_date_is_added_to_a_response_without_one(gateway, upstream):
    assert ask(gateway, upstream).header("date")


def test_alt_svc_does_not_lead_past_the_gateway(gateway, upstream):
    assert ask(gateway, upstream, 'Alt-Svc: h3=":443"; ma=86400').all("alt-svc") == []


# Browsers apply these to the whole host, where the gateway's own pages are too.
OF_THE_WHOLE_HOST = {
    "Clear-Site-Data": '"cookies", "storage"',
    "Service-Worker-Allowed": "/",
    "NEL": '{"report_to": "x", "max_age": 86400}',
    "Public-Key-Pins": 'pin-sha256="x"; max-age=5184000',
}


@pytest.mark.parametrize("name", OF_THE_WHOLE_HOST)
@pytest.mark.parametrize("spelling", [str, str.lower, str.upper])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_would_act_on_the_gateways_own_pages_stays_here(gateway, upstream, name, spelling, method):
    upstream.reply(answer(f"{spelling(name)}: {OF_THE_WHOLE_HOST[name]}", "X-After: 1"))
    response = gateway.request("/api/public/x", method=method, body=b"x" if method == "POST" else None)
    assert (response.all(name), response.header("x-after")) == ([], "1")


@pytest.fixture(scope="module", params=["http/1.1", "http/2"])
def https(request, gateway_template, session_upstream, tmp_path_factory):
    """A gateway whose visitors come by https: it sends HSTS of its own."""
    data_dir = tmp_path_factory.mktemp("https") / "data"
    with Gateway(
        data_dir, template=gateway_template, policy=demo_policy(session_upstream.target),
        args=("--http2",) if request.param == "http/2" else (), env={"AUTHGATE_PUBLIC_URL": "https://gateway.test"},
    ) as gateway:  # fmt: skip
        gateway.start()
        gateway.settle()
        yield gateway


OWN_HSTS = "max-age=31536000"


@pytest.mark.parametrize(
    "value",
    ["max-age=0", "MAX-AGE=0", 'max-age="0"', "max-age = 00", "includeSubDomains; max-age=0;", "max-age=0, max-age=9",
     "max-age=31536000; max-age=0", "max-age=60", "max-age=-1", "max-age=", "", "nonsense", "max-age=2591999"],
)  # fmt: skip
@pytest.mark.parametrize("kept", [False, True])
def test_a_service_cannot_switch_hsts_off(https, upstream, value, kept):
    if kept:
        keep_connection(https, upstream)
    upstream.reply(answer(f"Strict-Transport-Security: {value}"))
    assert https.get("/api/public/x").all("strict-transport-security") == [OWN_HSTS]


@pytest.mark.parametrize(
    "value", ["max-age=63072000; includeSubDomains; preload", "max-age=2592000", 'Max-Age="31536000"']
)
def test_a_services_own_hsts_is_kept(https, upstream, value):
    upstream.reply(answer(f"Strict-Transport-Security: {value}"))
    assert https.get("/api/public/x").all("strict-transport-security") == [value]


def test_of_two_the_one_that_would_switch_it_off_is_removed(https, upstream):
    upstream.reply(answer("Strict-Transport-Security: max-age=0", "Strict-Transport-Security: max-age=31536000"))
    assert https.get("/api/public/x").all("strict-transport-security") == [OWN_HSTS]


def test_a_gateway_on_http_leaves_hsts_to_what_stands_before_it(gateway, upstream):
    assert ask(gateway, upstream, "Strict-Transport-Security: max-age=0").all("strict-transport-security") == [
        "max-age=0"
    ]


OURS = ["auth_token", "__Host-auth_token", "authgate_csrf", "authgate_login_abc", "__Host-authgate_state"]
SHAPES = [
    pytest.param("{}=eve", id="plain"),
    pytest.param("{}=eve; Path=/; Secure; HttpOnly", id="attributes"),
    pytest.param(" {} =eve; Domain=gateway.test", id="blanks around the name"),
    pytest.param("\t{}\t=eve", id="tabs"),
    pytest.param("{}", id="no value"),
    pytest.param("{}=", id="empty value"),
    pytest.param("{}=; Max-Age=0", id="deletion"),
    # A browser keeps a cookie without a name and sends back only its value: `Cookie: auth_token=eve`.
    pytest.param("={}=eve", id="no name"),
    pytest.param(" = {}=eve", id="no name and blanks"),
]


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("shape", SHAPES)
def test_an_upstream_cannot_set_the_gateways_cookies(gateway, upstream, name, shape):
    response = ask(gateway, upstream, "Set-Cookie: a=1", f"Set-Cookie: {shape.format(name)}", "Set-Cookie: b=2; Path=/")
    assert response.all("set-cookie") == ["a=1", "b=2; Path=/"]


@pytest.mark.parametrize(
    "cookie",
    ["my_auth_token=1", "auth_token2=1", "AUTHGATE=1", "xauthgate_a=1", "a=auth_token=1", "sessionid=authgate_x"],
)
def test_cookies_of_the_upstream_itself_pass(gateway, upstream, cookie):
    assert ask(gateway, upstream, f"Set-Cookie: {cookie}; Path=/").all("set-cookie") == [f"{cookie}; Path=/"]


@pytest.fixture(scope="module")
def https_gateway(gateway_template, session_upstream, tmp_path_factory):
    """TLS ends in front of it."""
    data_dir = tmp_path_factory.mktemp("https") / "data"
    env = {"AUTHGATE_PUBLIC_URL": "https://localhost", "AUTHGATE_TRUSTED_PROXIES": "127.0.0.1/32"}
    policy = demo_policy(session_upstream.target)
    with Gateway(data_dir, template=gateway_template, policy=policy, env=env) as started:
        yield started.start()


@pytest.mark.parametrize("name", ["auth_token", "authgate_csrf"])
def test_on_https_an_applications_cookie_with_a_plain_name_of_ours_passes_both_ways(https_gateway, upstream, name):
    cookies = f"{name}=app; __Host-{name}=ours"
    answered = ask(
        https_gateway, upstream, f"Set-Cookie: {name}=app; Path=/", f"Set-Cookie: __Host-{name}=x; Path=/; Secure",
        headers=[("Cookie", cookies), ("X-Forwarded-Proto", "https")],
    )  # fmt: skip
    assert upstream.only.all("cookie") == [f"{name}=app"]
    assert answered.all("set-cookie") == [f"{name}=app; Path=/"]


def test_on_https_the_session_counts_beside_an_applications_cookie_of_the_plain_name(https_gateway, upstream):
    cookies = f"auth_token=app; __Host-auth_token={https_gateway.mint('alice')}"
    headers = [("Cookie", cookies), ("X-Forwarded-Proto", "https")]
    assert https_gateway.get("/api/protected/x", headers=headers).status == 200
    assert (upstream.only.header("x-auth-user-id"), upstream.only.all("cookie")) == ("alice", ["auth_token=app"])


def test_on_https_a_service_cannot_make_a_browser_known(https_gateway, upstream):
    answered = ask(https_gateway, upstream, "Set-Cookie: __Secure-authgate_device=x; Path=/admin/; Secure")
    assert answered.all("set-cookie") == []


@pytest.mark.parametrize(
    ("path", "fields", "wanted"),
    [
        pytest.param("/api/protected/x", [], ["private"], id="added where a caller is known"),
        pytest.param("/api/protected/x", ["Cache-Control: public, max-age=60"], ["public, max-age=60"], id="kept"),
        pytest.param("/api/protected/x", ["Cache-Control: no-store"], ["no-store"], id="no-store kept"),
        pytest.param("/api/public/x", [], [], id="public"),
        pytest.param("/api/public/x", ["Cache-Control: max-age=60"], ["max-age=60"], id="public kept"),
    ],
)
def test_shared_caches_keep_no_answer_to_one_caller(gateway, upstream, path, fields, wanted):
    token = gateway.mint("ann") if "protected" in path else None
    assert ask(gateway, upstream, *fields, path=path, token=token).all("cache-control") == wanted


def test_an_answer_to_a_known_caller_of_a_public_route_is_private(gateway, upstream):
    response = ask(gateway, upstream, token=gateway.mint("ann"))
    assert response.header("cache-control") == "private"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_passed_and_never_followed(gateway, upstream, status):
    upstream.reply(answer("Location: /api/public/elsewhere", status=f"{status} Moved"))
    response = gateway.get("/api/public/x")
    assert (response.status, response.header("location")) == (status, "/api/public/elsewhere")
    assert len(upstream.requests) == 1


def test_ranges_pass_unchanged_in_both_directions(gateway, upstream):
    reply = answer(
        "Content-Range: bytes 2-4/10", 'ETag: "v1"', "Accept-Ranges: bytes", body=b"cde", status="206 Partial"
    )
    upstream.reply(reply)
    wanted = [("Range", "bytes=2-4"), ("If-Range", '"v1"')]
    response = gateway.get("/api/public/x", headers=wanted)
    assert (response.status, response.body, response.header("content-range")) == (206, b"cde", "bytes 2-4/10")
    assert (response.header("etag"), response.header("accept-ranges")) == ('"v1"', "bytes")
    assert [upstream.only.header(name) for name, _ in wanted] == [value for _, value in wanted]


def test_conditional_requests_pass_unchanged_in_both_directions(gateway, upstream):
    upstream.reply(answer('ETag: W/"v1"', "Vary: Accept", status="304 Not Modified", length=False))
    response = gateway.get("/api/public/x", headers=[("If-None-Match", 'W/"v1", "v0"')])
    assert (response.status, response.header("etag"), response.header("vary")) == (304, 'W/"v1"', "Accept")
    assert upstream.only.header("if-none-match") == 'W/"v1", "v0"'


def test_compressed_bodies_are_not_touched(gateway, upstream):
    body = gzip.compress(b"hello" * 1000)
    response = ask(
        gateway, upstream, "Content-Encoding: gzip", body=body, headers=[("Accept-Encoding", "gzip;q=1.0, br")]
    )
    assert (response.body, response.header("content-encoding")) == (body, "gzip")
    assert upstream.only.header("accept-encoding") == "gzip;q=1.0, br"


def test_a_body_that_only_claims_to_be_compressed_is_not_touched(gateway, upstream):
    assert ask(gateway, upstream, "Content-Encoding: gzip", body=b"not gzip").body == b"not gzip"


def test_every_byte_value_of_a_body_arrives(gateway, upstream):
    body = bytes(range(256)) * 300
    assert ask(gateway, upstream, body=body).body == body


def test_error_answers_of_the_upstream_are_its_own(gateway, upstream):
    upstream.reply(answer("Content-Type: text/plain", "WWW-Authenticate: Own", body=b"no", status="401 Unauthorized"))
    response = gateway.get("/api/public/x")
    assert (response.status, response.body, response.header("www-authenticate")) == (401, b"no", "Own")
