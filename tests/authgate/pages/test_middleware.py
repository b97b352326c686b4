from __future__ import annotations

import asyncio
import json
import time

import pytest
from asgiref.sync import iscoroutinefunction
from django.http import HttpResponse
from django.test import AsyncRequestFactory, RequestFactory

from authgate.pages import identity_views
from authgate.pages.middleware import JWTAuthenticationMiddleware, SecurityHeadersMiddleware
from authgate.reason import Reason
from authgate.state import snapshot as snapshots
from tests.support.signing import make_snapshot, make_trust, sign_token

ALICE = sign_token(claims={"email": "a@b.c", "name": "Alice"}).decode()
SESSION = sign_token(header={"typ": "session+jwt"}, claims={"sub": "sam"}).decode()


@pytest.fixture
def loaded(monkeypatch):
    monkeypatch.setattr(snapshots, "_current", make_snapshot())


@pytest.fixture
def nothing_loaded(monkeypatch):
    monkeypatch.setattr(snapshots, "_current", None)


def pass_sync(middleware, view, path="/page", **headers):
    return middleware(view)(RequestFactory().get(path, headers=headers))


def pass_async(middleware, view, path="/page", **headers):
    async def async_view(request):
        return view(request)

    handler = middleware(async_view)
    assert iscoroutinefunction(handler)
    return asyncio.run(handler(AsyncRequestFactory().get(path, headers=headers)))


both_modes = pytest.mark.parametrize("run", [pass_sync, pass_async], ids=["sync", "async"])


def who(run, **headers):
    seen = []

    def view(request):
        seen.append((request.identity and request.identity.subject, request.identity_error))
        return HttpResponse()

    run(JWTAuthenticationMiddleware, view, **headers)
    return seen[0]


@both_modes
def test_a_bearer_token_names_the_caller(run, loaded):
    assert who(run, authorization=f"Bearer {ALICE}") == ("alice", None)


@both_modes
def test_a_session_cookie_names_the_caller(run, loaded):
    assert who(run, cookie=f"a=b; auth_token={SESSION}") == ("sam", None)


@both_modes
def test_without_a_credential_the_caller_is_nobody(run, loaded):
    assert who(run) == (None, None)


BAD = {
    "bearer": ({"authorization": "Bearer junk"}, Reason.INVALID_TOKEN),
    "cookie": ({"cookie": "auth_token=junk"}, Reason.INVALID_TOKEN),
    "malformed": ({"authorization": "Bearer a b"}, Reason.MALFORMED_CREDENTIAL),
    "joined": ({"authorization": f"Bearer {ALICE},Bearer {ALICE}"}, Reason.MALFORMED_CREDENTIAL),
    "session-as-bearer": ({"authorization": f"Bearer {SESSION}"}, Reason.INVALID_TOKEN),
    "twice": ({"cookie": f"auth_token={SESSION}; auth_token={ALICE}"}, Reason.INVALID_TOKEN),
}


@both_modes
@pytest.mark.parametrize(("headers", "reason"), BAD.values(), ids=BAD)
def test_a_bad_credential_makes_nobody_and_says_why(run, headers, reason, loaded):
    assert who(run, **headers) == (None, reason)


@both_modes
def test_without_a_snapshot_nobody_is_known(run, nothing_loaded):
    assert who(run, authorization=f"Bearer {ALICE}") == (None, Reason.NO_POLICY)


def test_two_authorization_headers_are_refused(loaded):
    request = AsyncRequestFactory().get("/page")
    request.scope["headers"] += [(b"authorization", b"Bearer " + ALICE.encode())] * 2
    JWTAuthenticationMiddleware(lambda request: HttpResponse())(request)
    assert request.identity_error is Reason.MALFORMED_CREDENTIAL


def me(method="GET", **headers):
    request = AsyncRequestFactory().generic(method, "/auth/me", headers=headers)
    return asyncio.run(JWTAuthenticationMiddleware(identity_views.me)(request))


