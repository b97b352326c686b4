"""Signing in at a real OpenID provider, request by request: where each answer leads, and that none leads in circles."""

from __future__ import annotations

import re

import pytest

from tests.support.agent import NAVIGATION, Agent
from tests.support.gateway import Gateway
from tests.support.oidc import add_provider
from tests.support.policies import demo_policy
from tests.support.sessions import run

JSON = {"Accept": "application/json", "Sec-Fetch-Mode": "cors"}


@pytest.fixture(scope="module")
def gateway(gateway_template, session_upstream, tmp_path_factory, openid):
    data_dir = tmp_path_factory.mktemp("login") / "data"
    env = {"AUTHGATE_TRUSTED_PROXIES": "127.0.0.1/32"}
    policy = demo_policy(session_upstream.target)
    with Gateway(data_dir, template=gateway_template, policy=policy, workers=2, env=env) as gateway:
        client_id, secret = openid.client(gateway.url)
        openid.start()
        add_provider(gateway, "main", openid.issuer, client_id, secret)
        yield gateway.start()


@pytest.fixture
def visitor(gateway):
    return Visitor(gateway.url)


class Visitor(Agent):
    """Each from an address of its own, so that no test meets the limit that another has used up."""

    count = 0

    def __init__(self, url, **options):
        Visitor.count += 1
        self.url, self.address = url, f"198.51.100.{Visitor.count}"
        super().__init__(**options)

    def send(self, url, method="GET", *, headers=(), **options):
        return super().send(url, method, headers={**dict(headers), "X-Forwarded-For": self.address}, **options)

    def at_the_callback(self, target="/api/protected"):
        """The callback's address as the provider redirects to it, not followed yet."""
        page = self.open(self.url + target)
        page = self.send(page.url, "POST", form={"account": "alice"})
        while "/auth/callback" not in page.location:
            page = self.send(page.location)
        return page.location


def failure_of(page):
    """The code on a page that explains; and that it has one button and no way of going on by itself."""
    assert "Location" not in page.headers
    assert "refresh" not in page.text.lower()
    assert page.headers["X-Request-Id"] in page.text
    assert len(re.findall(r'class="button"', page.text)) == 1
    return re.search(r"<dt>Reason</dt><dd><code>(\w+)", page.text)[1]


def test_a_first_visit_ends_on_the_very_page_asked_for(visitor, upstream):
    page = visitor.sign_in(f"{visitor.url}/api/protected/deep?q=a%20b&next=%2Fx")
    assert (page.status, page.url) == (200, f"{visitor.url}/api/protected/deep?q=a%20b&next=%2Fx")
    assert upstream.requests[-1].path.startswith(b"/api/protected/deep")


def test_the_callback_keeps_its_code_to_itself(visitor):
    page = visitor.send(visitor.at_the_callback())
    assert (page.status, page.headers["Location"]) == (302, "/api/protected")
    assert (page.headers["Referrer-Policy"], page.headers["Cache-Control"]) == ("no-referrer", "no-store")
    cookies = page.headers.get_all("Set-Cookie")
    assert any(re.fullmatch(r" ?auth_token=[^;]+;.*HttpOnly;.*SameSite=Lax", cookie) for cookie in cookies)


def test_whoever_is_signed_in_goes_straight_on(visitor):
    visitor.sign_in(f"{visitor.url}/api/protected")
    for given, expected in [("/api/admin?x=1", "/api/admin?x=1"), ("//evil.example", "/dashboard"), ("", "/dashboard")]:
        page = visitor.send(f"{visitor.url}/auth/login?next={given.replace('?', '%3F')}")
        assert (page.status, page.headers["Location"]) == (302, expected)


def test_a_callback_that_comes_twice_says_that_i_am_signed_in(visitor):
    callback = visitor.at_the_callback()
    visitor.follow(visitor.send(callback))
    page = visitor.send(callback)
    assert page.status == 200
    assert "You are signed in already" in page.text
    assert 'href="/api/protected">Continue' in page.text


