from __future__ import annotations

import pytest

WANTED = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "strict-origin-when-cross-origin",
    "cross-origin-opener-policy": "same-origin",
}
PATHS = {
    "forwarded": "/api/public",
    "refused by the gate": "/api/protected",
    "refused before the gate": "/a//b",
    "a page": "/dashboard",
    "health": "/health",
    "keys": "/.well-known/jwks.json",
    "an asset": "/static/admin/css/base.css",
}


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_every_response_has_them(gateway, upstream, path):
    response = gateway.get(path)
    # An address that could not be read may hold anything: it is told to nobody.
    referrer = {"referrer-policy": "no-referrer"} if path == PATHS["refused before the gate"] else {}
    assert {name: response.header(name) for name in WANTED} == {**WANTED, **referrer}
    assert "camera=()" in response.header("permissions-policy")
    assert response.header("strict-transport-security") is None


def test_on_https_every_response_asks_to_stay_there(start_gateway):
    gateway = start_gateway(env={"AUTHGATE_PUBLIC_URL": "https://gateway.test"})
    for path in PATHS.values():
        response = gateway.send(f"GET {path} HTTP/1.1\r\nHost: gateway.test\r\n\r\n".encode())
        assert response.header("strict-transport-security") == "max-age=31536000", path


@pytest.mark.parametrize("path", ["/dashboard", "/auth/me", "/api/protected"])
def test_what_depends_on_the_caller_is_never_stored(gateway, path):
    response = gateway.get(path)
    assert response.header("cache-control") == "no-store"
    assert {"Cookie", "Authorization"} <= {word.strip() for word in response.header("vary").split(",")}


def test_own_pages_run_no_script_but_their_own(gateway):
    policy = gateway.get("/dashboard").header("content-security-policy")
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_a_service_keeps_its_own_policy(gateway, upstream):
    own = b"Content-Security-Policy: sandbox\r\nX-Frame-Options: SAMEORIGIN\r\n"
    upstream.reply(b"HTTP/1.1 200 OK\r\n" + own + b"Content-Length: 0\r\n\r\n")
    response = gateway.get("/api/public")
    assert response.all("content-security-policy") == ["sandbox"]
    assert response.all("x-frame-options") == ["SAMEORIGIN"]


@pytest.mark.parametrize("path", ["/auth/callback/x", "/auth/callbackx", "/auth/loginx", "/auth/signed-outx"])
def test_an_address_with_secrets_is_told_to_nobody_when_it_is_mistyped_either(gateway, path):
    assert gateway.get(f"{path}?code=secret").header("referrer-policy") == "no-referrer"
