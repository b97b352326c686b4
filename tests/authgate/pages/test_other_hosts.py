"""Signing in on hosts of applications by way of the public one, and what strangers can make of its steps."""

from __future__ import annotations

import re
import threading
from http.cookiejar import CookieJar
from urllib.parse import quote, urlencode

import pytest

from tests.support import sessions
from tests.support.agent import NAVIGATION, Agent
from tests.support.hosts import HOSTS, Browser, gateway_of_hosts, policy, query_of, reason_of, sign_out
from tests.support.oidc import add_provider
from tests.support.sessions import run


@pytest.fixture(scope="module")
def gateway(gateway_template, session_upstream, tmp_path_factory, openid):
    directory = tmp_path_factory.mktemp("hosts")
    with gateway_of_hosts(directory, gateway_template, session_upstream.target, openid) as gateway:
        yield gateway


@pytest.fixture
def browser(gateway, upstream):
    return Browser(gateway)


# --- there and back ---------------------------------------------------------------------------------------------
def test_one_redirect_uri_serves_every_host_and_leads_back_to_the_very_page(browser, upstream):
    target = "/find?q=a%20b%2Fc&next=https%3A%2F%2Fevil.example%2F"
    page = browser.sign_in(browser.wiki + target)
    assert (page.status, page.url) == (200, browser.wiki + target)
    assert upstream.requests[-1].target.decode() == target
    assert upstream.requests[-1].header("X-Auth-User-Email") == "alice@example.com"


def test_the_public_hosts_session_is_used_again_without_a_question(browser, openid):
    browser.sign_in(f"{browser.public}/dashboard")
    asked = len(openid.output)
    page = browser.open(f"{browser.wiki}/page")
    assert (page.status, page.url) == (200, f"{browser.wiki}/page")
    assert browser.open(f"{browser.git}/").url == f"{browser.git}/"
    assert len(openid.output) == asked


def test_each_host_has_a_cookie_of_its_own_for_one_and_the_same_session(browser):
    browser.sign_in(f"{browser.wiki}/")
    browser.open(f"{browser.git}/")
    cookies = [browser.cookie_of(host) for host in ("localhost.local", *HOSTS)]
    assert len({sessions.sid_of(cookie) for cookie in cookies}) == 1
    assert all(not one.domain_specified for one in browser.jar)


def test_the_steps_keep_the_code_to_themselves(browser, gateway):
    page = browser.send(browser.to_the_arrival(f"{browser.wiki}/page"))
    assert (page.status, page.headers["Location"]) == (302, "/page")
    assert (page.headers["Referrer-Policy"], page.headers["Cache-Control"]) == ("no-referrer", "no-store")
    code = query_of(page.url)["code"]
    assert len(code) == 43  # of 256 bits
    gateway.log_lines(path="/auth/arrive", wait_for=1)
    assert code not in gateway.output
    assert code not in run(
        gateway, "from authgate.models.people import HandOver\nprint(list(HandOver.objects.values()))"
    )


def test_the_page_with_the_code_sends_no_referrer(browser):
    page = browser.send(f"{browser.wiki}/")
    while "Who are you?" not in page.text:
        page = browser.send(page.location)
    page = browser.send(page.url, "POST", form={"account": "alice"})
    while not page.refresh:
        page = browser.send(page.location)
    assert (page.headers["Referrer-Policy"], page.headers["Cache-Control"]) == ("no-referrer", "no-store")


def test_tabs_that_sign_in_at_once_on_several_hosts_each_end_on_their_own_page(browser):
    urls = [f"{host}/tab/{number}" for number in range(3) for host in (browser.wiki, browser.git)]
    tabs = [browser.tab() for _ in urls]
    pages = [tab.open(url) for tab, url in zip(tabs, urls, strict=True)]
    ends = [tab.choose(page, "alice") for tab, page in zip(tabs, pages, strict=True)]
    assert [(end.status, end.url) for end in ends] == [(200, url) for url in urls]


