"""Signing in on several hosts over TLS in a real browser: each host has its certificate and its own cookie."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.support.browser import CHROMIUM, chromium
from tests.support.certificates import make_certificates
from tests.support.gateway import Gateway
from tests.support.hosts import HOSTS, policy
from tests.support.oidc import OpenIdProvider, ProviderUnavailable

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium")


@pytest.fixture(scope="module")
def gateway(gateway_template, session_upstream, tmp_path_factory):
    directory = tmp_path_factory.mktemp("hosts-tls")
    args: list[str] = []
    for name in ("localhost", *HOSTS):
        (directory / name).mkdir()
        made = make_certificates(directory / name, name, loopback=False)
        args += ["--tls-cert", str(made.cert_file), "--tls-key", str(made.key_file)]
    provider = OpenIdProvider()
    text = policy(session_upstream.target, *HOSTS)
    try:
        with Gateway(
            directory / "data", template=gateway_template, policy=text, workers=2, args=tuple(args), tls=True
        ) as gateway:
            provider.register(gateway)
            provider.settings["form_action"] = f"'self' {gateway.url}"
            try:
                provider.start()
            except ProviderUnavailable as error:
                pytest.skip(f"needs the OpenID provider: {error}")
            yield gateway.start()
    finally:
        provider.remove()


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture
def visitor(browser):
    context = browser.new_context(ignore_https_errors=True)  # of an authority that the browser does not know
    context.set_default_timeout(10_000)
    yield context
    context.close()


def test_each_host_has_a_cookie_of_its_own(visitor, gateway):
    wiki, git = (f"https://{host}:{gateway.port}" for host in HOSTS)
    page = visitor.new_page()
    page.goto(f"{wiki}/find?q=a%20b")
    page.get_by_role("button", name="alice").click()
    expect(page).to_have_url(f"{wiki}/find?q=a%20b")
    page.goto(f"{git}/")
    expect(page).to_have_url(f"{git}/")
    cookies = [one for one in visitor.cookies() if one["name"] == "__Host-auth_token"]
    assert {one["domain"] for one in cookies} == {"localhost", *HOSTS}
    assert all(one["secure"] and one["httpOnly"] and one["sameSite"] == "Lax" for one in cookies)


def test_no_service_is_told_where_the_code_was(visitor, gateway, upstream):
    wiki = f"https://{HOSTS[0]}:{gateway.port}"
    page = visitor.new_page()
    page.goto(f"{wiki}/first")
    page.get_by_role("button", name="alice").click()
    expect(page).to_have_url(f"{wiki}/first")
    assert [request.header("Referer") for request in upstream.requests if request.path == b"/first"] == [None]


def test_a_link_to_another_host_needs_no_sign_in_in_a_tab_of_its_own(visitor, gateway):
    wiki, git = (f"https://{host}:{gateway.port}" for host in HOSTS)
    page = visitor.new_page()
    page.goto(f"{wiki}/")
    page.get_by_role("button", name="alice").click()
    expect(page).to_have_url(f"{wiki}/")
    tabs = [visitor.new_page() for _ in range(3)]
    for number, tab in enumerate(tabs):
        tab.goto(f"{git}/tab/{number}")
        expect(tab).to_have_url(f"{git}/tab/{number}")


def test_a_provider_whose_form_may_lead_to_the_public_host_alone_is_no_obstacle(visitor, gateway, upstream):
    """A browser applies `form-action` of its page to every redirect that follows."""
    wiki = f"https://{HOSTS[0]}:{gateway.port}"
    page = visitor.new_page()
    page.goto(f"{wiki}/narrow")
    page.get_by_role("button", name="alice").click()
    expect(page).to_have_url(f"{wiki}/narrow")
    assert upstream.requests[-1].path == b"/narrow"
