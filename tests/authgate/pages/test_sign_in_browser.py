"""Signing in with a real browser at a real OpenID provider: always to the very page asked for, never in circles."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.support import sessions
from tests.support.browser import CHROMIUM, chromium
from tests.support.gateway import Gateway
from tests.support.oidc import OpenIdProvider, ProviderUnavailable
from tests.support.policies import demo_policy

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium")
PROVIDER_PAGE = "Who are you?"


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def provider():
    provider = OpenIdProvider()
    yield provider
    provider.remove()


@pytest.fixture(scope="module")
def gateway(provider, gateway_template, session_upstream, tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("sso") / "data"
    policy = demo_policy(session_upstream.target)
    with Gateway(data_dir, template=gateway_template, policy=policy, workers=2) as gateway:
        provider.register(gateway)
        try:
            provider.start()
        except ProviderUnavailable as error:
            pytest.skip(f"needs the OpenID provider: {error}")
        yield gateway.start()


@pytest.fixture
def visitor(browser):
    """A browser profile of the test's own."""
    context = browser.new_context(viewport={"width": 1000, "height": 800})
    context.set_default_timeout(10_000)
    yield context
    context.close()


def expect_provider(page):
    expect(page.get_by_role("heading", name=PROVIDER_PAGE)).to_be_visible()


def choose(page, account="alice"):
    expect_provider(page)
    page.get_by_role("button", name=account).click()


def sign_in(page, url, account="alice"):
    page.goto(url)
    choose(page, account)
    expect(page).to_have_url(url)
    return page


# --- to the very page ---------------------------------------------------------------------------------------
def test_the_first_visit_of_a_protected_page_ends_on_it_signed_in(visitor, gateway, upstream):
    sign_in(visitor.new_page(), f"{gateway.url}/api/protected/report")
    request = upstream.requests[-1]
    assert (request.path, request.header("X-Auth-User-Email")) == (b"/api/protected/report", "alice@example.com")


def test_a_deep_link_keeps_its_query_byte_for_byte(visitor, gateway, upstream):
    target = "/api/protected/find?q=a%20b%2Fc&next=https%3A%2F%2Fevil.example%2F&q=%C3%BC+%26&empty="
    sign_in(visitor.new_page(), gateway.url + target)
    assert upstream.requests[-1].target.decode() == target


def test_three_tabs_opened_at_once_each_end_on_their_own_page(visitor, gateway):
    urls = [f"{gateway.url}/api/protected/tab?number={number}" for number in range(3)]
    tabs = [visitor.new_page() for _ in urls]
    for tab, url in zip(tabs, urls, strict=True):
        tab.goto(url)
        expect_provider(tab)
    for tab, url in zip(tabs, urls, strict=True):
        choose(tab)
        expect(tab).to_have_url(url)
    for tab, url in zip(tabs, urls, strict=True):
        assert tab.reload().status == 200
        expect(tab).to_have_url(url)


def test_signing_in_works_without_javascript(browser, gateway):
    context = browser.new_context(java_script_enabled=False)
    page = sign_in(context.new_page(), f"{gateway.url}/dashboard")
    expect(page.get_by_role("heading", name="Alice Example")).to_be_visible()
    context.close()


def test_a_group_at_the_provider_opens_what_its_role_may_open(visitor, gateway):
    page = sign_in(visitor.new_page(), f"{gateway.url}/api/admin/panel", "root")
    assert page.reload().status == 200


def test_without_the_group_it_is_refused_and_says_as_whom_and_for_want_of_what(visitor, gateway):
    page = sign_in(visitor.new_page(), f"{gateway.url}/api/admin/panel")
    assert page.reload().status == 403
    expect(page.get_by_role("main")).to_contain_text("admin")


