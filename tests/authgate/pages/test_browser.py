"""The pages of signing in and out in a real Chromium, with a real OpenID provider on another site."""

from __future__ import annotations

import base64
import json
import re

import pytest
from playwright.sync_api import expect

from gateway_site.demo import openid as demo_openid
from tests.support.browser import CHROMIUM, chromium
from tests.support.gateway import Gateway
from tests.support.oidc import add_provider
from tests.support.policies import demo_policy
from tests.support.sessions import make_session

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium")
AXE = demo_openid.DIRECTORY / "node_modules" / "axe-core" / "axe.min.js"


@pytest.fixture(scope="module")
def gateway(gateway_template, session_upstream, tmp_path_factory, openid):
    data_dir = tmp_path_factory.mktemp("browser") / "data"
    policy = demo_policy(session_upstream.target)
    with Gateway(data_dir, template=gateway_template, policy=policy, workers=2) as gateway:
        client_id, secret = openid.client(gateway.url)
        openid.start()
        add_provider(gateway, "main", openid.issuer, client_id, secret)
        yield gateway.start()


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser):
    context = browser.new_context(java_script_enabled=False)
    yield context.new_page()
    context.close()


def sign_in(page, gateway, path="/dashboard"):
    page.goto(gateway.url + path)
    page.get_by_role("button", name="alice").click()
    page.wait_for_url(gateway.url + path)


def test_a_first_visit_leads_by_the_provider_to_the_very_page_without_any_script(page, gateway):
    sign_in(page, gateway, "/api/protected/deep?q=a%20b&r=%2F")
    page.goto(f"{gateway.url}/dashboard")
    expect(page.get_by_role("heading", name="Alice Example")).to_be_visible()
    expect(page.get_by_text("this browser")).to_be_visible()


def test_signing_out_goes_by_the_provider_and_comes_back(page, gateway, openid):
    sign_in(page, gateway)
    page.get_by_role("button", name="Sign out", exact=True).click()
    page.wait_for_url(f"{openid.issuer}/session/end?**")
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(f"{gateway.url}/auth/signed-out?**")
    expect(page.get_by_role("heading", name="You are signed out")).to_be_visible()
    page.goto(f"{gateway.url}/dashboard")
    expect(page.get_by_role("heading", name="Who are you?")).to_be_visible()


def test_ending_all_others_and_then_everything(page, gateway):
    sign_in(page, gateway)
    make_session(gateway, "alice", slug="main", user_agent="Mozilla/5.0 (Windows NT 10.0) Firefox/150.0")
    page.reload()
    expect(page.get_by_text("Firefox on Windows")).to_be_visible()
    page.get_by_role("button", name="End all other sessions").click()
    expect(page.get_by_text("Firefox on Windows")).to_have_count(0)
    page.get_by_role("button", name="Sign out everywhere").click()
    expect(page.get_by_role("heading", name="You are signed out")).to_be_visible()


def test_the_way_back_onto_the_callback_says_that_i_am_signed_in(page, gateway):
    callbacks = []
    page.on("request", lambda request: "/auth/callback" in request.url and callbacks.append(request.url))
    sign_in(page, gateway)
    page.goto(callbacks[0])
    expect(page.get_by_role("heading", name="You are signed in already")).to_be_visible()
    page.get_by_role("link", name="Continue").click()
    expect(page.get_by_role("heading", name="Alice Example")).to_be_visible()


def test_somebody_without_the_role_signs_in_as_somebody_else(page, gateway, openid):
    sign_in(page, gateway)
    wanted = f"{gateway.url}/api/admin/people?page=2&sort=a%20b"
    page.goto(wanted)
    expect(page.get_by_text("alice@example.com")).to_be_visible()
    page.get_by_role("button", name="Sign in as somebody else").click()
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("link", name="Sign in again").click()
    page.get_by_role("button", name="root").click()
    page.wait_for_url(wanted)
    assert page.title() != "403 · authgate"


def test_a_form_sent_after_the_session_ended_is_sent_again_from_its_own_tab(page, gateway, session_upstream):
    sign_in(page, gateway, "/api/protected/form")
    # A form of the service's: scripts are off in this browser, and the service answers with a line of JSON.
    page.set_content(
        f'<form method="post" action="{gateway.url}/api/protected/save"><button name="a">Save</button></form>'
    )
    page.context.clear_cookies(name=re.compile("^auth"))  # as they are hours later
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", name="You are signed out, so the form was not accepted.")).to_be_visible()
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="Sign in in another tab").click()
    opened.value.wait_for_url(f"{gateway.url}/dashboard")
    page.reload()
    assert "401" not in page.title()
    assert [(sent.method, sent.target) for sent in session_upstream.requests][-1] == ("POST", b"/api/protected/save")


