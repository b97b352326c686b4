"""Who is sent to sign in, who is told no, and that the way back is exact."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from tests.support.sessions import make_session, run

PAGE = [("Accept", "text/html"), ("Sec-Fetch-Mode", "navigate")]
ADD_PROVIDER = "IdentityProvider.objects.create(slug='idp', client_id='gateway', issuer='http://127.0.0.1:9')"


@pytest.fixture(scope="module")
def gateway(gateway_template, session_upstream, tmp_path_factory):
    from tests.support.gateway import Gateway
    from tests.support.policies import demo_policy

    data_dir = tmp_path_factory.mktemp("redirects") / "data"
    with Gateway(data_dir, template=gateway_template, policy=demo_policy(session_upstream.target)) as gateway:
        run(gateway, ADD_PROVIDER)
        yield gateway.start()


def next_of(response):
    assert response.status == 302
    address = urlsplit(response.header("location"))
    assert (address.scheme, address.netloc, address.path) == ("", "", "/auth/login")
    return parse_qs(address.query, strict_parsing=True)["next"]


def test_without_a_provider_a_page_refuses_as_before(start_gateway):
    response = start_gateway().get("/api/protected", headers=PAGE)
    assert (response.status, response.header("location")) == (401, None)


@pytest.mark.parametrize(
    "target",
    [
        "/api/protected",
        "/api/protected/deep?q=1&r=a%20b&next=/x",
        "/api/protected?a=%2526&b=%25",
        "/api/protected/%C3%A4?%zz;+=//evil.example",
        "/api/protected?redirect=https://evil.example/%0d%0aX",
        "/api/protected?",
    ],
)
def test_somebody_who_looks_at_it_is_sent_to_sign_in_and_back_to_the_very_same_target(gateway, target):
    response = gateway.get(target, headers=PAGE)
    assert next_of(response) == [target]
    assert response.header("cache-control") == "no-store"


def test_a_head_is_answered_as_its_get_would_be(gateway):
    response = gateway.request("/api/protected", method="HEAD", headers=PAGE)
    assert next_of(response) == ["/api/protected"]


@pytest.mark.parametrize("reason", ["token_expired", "invalid_token"])
def test_a_cookie_that_is_not_good_leads_to_sign_in_too(gateway, reason):
    cookie = make_session(gateway, cookie_age=400, left=-1).cookie if reason == "token_expired" else "nonsense"
    response = gateway.get("/api/protected", headers=[*PAGE, ("Cookie", f"auth_token={cookie}")])
    assert next_of(response) == ["/api/protected"]


def test_a_bearer_token_that_is_not_good_is_told_so(gateway):
    response = gateway.get("/api/protected", token="abc", headers=PAGE)
    assert response.status == 401


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        pytest.param("GET", [("Accept", "*/*"), ("Sec-Fetch-Mode", "cors")], id="fetch"),
        pytest.param("GET", [("Accept", "text/html"), ("X-Requested-With", "XMLHttpRequest")], id="XMLHttpRequest"),
        pytest.param("GET", [("Accept", "application/json")], id="program"),
        pytest.param("DELETE", PAGE, id="delete"),
    ],
)
def test_nobody_else_is_ever_redirected(gateway, method, headers):
    response = gateway.request("/api/protected", method=method, headers=headers)
    assert (response.status, response.json()["reason"]) == (401, "no_credential")
    assert response.header("location") is None


def test_a_target_too_long_for_a_cookie_is_left_behind(gateway):
    response = gateway.get(f"/api/protected?q={'x' * 2100}", headers=PAGE)
    assert (response.status, response.header("location")) == (302, "/auth/login")


@pytest.mark.parametrize(("path", "status"), [("/nowhere", 404), ("/a/../b", 400)])
def test_what_signing_in_would_not_heal_stays_a_page(gateway, path, status):
    assert gateway.get(path, headers=PAGE).status == status


def test_the_dashboard_asks_to_sign_in(gateway):
    assert next_of(gateway.get("/dashboard?x=1", headers=PAGE)) == ["/dashboard?x=1"]
    assert gateway.get("/dashboard", headers=[("Accept", "application/json")]).status == 401


def test_who_lacks_a_role_is_told_which_and_as_whom_and_can_change_that(gateway):
    made = make_session(gateway, "carol")
    response = gateway.get("/api/admin", headers=[*PAGE, *made.headers])
    assert response.status == 403
    for words in ("<code>admin</code>", "idp|carol", "Sign in as somebody else", 'action="/auth/logout"'):
        assert words in response.text


def test_the_last_provider_that_goes_takes_the_redirect_with_it(start_gateway):
    gateway = start_gateway()
    run(gateway, ADD_PROVIDER)
    gateway.settle()
    assert gateway.get("/api/protected", headers=PAGE).status == 302
    run(gateway, "IdentityProvider.objects.get().delete()")
    gateway.settle()
    assert gateway.get("/api/protected", headers=PAGE).status == 401