def test_a_callback_that_comes_twice_to_somebody_else_is_over(visitor, gateway):
    callback = visitor.at_the_callback()
    page = Visitor(gateway.url).send(callback)
    assert (page.status, failure_of(page)) == (400, "login_expired")
    assert "auth_token" not in str(page.headers)


def test_who_cancels_can_try_again_and_still_gets_there(visitor):
    page = visitor.choose(visitor.open(f"{visitor.url}/api/protected?deep=1"), "")
    assert (page.status, failure_of(page)) == (400, "oauth2_error")
    again = re.search(r'href="([^"]+)">Sign in again', page.text)[1]
    page = visitor.sign_in(visitor.url + again)
    assert (page.status, page.url) == (200, f"{visitor.url}/api/protected?deep=1")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("", "missing_code"),
        ("?code=x", "login_expired"),
        ("?code=x&state=y", "login_expired"),
        ("?code=a&code=b", "oauth2_error"),
        ("?error=<script>&state=y", "oauth2_error"),
    ],
)
def test_a_callback_out_of_nowhere_is_explained_to_people_and_programs(visitor, query, code):
    page = visitor.send(f"{visitor.url}/auth/callback/main{query}")
    assert failure_of(page) == code
    assert "<script>" not in page.text
    answer = visitor.send(f"{visitor.url}/auth/callback/main{query}", headers=JSON)
    assert f'"reason": "{code}"' in answer.text
    assert f'"request_id": "{answer.headers["X-Request-Id"]}"' in answer.text


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Purpose": "prefetch"}, 503),
        ({"Sec-Purpose": "prefetch;prerender"}, 503),
        ({"Purpose": "prefetch"}, 503),
        ({"Sec-Fetch-Dest": "image"}, 204),
        ({"Sec-Fetch-Dest": "iframe"}, 204),
    ],
)
def test_no_sign_in_begins_that_nobody_asked_for(visitor, headers, status):
    page = visitor.send(f"{visitor.url}/auth/login", headers=headers)
    assert (page.status, page.headers["Set-Cookie"], page.headers["Location"]) == (status, None, None)
    assert page.headers["Cache-Control"] == "no-store"


def test_a_head_begins_no_sign_in(visitor):
    page = visitor.send(f"{visitor.url}/auth/login", "HEAD")
    assert (page.status, page.headers["Set-Cookie"]) == (204, None)


def test_a_browser_that_loses_the_session_cookie_stops_instead_of_going_round(visitor):
    visitor.sign_in(f"{visitor.url}/api/protected")
    visitor.jar.clear("localhost.local", "/", "auth_token")
    page = visitor.open(f"{visitor.url}/api/protected")
    assert (page.status, failure_of(page)) == (400, "cookies_refused")
    again = re.search(r'href="([^"]+)">Sign in again', page.text)[1]
    assert visitor.sign_in(visitor.url + again).url == f"{visitor.url}/api/protected"


def test_whose_session_was_ended_signs_in_again_at_once(visitor, gateway):
    visitor.sign_in(f"{visitor.url}/api/protected")
    run(gateway, "store.end_all(Person.objects.get(provider_subject='alice'), 'a test')")
    visitor.wait_for(f"{visitor.url}/api/protected", 401)
    assert visitor.sign_in(f"{visitor.url}/api/protected").url == f"{visitor.url}/api/protected"


def test_a_worker_that_has_not_read_of_a_sessions_end_sends_nobody_back(visitor, gateway):
    """The one that has would send them here again: each redirect is another connection, and maybe the other worker."""
    for _ in range(3):
        visitor.sign_in(f"{visitor.url}/api/protected")
        run(gateway, "store.end_all(Person.objects.get(provider_subject='alice'), 'a test')")
        page = visitor.send(f"{visitor.url}/auth/login?next=/api/protected")
        assert (page.status, page.location != f"{visitor.url}/api/protected") == (302, True)


