"""The session cookie: it stays with the gateway, it is there once, and other sites cannot write with it."""

from __future__ import annotations

import pytest

from tests.support import raw

OTHERS = "a=b; c=d"


@pytest.fixture
def session(gateway) -> str:
    return gateway.mint("alice")


def test_the_session_cookie_identifies_the_caller(gateway, upstream, session):
    assert gateway.get("/api/protected/x", headers=[("Cookie", f"auth_token={session}")]).status == 200
    assert upstream.only.header("x-auth-user-id") == "alice"
    assert upstream.only.all("cookie") == []


@pytest.mark.parametrize("path", ["/api/public/x", "/api/protected/x"])
@pytest.mark.parametrize(
    "cookies",
    [
        pytest.param(["a=b; auth_token={}; c=d"], id="in the middle"),
        pytest.param(["auth_token={}; a=b; c=d"], id="first"),
        pytest.param(["a=b; c=d; auth_token={}"], id="last"),
        pytest.param(["a=b; auth_token = {} ; c=d"], id="spaces around the name"),
        pytest.param(["auth_token={}; authgate_csrf=x; a=b; authgate_admin=y; c=d"], id="with our others"),
        pytest.param(["auth_token={}; a=b; c=d; __Host-authgate_csrf=x"], id="with a prefix"),
    ],
)
def test_our_cookies_end_here_and_others_go_on(gateway, upstream, session, path, cookies):
    headers = [("Cookie", cookie.replace("{}", session)) for cookie in cookies]
    assert gateway.get(path, headers=headers).status == 200
    assert upstream.only.all("cookie") == [OTHERS]
    assert session.encode() not in upstream.only.head


def test_several_cookie_headers_are_all_cleaned(gateway, upstream, session):
    headers = [("Cookie", "a=b"), ("Cookie", f"auth_token={session}"), ("cookie", "authgate_x=1; c=d")]
    assert gateway.get("/api/protected/x", headers=headers).status == 200
    assert upstream.only.all("cookie") == ["a=b", "c=d"]


@pytest.mark.parametrize(
    "cookie", ["a=b", "a=b;c=d;;", "=;;=", "author=1; my_auth_token=2", 'a="x; y"', "\xe9=\xff", "a", "A=B; a=b; a=b"]
)
def test_cookies_of_others_are_carried_byte_for_byte(gateway, upstream, cookie):
    assert gateway.get("/api/public/x", headers=[("Cookie", cookie)]).status == 200
    assert upstream.only.all("cookie") == [cookie]


@pytest.mark.parametrize(
    "cookie",
    [";", "=", ";;;a", "; ;", "auth_token", "auth_token=", "auth_token=;", "=auth_token=x", ",", '"'],
    ids=repr,
)
@pytest.mark.parametrize("path", ["/api/public/x", "/api/protected/x"])
def test_a_broken_cookie_header_is_no_failure_of_ours(gateway, upstream, path, cookie):
    """CVE-2023-28625"""
    assert gateway.get(path, headers=[("Cookie", cookie)]).status in (200, 401)
    assert "auth_token" not in "".join(request.head.decode("latin-1") for request in upstream.requests)


TOSSED = {
    "twice in one header": ["auth_token={}; auth_token={}"],
    "in two headers": ["auth_token={}", "auth_token={}"],
    "planted first": ["auth_token=x; auth_token={}"],
    "planted last": ["auth_token={}; auth_token=x"],
    "empty one first": ["auth_token=; auth_token={}"],
    "U+2000 in front": ["\u2000auth_token={}"],
    "look-alike and real": ["\u2000auth_token=x; auth_token={}"],
    "no-break space in latin-1": ["\udca0auth_token={}"],
}


@pytest.mark.parametrize("cookies", TOSSED.values(), ids=TOSSED.keys())
def test_a_tossed_session_cookie_is_none(gateway, upstream, session, cookies):
    lines = [b"Cookie: " + cookie.replace("{}", session).encode("utf-8", "surrogateescape") for cookie in cookies]
    head = b"\r\n".join((b"GET /api/protected/x HTTP/1.1", b"Host: localhost", *lines, b"", b""))
    assert gateway.send(head).status == 401
    assert upstream.requests == []