def jwks():
    return asyncio.run(identity_views.jwks(AsyncRequestFactory().get("/.well-known/jwks.json")))


def test_the_caller_sees_what_is_known_of_them(loaded):
    before = int(time.time())
    body = json.loads(me(authorization=f"Bearer {ALICE}").content)
    assert body.pop("expires_at") > before
    assert body == {
        "subject": "alice", "email": "a@b.c", "name": "Alice", "roles": ["user"], "issuer": "http://gateway.test",
        "credential": "bearer", "scopes": [], "token_id": "t-1",
    }  # fmt: skip


REFUSALS = {
    "nobody": ({}, 401, "no_credential", None),
    "junk": ({"authorization": "Bearer junk"}, 401, "invalid_token", "invalid_token"),
    "cookie": ({"cookie": "auth_token=junk"}, 401, "invalid_token", "invalid_token"),
    "malformed": ({"authorization": "Bearer"}, 400, "malformed_credential", "invalid_request"),
    "other-scheme": ({"authorization": "Basic eDp5"}, 401, "no_credential", None),
}


@pytest.mark.parametrize(("headers", "status", "reason", "error"), REFUSALS.values(), ids=REFUSALS)
def test_without_a_proven_caller_the_answer_is_that_of_rfc_6750(headers, status, reason, error, loaded):
    answer = me(**headers)
    challenge = answer["WWW-Authenticate"]
    assert (answer.status_code, json.loads(answer.content)["reason"]) == (status, reason)
    assert challenge.startswith('Bearer realm="') and challenge.count("error=") == (error is not None)
    assert error is None or f'error="{error}"' in challenge


def test_without_a_snapshot_the_gateway_is_unavailable(nothing_loaded):
    assert me(authorization=f"Bearer {ALICE}").status_code == 503
    assert jwks().status_code == 503


def test_asking_who_one_is_changes_nothing(loaded):
    assert me("POST", authorization=f"Bearer {ALICE}").status_code == 405


def test_the_keys_are_published_for_a_short_time(loaded):
    answer = jwks()
    assert json.loads(answer.content) == json.loads(make_trust().jwks)
    assert answer["Cache-Control"] == "public, max-age=60"


def headers_of(run, path="/page", **headers):
    def view(request):
        return HttpResponse("x", headers=headers)

    return run(SecurityHeadersMiddleware, view, path)


@both_modes
def test_every_page_has_the_security_headers(run):
    answer = headers_of(run)
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["X-Frame-Options"] == "DENY"
    assert answer["Referrer-Policy"] == "strict-origin-when-cross-origin"
    assert answer["Cross-Origin-Opener-Policy"] == "same-origin"
    assert "camera=()" in answer["Permissions-Policy"]


@both_modes
def test_no_page_runs_inline_script_or_may_be_framed(run):
    directives = dict(part.strip().split(" ", 1) for part in headers_of(run)["Content-Security-Policy"].split(";"))
    assert directives["default-src"] == "'none'"
    assert directives["script-src"] == directives["style-src"] == "'self'"
    assert directives["frame-ancestors"] == "'none'"


@both_modes
@pytest.mark.parametrize("path", ["/admin/", "/auth/me", "/dashboard", "/", "/health/ready", "/healthy", "/static/x"])
def test_no_shared_cache_keeps_what_may_be_personal(run, path):
    answer = headers_of(run, path, Vary="Accept-Encoding", **{"Cache-Control": "public, max-age=600"})
    assert answer["Cache-Control"] == "no-store"
    assert answer["Vary"] == "Accept-Encoding, Cookie, Authorization"


@both_modes
@pytest.mark.parametrize("path", ["/.well-known/jwks.json"])
def test_what_is_the_same_for_everybody_may_be_cached(run, path):
    answer = headers_of(run, path, **{"Cache-Control": "public, max-age=600"})
    assert answer["Cache-Control"] == "public, max-age=600"
    assert "Vary" not in answer