def test_a_session_whose_keys_were_retired_is_not_blamed_on_the_browsers_cookies(page, gateway):
    sign_in(page, gateway)
    (cookie,) = [cookie for cookie in page.context.cookies() if cookie["name"] == "auth_token"]
    page.context.add_cookies([{**cookie, "value": made_elsewhere(cookie["value"])}])
    page.goto(f"{gateway.url}/dashboard")
    expect(page.get_by_role("heading", name="Your session is no longer valid.")).to_be_visible()
    page.get_by_role("link", name="Sign in again").click()
    page.wait_for_url(f"{gateway.url}/dashboard")


def made_elsewhere(cookie):
    """As a gateway with other keys makes it."""
    head, payload, signature = cookie.split(".")
    header = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    other = base64.urlsafe_b64encode(json.dumps({**header, "kid": "retired"}).encode()).rstrip(b"=").decode()
    return f"{other}.{payload}.{signature}"


def test_cookies_cleared_on_the_way_end_on_a_page_with_one_button(page, gateway):
    page.goto(f"{gateway.url}/api/protected")
    page.context.clear_cookies(name=re.compile("^authgate_login_"))
    page.get_by_role("button", name="alice").click()
    expect(page.get_by_role("heading", name="This sign-in attempt has expired.")).to_be_visible()
    page.get_by_role("link", name="Sign in again").click()
    page.wait_for_url(f"{gateway.url}/dashboard")


WINDOWS = [(340, "light"), (340, "dark"), (1200, "light"), (1200, "dark")]


@pytest.fixture
def window(browser):
    context = browser.new_context(bypass_csp=True, reduced_motion="reduce")
    yield context
    context.close()


def test_every_page_is_accessible_and_fits_every_window(window, gateway):
    made = make_session(gateway, "carol", slug="main", user_agent="Mozilla/5.0 (X11; Linux x86_64) Firefox/150.0")
    make_session(gateway, "carol", slug="main", user_agent="x" * 300)
    page = window.new_page()
    check(
        page, gateway, "/auth/signed-out", "/auth/callback/main", "/auth/logout", "/auth/login?provider=none", "/none"
    )
    window.add_cookies([{"name": "auth_token", "value": made.cookie, "url": gateway.url}])
    check(page, gateway, "/dashboard", "/api/admin", "/auth/logout", "/auth/callback/main?code=1", "/auth/signed-out")


@pytest.fixture(scope="module")
def many_providers(gateway_template, tmp_path_factory):
    with Gateway(tmp_path_factory.mktemp("many") / "data", template=gateway_template) as gateway:
        for slug, name in (("one", "First & Best"), ("two", "x" * 80), ("three", "Zażółć gęślą jaźń")):
            add_provider(gateway, slug, "http://127.0.0.1:9", name=name)
        yield gateway.start()


def test_the_page_to_sign_in_on_is_accessible_and_fits_every_window(window, many_providers):
    page = window.new_page()
    check(page, many_providers, "/auth/login", "/auth/login?provider=one")


def test_the_page_on_the_way_out_is_accessible_and_fits_every_window(window, gateway, openid):
    made = make_session(gateway, "carol", slug="main")
    window.add_cookies([{"name": "auth_token", "value": made.cookie, "url": gateway.url}])
    page = window.new_page()
    page.route(f"{openid.issuer}/**", lambda route: route.abort("aborted"))  # so that it stays to be looked at
    page.goto(f"{gateway.url}/auth/logout")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("link", name="Continue")).to_have_attribute(
        "href", re.compile(f"^{openid.issuer}/session/end")
    )
    look_at(page)


def check(page, gateway, *paths):
    for path in paths:
        page.goto(gateway.url + path)
        look_at(page)


def look_at(page):
    assert page.locator("h1").count() == 1, page.url
    page.evaluate(AXE.read_text())
    for width, scheme in WINDOWS:
        page.set_viewport_size({"width": width, "height": 800})
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (page.url, width)
        violations = page.evaluate("axe.run().then(found => found.violations.map(v => [v.id, v.nodes[0].html]))")
        assert violations == [], (page.url, width, scheme)