# --- sessions that end ----------------------------------------------------------------------------------------
def test_a_post_after_the_session_has_expired_is_401_as_json_and_no_redirect(visitor, gateway):
    page = sign_in(visitor.new_page(), f"{gateway.url}/api/protected/form")
    (cookie,) = [cookie for cookie in visitor.cookies(gateway.url) if cookie["name"] == "auth_token"]
    expired = sessions.let_time_pass(gateway, sessions.sid_of(cookie["value"]), "expires_at=ago(1)")
    visitor.add_cookies([{**cookie, "value": expired}])
    answer = page.evaluate(
        """async () => {
            const answer = await fetch('/api/protected/save', {method: 'POST', body: 'a=1'});
            return [answer.status, answer.redirected, (await answer.json()).error];
        }"""
    )
    assert answer == [401, False, "unauthorized"]


def test_signing_out_ends_the_session_here_and_at_the_provider(visitor, gateway):
    page = sign_in(visitor.new_page(), f"{gateway.url}/dashboard")
    page.get_by_role("button", name="Sign out", exact=True).click()
    expect(page.get_by_role("heading", name="Sign out")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="You are signed out")).to_be_visible()
    expect(page).to_have_url(re.compile(re.escape(f"{gateway.url}/auth/signed-out")))
    page.goto(f"{gateway.url}/api/protected/x")
    expect_provider(page)


def test_a_session_ended_from_another_browser_is_over_within_two_seconds(browser, visitor, gateway):
    left_open = sign_in(visitor.new_page(), f"{gateway.url}/api/protected/left-open", "root")
    other = browser.new_context()
    page = sign_in(other.new_page(), f"{gateway.url}/dashboard", "root")
    page.get_by_role("button", name="End all other sessions").click()
    expect(page.get_by_role("button", name="End all other sessions")).to_be_hidden()
    left_open.wait_for_timeout(2000)
    ask = "async () => [...await Promise.all([...Array(8)].map(async () => (await fetch('/api/protected/x')).status))]"
    assert left_open.evaluate(ask) == [401] * 8
    assert page.evaluate(ask) == [200] * 8
    other.close()


# --- never in circles -----------------------------------------------------------------------------------------
def test_cookies_cleared_on_the_way_are_a_page_that_says_so_and_one_button(visitor, gateway):
    page, url = visitor.new_page(), f"{gateway.url}/api/protected/cleared"
    page.goto(url)
    expect_provider(page)
    visitor.clear_cookies(domain="localhost")
    choose(page)
    expect(page.get_by_role("heading", name="This sign-in attempt has expired.")).to_be_visible()
    page.get_by_role("link", name="Sign in again").click()
    expect(page.get_by_role("heading", name="Alice Example")).to_be_visible()


def test_the_callback_opened_again_changes_nothing_and_leads_back(visitor, gateway):
    page, seen = visitor.new_page(), []
    page.on("request", lambda request: "/auth/callback" in request.url and seen.append(request.url))
    sign_in(page, f"{gateway.url}/api/protected/x")
    before = visitor.cookies(gateway.url)
    page.goto(seen[0])
    expect(page.get_by_role("heading", name="You are signed in already")).to_be_visible()
    assert [cookie for cookie in visitor.cookies(gateway.url) if cookie["name"] == "auth_token"] == [
        cookie for cookie in before if cookie["name"] == "auth_token"
    ]
    page.get_by_role("link", name="Continue").click()
    expect(page).to_have_url(f"{gateway.url}/api/protected/x")


def test_the_back_button_after_a_failed_callback_leads_out_of_it(visitor, gateway):
    page = visitor.new_page()
    page.goto(f"{gateway.url}/auth/callback/main?error=access_denied&state=never-made")
    expect(page.get_by_role("link", name="Sign in again")).to_be_visible()
    page.get_by_role("link", name="Sign in again").click()
    choose(page)
    expect(page).to_have_url(f"{gateway.url}/dashboard")
    page.go_back()
    page.go_back()
    expect(page.get_by_role("link", name=re.compile("Sign in again|Continue"))).to_be_visible()


def test_whoever_cancels_at_the_provider_is_told_and_may_try_again(visitor, gateway):
    page = visitor.new_page()
    page.goto(f"{gateway.url}/api/protected/cancelled")
    choose(page, "Nobody")
    expect(page.get_by_role("heading", name="The identity provider did not let you in.")).to_be_visible()
    page.get_by_role("link", name="Sign in again").click()
    choose(page)
    expect(page).to_have_url(f"{gateway.url}/api/protected/cancelled")