def test_who_begins_sign_ins_without_end_is_told_to_wait(visitor):
    pages = [visitor.send(f"{visitor.url}/auth/login") for _ in range(25)]
    refused = [page for page in pages if page.status == 429]
    assert refused
    assert int(refused[0].headers["Retry-After"]) >= 1
    assert all("Location" not in page.headers for page in refused)
    assert re.findall(r'class="button" href="([^"]+)">([^<]+)', refused[0].text) == [("/auth/login", "Try again")]
    assert Visitor(visitor.url).send(f"{visitor.url}/auth/login").status == 302


def test_signing_out_ends_the_session_at_the_provider_too(visitor, openid):
    visitor.sign_in(f"{visitor.url}/api/protected")
    page = visitor.send(f"{visitor.url}/auth/logout", "POST", form={}, headers={"Sec-Fetch-Site": "same-origin"})
    assert page.status == 200
    assert f"url={openid.issuer}/session/end?" in page.text
    assert visitor.send(f"{visitor.url}/api/protected", headers=JSON).status == 401


# --- gateways of their own ---------------------------------------------------------------------------------


def test_without_a_provider_the_page_says_so(start_gateway):
    gateway = start_gateway()
    page = Agent().send(f"{gateway.url}/auth/login")
    assert page.status == 503
    assert "Nobody can sign in here yet." in page.text


def test_several_providers_get_a_button_each(start_gateway):
    gateway = start_gateway()
    add_provider(gateway, "one", "http://127.0.0.1:9", name="First & Best")
    add_provider(gateway, "two", "http://127.0.0.1:9", name="Second")
    gateway.settle()
    page = Agent().send(f"{gateway.url}/auth/login?next=/api/protected%3Fa%3Db")
    links = re.findall(r'class="button" href="([^"]+)">([^<]+)', page.text)
    assert links == [
        ("/auth/login?next=/api/protected%3Fa%3Db&amp;provider=one", "First &amp; Best"),
        ("/auth/login?next=/api/protected%3Fa%3Db&amp;provider=two", "Second"),
    ]
    assert failure_of(Agent().send(f"{gateway.url}/auth/login?provider=three")) == "unknown_provider"


def test_a_dead_provider_is_a_clear_page(start_gateway):
    gateway = start_gateway()
    add_provider(gateway, "dead", "http://127.0.0.1:9")
    gateway.settle()
    page = Agent().open(f"{gateway.url}/api/protected")
    assert (page.status, failure_of(page)) == (503, "provider_unavailable")


def test_on_a_host_of_a_route_sign_in_may_stay_on_that_host(start_gateway, gateway, openid, upstream):
    route = "{name: wiki, host: wiki.example.com, path: /, access: authenticated, upstream: api}"
    other = start_gateway(policy=f"{demo_policy(upstream.target)}  - {route}\n")
    add_provider(other, "main", openid.issuer, callbacks="each")
    other.settle()
    host = f"wiki.example.com:{other.port}"
    page = other.request("/dashboard", host=host, headers=list(NAVIGATION.items()))
    assert page.header("location") == "/auth/login?next=/dashboard"
    page = other.request("/auth/login", host=host, headers=list(NAVIGATION.items()))
    assert f"redirect_uri=http%3A%2F%2Fwiki.example.com%3A{other.port}%2Fauth%2Fcallback%2Fmain" in page.header(
        "location"
    )


# --- what the provider says --------------------------------------------------------------------------------


@pytest.mark.parametrize("slug", ["main", "none"])
def test_a_logout_token_that_is_none_is_refused(gateway, slug):
    headers = [("Content-Type", "application/x-www-form-urlencoded")]
    path = f"/auth/backchannel-logout/{slug}"
    answer = gateway.request(path, method="POST", headers=headers, body=b"logout_token=a.b.c")
    assert (answer.status, answer.header("cache-control")) == (400, "no-store")


def test_only_the_provider_shows_its_logout_in_a_frame(gateway, openid):
    policy = gateway.get("/auth/frontchannel-logout/main?iss=x&sid=y").header("content-security-policy")
    assert policy == f"default-src 'none'; base-uri 'none'; frame-ancestors {openid.issuer}"
    policy = gateway.get("/auth/frontchannel-logout/none").header("content-security-policy")
    assert policy.endswith("frame-ancestors 'none'")