@pytest.mark.parametrize("cookies", TOSSED.values(), ids=TOSSED.keys())
def test_a_tossed_session_cookie_never_reaches_a_public_upstream(gateway, upstream, session, cookies):
    lines = [b"Cookie: " + cookie.replace("{}", session).encode("utf-8", "surrogateescape") for cookie in cookies]
    head = b"\r\n".join((b"GET /api/public/x HTTP/1.1", b"Host: localhost", *lines, b"", b""))
    assert gateway.send(head).status == 200
    assert b"auth_token" not in upstream.only.head
    assert upstream.only.header("x-auth-user-id") == ""


def test_a_huge_session_cookie_is_refused(gateway, upstream):
    for size, status in ((12_000, 401), (60_000, 431)):
        assert gateway.get("/api/protected/x", headers=[("Cookie", "auth_token=" + "x" * size)]).status == status
    assert upstream.requests == []


def test_the_bearer_token_counts_where_both_are_sent(gateway, upstream, session):
    headers = [("Cookie", f"auth_token={session}")]
    assert gateway.get("/api/protected/x", token=gateway.mint("bob"), headers=headers).status == 200
    assert upstream.only.header("x-auth-user-id") == "bob"
    assert gateway.get("/api/protected/x", token="x.y.z", headers=headers).status == 401
    assert len(upstream.requests) == 1


# --- cross-site requests ---------------------------------------------------------------------------------

FORGED = {
    "cross site": [("Sec-Fetch-Site", "cross-site")],
    "same site": [("Sec-Fetch-Site", "same-site")],
    "other origin": [("Origin", "http://evil.test")],
    "null origin": [("Origin", "null")],
    "other port": [("Origin", "http://localhost:1")],
    "other scheme": [("Origin", "https://localhost")],
    "suffix host": [("Origin", "http://localhost.evil.test")],
    "two origins": [("Origin", "http://evil.test"), ("Origin", "{own}")],
    "two words": [("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Site", "cross-site")],
    "word before own origin": [("Sec-Fetch-Site", "cross-site"), ("Origin", "{own}")],
}
HONEST = {
    "program": [],
    "own page": [("Sec-Fetch-Site", "same-origin"), ("Origin", "{own}")],
    "typed": [("Sec-Fetch-Site", "none")],
    "old browser": [("Origin", "{own}")],
}


def send(gateway, session: str, method: str, path: str, headers: list[tuple[str, str]]) -> raw.Response:
    filled = [(name, value.replace("{own}", gateway.url)) for name, value in headers]
    return gateway.request(path, method=method, headers=[("Cookie", f"auth_token={session}"), *filled], body=b"")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("headers", FORGED.values(), ids=FORGED.keys())
def test_another_site_cannot_write_with_the_cookie(gateway, upstream, session, method, headers):
    response = send(gateway, session, method, "/api/protected/x", headers)
    assert (response.status, response.json()["reason"]) == (403, "cross_site")
    assert upstream.requests == []


@pytest.mark.parametrize("method", ["POST", "DELETE"])
@pytest.mark.parametrize("headers", HONEST.values(), ids=HONEST.keys())
def test_our_own_pages_and_programs_write_with_the_cookie(gateway, upstream, session, method, headers):
    assert send(gateway, session, method, "/api/protected/x", headers).status == 200
    assert upstream.only.header("x-auth-user-id") == "alice"


@pytest.mark.parametrize("headers", FORGED.values(), ids=FORGED.keys())
def test_another_site_is_nobody_on_a_public_route(gateway, upstream, session, headers):
    assert send(gateway, session, "POST", "/api/public/x", headers).status == 200
    assert upstream.only.header("x-auth-user-id") == ""
    assert upstream.only.all("cookie") == []


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_reading_across_sites_is_left_to_the_browser(gateway, upstream, session, method):
    assert send(gateway, session, method, "/api/protected/x", [("Sec-Fetch-Site", "cross-site")]).status == 200


def test_a_bearer_token_is_never_sent_by_accident(gateway, upstream):
    headers = [("Sec-Fetch-Site", "cross-site"), ("Origin", "http://evil.test")]
    response = gateway.request(
        "/api/protected/x", method="POST", token=gateway.mint("alice"), headers=headers, body=b""
    )
    assert response.status == 200