def test_who_cancels_begins_again_on_the_applications_host(browser):
    page = browser.choose(browser.open(f"{browser.wiki}/deep?x=1"), "")
    assert reason_of(page) == "oauth2_error"
    again = re.search(r'href="([^"]+)">Sign in again', page.text)[1]
    assert again == f"{browser.wiki}/auth/login?next=%2Fdeep%3Fx%3D1"
    assert browser.sign_in(again).url == f"{browser.wiki}/deep?x=1"


@pytest.mark.parametrize("given", ["//evil.example", "/\\evil.example", "https://evil.example/", "/%09/evil.example",
                                   "http://a@evil.example", "/auth/logout", "@evil.example"])  # fmt: skip
def test_a_page_elsewhere_is_never_come_back_to(browser, given):
    page = browser.sign_in(f"{browser.wiki}/auth/login?next={quote(given, safe='')}")
    assert page.url == f"{browser.wiki}/"


# --- its end ----------------------------------------------------------------------------------------------------
def test_signing_out_on_one_host_is_the_end_on_every_host(browser):
    browser.sign_in(f"{browser.wiki}/")
    browser.open(f"{browser.git}/")
    assert [browser.status(f"{origin}/") for origin in (browser.wiki, browser.git)] == [200, 200]
    sign_out(browser, browser.git)
    assert [browser.status(f"{origin}/") for origin in (browser.wiki, browser.git)] == [401, 401]
    assert browser.status(f"{browser.public}/api/protected") == 401


def test_signing_out_at_the_provider_comes_back_by_the_public_host_to_the_one_that_was_left(browser):
    browser.sign_in(f"{browser.wiki}/left?x=1")
    headers = {"Sec-Fetch-Site": "same-origin", "Referer": f"{browser.wiki}/left?x=1"}
    page = browser.send(f"{browser.wiki}/auth/logout", "POST", form={}, headers=headers)
    query = query_of(page.refresh)
    assert query["post_logout_redirect_uri"] == f"{browser.public}/auth/signed-out"
    page = browser.open(f"{browser.public}/auth/signed-out?state={query['state']}")
    assert page.url == f"{browser.wiki}/auth/signed-out"
    assert 'href="/auth/login?next=/left%3Fx%3D1"' in page.text


@pytest.mark.parametrize("authority", ["wiki.localhost:9", "wiki.localhost", "WIKI.localhost.:9", "localhost:9"])
def test_a_sign_out_leads_to_no_other_port_whatever_the_request_named(browser, gateway, authority):
    """Anybody can make such a state, with a session of their own, and give the link to others."""
    browser.sign_in(f"{browser.wiki}/")
    cookie = browser.cookie_of("localhost.local" if authority.startswith("localhost") else "wiki.localhost")
    headers = [("Cookie", f"auth_token={cookie}"), ("Sec-Fetch-Site", "same-origin")]
    page = gateway.request("/auth/logout", method="POST", host=authority, headers=headers, body=b"")
    state = re.search(r"[?&;]state=([^&\"]+)", page.text)[1]
    page = Browser(gateway).send(f"{browser.public}/auth/signed-out?state={state}")
    expected = f"{browser.wiki}/auth/signed-out" if "wiki" in authority.lower() else ""
    assert (page.status, page.refresh) == (200, expected)


def test_a_sign_out_of_nobody_leads_nowhere(browser):
    page = browser.open(f"{browser.public}/auth/signed-out?state=made-up")
    assert page.url.startswith(f"{browser.public}/auth/signed-out")


def test_the_end_in_admin_is_the_end_on_every_host(browser, gateway):
    browser.sign_in(f"{browser.wiki}/", "root")
    browser.open(f"{browser.git}/")
    run(gateway, "store.end_all(Person.objects.get(provider_subject='root'), 'a test')")
    for origin in (browser.wiki, browser.git):
        browser.wait_for(f"{origin}/", 401)


