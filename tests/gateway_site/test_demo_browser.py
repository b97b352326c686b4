"""The demo's application on a host of its own, in a real browser."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.support.browser import CHROMIUM, chromium
from tests.support.demo import start

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium")


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    demo = start(tmp_path_factory.mktemp("demo-browser") / "data")
    yield demo
    demo.stop()


def test_one_sign_in_is_for_every_host_and_so_is_one_sign_out(demo):
    wiki = f"http://wiki.localhost:{demo.port}"
    assert f"{wiki}/" in demo.text
    with chromium() as browser:
        context = browser.new_context()
        page = context.new_page()
        page.goto(f"{wiki}/start?page=2")
        page.get_by_role("button", name="alice").click()
        expect(page).to_have_url(f"{wiki}/start?page=2")
        expect(page.get_by_text("alice@example.com").first).to_be_visible()

        page.goto(f"{demo.url}/dashboard")
        expect(page).to_have_url(f"{demo.url}/dashboard")
        expect(page.get_by_role("heading", name="Alice Example")).to_be_visible()
        page.get_by_role("button", name="Sign out", exact=True).click()
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("heading", name="You are signed out")).to_be_visible()

        page.goto(f"{wiki}/start")
        expect(page.get_by_role("heading", name="Who are you?")).to_be_visible()


def test_signing_out_on_the_applications_host_comes_back_to_it(demo):
    wiki = f"http://wiki.localhost:{demo.port}"
    with chromium() as browser:
        page = browser.new_context().new_page()
        page.goto(f"{demo.url}/dashboard")
        page.get_by_role("button", name="alice").click()
        expect(page).to_have_url(f"{demo.url}/dashboard")
        page.goto(f"{wiki}/start?page=3")
        expect(page).to_have_url(f"{wiki}/start?page=3")  # nobody was asked
        page.goto(f"{wiki}/auth/logout")
        page.get_by_role("button", name="Sign out").click()
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("heading", name="You are signed out")).to_be_visible()
        expect(page).to_have_url(re.compile(re.escape(f"{wiki}/auth/signed-out")))
        page.goto(f"{demo.url}/dashboard")
        expect(page.get_by_role("heading", name="Who are you?")).to_be_visible()