def test_a_sign_out_at_the_provider_is_the_end_on_every_host(browser, openid):
    browser.sign_in(f"{browser.wiki}/")
    browser.open(f"{browser.git}/")
    page = browser.open(f"{openid.issuer}/session/end")
    secret = re.search(r'name="xsrf" value="([^"]+)"', page.text)[1]
    browser.send(f"{openid.issuer}/session/end/confirm", "POST", form={"xsrf": secret, "logout": "yes"})
    for origin in (browser.wiki, browser.git):
        browser.wait_for(f"{origin}/", 401, seconds=5)


# --- what strangers make of it ----------------------------------------------------------------------------------
def assert_refused(page, reason="login_expired"):
    assert (page.status, reason_of(page)) == (404 if reason == "unknown_host" else 400, reason)
    assert "auth_token" not in str(page.headers)


def test_an_attackers_code_signs_no_victim_in(browser, gateway):
    arrival = browser.to_the_arrival(f"{browser.wiki}/", "root")
    victim = Browser(gateway)
    assert_refused(victim.send(arrival))
    victim.open(f"{victim.wiki}/")  # has a cookie of its own by now
    assert_refused(victim.send(arrival))


def test_an_attackers_departure_brings_no_victims_session(browser, gateway):
    """The victim is led to the public host by the attacker's link; the code is worth nothing to either of them."""
    departure = browser.send(f"{browser.wiki}/auth/login").location
    victim = Browser(gateway)
    victim.sign_in(f"{victim.public}/dashboard")
    arrival = victim.send(departure).location
    assert arrival.startswith(f"{victim.wiki}/auth/arrive?")
    assert_refused(victim.send(arrival))
    assert_refused(browser.send(arrival))  # it was used up, wherever it came to


def test_a_code_counts_once(browser, gateway):
    arrival = browser.to_the_arrival(f"{browser.wiki}/page")
    assert browser.send(arrival).status == 302
    page = browser.send(arrival)
    assert (page.status, "You are signed in already" in page.text) == (200, True)
    browser.jar.clear("wiki.localhost", "/", "auth_token")
    assert_refused(browser.send(arrival))


def test_of_two_that_bring_a_code_at_once_one_gets_in(browser):
    arrival = browser.to_the_arrival(f"{browser.wiki}/page")
    tabs, pages = [browser.tab() for _ in range(6)], []
    for tab in tabs:
        tab.jar = CookieJar()
        for cookie in browser.jar:
            tab.jar.set_cookie(cookie)
    threads = [threading.Thread(target=lambda tab=tab: pages.append(tab.send(arrival))) for tab in tabs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(page.status for page in pages) == [302, 400, 400, 400, 400, 400]


def test_a_code_for_one_host_is_worth_nothing_on_another(browser):
    arrival = browser.to_the_arrival(f"{browser.wiki}/")
    browser.send(f"{browser.git}/auth/login")  # has a cookie there as well
    assert_refused(browser.send(arrival.replace("wiki.localhost", "git.localhost")))
    assert_refused(browser.send(arrival))


def test_the_code_of_one_departure_answers_no_other(browser):
    first = browser.to_the_arrival(f"{browser.wiki}/first")
    second = query_of(browser.to_the_arrival(f"{browser.wiki}/second"))
    mixed = {"code": second["code"], "state": query_of(first)["state"]}
    assert_refused(browser.send(f"{browser.wiki}/auth/arrive?{urlencode(mixed)}"))


def test_a_code_lives_for_a_minute(browser, gateway):
    arrival = browser.to_the_arrival(f"{browser.wiki}/")
    change = "from authgate.models.people import HandOver\nHandOver.objects.update(expires_at={})"
    assert 55 < float(run(gateway, "from authgate.models.people import HandOver\n"
        "print((HandOver.objects.latest('expires_at').expires_at - now).total_seconds())")) <= 60  # fmt: skip
    run(gateway, change.format("ago(1)"))
    assert_refused(browser.send(arrival))


def test_a_code_is_worth_nothing_once_somebody_has_signed_out(browser, gateway):
    browser.sign_in(f"{browser.public}/dashboard")
    arrival = browser.to_the_arrival(f"{browser.wiki}/")
    sign_out(browser, browser.public)
    assert_refused(browser.send(arrival))


@pytest.mark.parametrize(
    "change",
    [
        "IdentityProvider.objects.update(enabled={})",
        "Person.objects.filter(provider_subject='alice').update(is_active={})",
    ],
    ids=["provider", "person"],
)
def test_a_code_is_worth_nothing_once_provider_or_person_is_switched_off(browser, gateway, change):
    arrival = browser.to_the_arrival(f"{browser.wiki}/")
    run(gateway, change.format(False))
    try:
        assert_refused(browser.send(arrival))
    finally:
        run(gateway, change.format(True))


@pytest.mark.parametrize("sealed", ["", "x", "x" * 9000, "%00", "a.b.c"], ids=["none", "short", "long", "nul", "dots"])
def test_a_departure_that_is_none_of_ours_begins_nothing(browser, sealed):
    page = browser.send(f"{browser.public}/auth/login?for={sealed}")
    assert page.status in (400, 414)
    assert page.headers["Location"] is None


def test_a_departure_counts_on_the_public_host_alone(browser):
    departure = browser.send(f"{browser.wiki}/auth/login").location
    assert_refused(browser.send(departure.replace("//localhost", "//git.localhost")))


def test_a_host_that_no_route_names_is_not_come_back_to(browser, gateway, upstream):
    """Neither before the sign-in, nor after it, nor with the code that is out already."""
    before = browser.send(f"{browser.wiki}/auth/login").location
    other, late = Browser(gateway), Browser(gateway)
    form = other.open(f"{other.wiki}/")
    arrival = late.to_the_arrival(f"{late.wiki}/")
    gateway.import_policy(policy(upstream.target, "git.localhost"))
    try:
        assert_refused(browser.send(before), "unknown_host")
        assert_refused(other.choose(form, "alice"), "unknown_host")
        assert late.send(arrival).status == 400
        assert "auth_token" not in {cookie.name for cookie in late.jar if cookie.domain == "wiki.localhost"}
    finally:
        gateway.import_policy(policy(upstream.target, *HOSTS))


def test_no_sign_in_begins_for_a_host_that_nobody_named(gateway):
    page = gateway.request("/auth/login", host="evil.example", headers=list(NAVIGATION.items()))
    assert (page.status, page.header("location")) == (400, None)


@pytest.mark.parametrize("authority", ["wiki.localhost:9", "wiki.localhost", "WIKI.localhost.:9"])
def test_the_port_to_come_back_to_is_the_gateways_whatever_the_request_says(browser, gateway, authority):
    answer = gateway.request("/auth/login?next=/", host=authority, headers=list(NAVIGATION.items()))
    browser.sign_in(f"{browser.public}/dashboard")
    assert browser.send(answer.header("location")).location.startswith(f"{browser.wiki}/auth/arrive?")


BYSTANDERS = [{"Sec-Fetch-Dest": "iframe"}, {"Sec-Fetch-Dest": "empty"}, {"Sec-Purpose": "prefetch"}]


@pytest.mark.parametrize("headers", BYSTANDERS, ids=["frame", "script", "prefetch"])
def test_only_a_visit_arrives(browser, headers):
    arrival = browser.to_the_arrival(f"{browser.wiki}/")
    assert browser.send(arrival, headers=headers).status in (204, 503)
    assert browser.send(arrival).status == 302


def test_another_session_of_this_host_ends_when_one_arrives(browser, gateway):
    departure = browser.send(f"{browser.wiki}/auth/login").location
    browser.sign_in(f"{browser.wiki}/")
    before = sessions.sid_of(browser.cookie_of("wiki.localhost"))
    browser.jar.clear("localhost.local")
    browser.jar.clear("127.0.0.1")
    browser.sign_in(f"{browser.public}/dashboard", "root")
    browser.open(departure)
    assert sessions.sid_of(browser.cookie_of("wiki.localhost")) != before
    assert sessions.row(gateway, before)["reason"] == "signed in again"


# --- gateways of their own ----------------------------------------------------------------------------------
def test_neither_the_code_nor_its_cookie_goes_over_plain_http(start_gateway, upstream):
    """Whatever scheme and port the request came by."""
    env = {"AUTHGATE_PUBLIC_URL": "https://gateway.example.com:8443", "AUTHGATE_TRUSTED_PROXIES": "127.0.0.1"}
    gateway = start_gateway(policy=policy(upstream.target, "wiki.example.com"), env=env)
    add_provider(gateway, "main", "http://127.0.0.1:9")
    claims = {"email": "alice@example.com", "email_verified": True}
    made = sessions.make_session(gateway, slug="main", claims=claims)
    gateway.settle()
    for forwarded in ([], [("X-Forwarded-Proto", "http")], [("X-Forwarded-Proto", "https")]):
        asked = [*NAVIGATION.items(), *forwarded]
        left = gateway.request("/auth/login?next=/page", host="wiki.example.com", headers=asked)
        assert left.header("location").startswith("https://gateway.example.com:8443/auth/login?for=")
        assert left.header("set-cookie").startswith("__Host-authgate_login_")
        assert "; Secure" in left.header("set-cookie")
        there = left.header("location").removeprefix("https://gateway.example.com:8443")
        cookie = ("Cookie", f"__Host-auth_token={made.cookie}")
        back = gateway.request(there, host="gateway.example.com:8443", headers=[*asked, cookie])
        assert back.header("location").startswith("https://wiki.example.com:8443/auth/arrive?code=")


def test_of_two_providers_one_signs_in_here_and_one_by_way_of_the_public_host(start_gateway, upstream):
    gateway = start_gateway(policy=policy(upstream.target, "*.localhost"))
    add_provider(gateway, "here", "http://127.0.0.1:9", name="Here", callbacks="each")
    add_provider(gateway, "there", "http://127.0.0.1:9", name="There")
    gateway.settle()
    agent, url = Agent(), f"http://any.localhost:{gateway.port}"
    page = agent.send(f"{url}/auth/login?next=/page")
    here, there = re.findall(r'class="button" href="([^"]+)"', page.text)
    assert reason_of(agent.send(url + here.replace("&amp;", "&"))) == "provider_unavailable"
    away = agent.send(url + there.replace("&amp;", "&"))
    assert away.location.startswith(f"{gateway.url}/auth/login?for=")
    assert query_of(away.location)["provider"] == "there"
    page = agent.send(away.location)
    again = re.search(r'href="([^"]+)">Sign in again', page.text)[1]
    assert (reason_of(page), again) == ("provider_unavailable", f"{url}/auth/login?next=%2Fpage")


def test_several_providers_are_offered_on_the_public_host_which_remembers_where_to_go(start_gateway, upstream):
    gateway = start_gateway(policy=policy(upstream.target, "*.localhost"))
    for slug in ("one", "two"):
        add_provider(gateway, slug, "http://127.0.0.1:9", name=slug)
    gateway.settle()
    agent, url = Agent(), f"http://any.localhost:{gateway.port}"
    page = agent.open(f"{url}/page")
    links = re.findall(r'class="button" href="([^"]+)"', page.text)
    assert page.url.startswith(f"{gateway.url}/auth/login?for=")
    assert [re.sub("for=[^&]+", "for=…", link) for link in links] == [
        "/auth/login?for=…&amp;provider=one", "/auth/login?for=…&amp;provider=two",
    ]  # fmt: skip
    page = agent.send(gateway.url + links[1].replace("&amp;", "&"))
    assert f'href="{url}/auth/login?next=%2Fpage">Sign in again' in page.text
