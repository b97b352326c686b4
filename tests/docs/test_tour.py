"""The pages that the documentation site shows, in a real browser. `make docs` keeps the pictures (SCREENSHOTS)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.support.browser import CHROMIUM, chromium
from tests.support.demo import Demo, start

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium")

Look = Callable[[Page, str], None]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    demo = start(tmp_path_factory.mktemp("tour") / "data")
    yield demo
    demo.stop()


@pytest.fixture
def look(tmp_path: Path) -> Look:
    kept = Path(os.environ.get("SCREENSHOTS", tmp_path))

    def save(page: Page, name: str) -> None:
        """The page is whole: no picture of it is empty, and nothing is cut off at the side."""
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), name
        page.screenshot(path=kept / f"{name}.png")
        assert (kept / f"{name}.png").stat().st_size > 5_000

    return save


def test_a_visitor_and_an_operator_look_around(demo: Demo, look: Look) -> None:
    with chromium() as browser:
        page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
        page.goto(f"{demo.url}/api/protected?page=2")
        expect(page.get_by_role("button", name="alice")).to_be_visible()
        look(page, "01-Sign-in-at-the-identity-provider")
        page.get_by_role("button", name="alice").click()
        expect(page).to_have_url(f"{demo.url}/api/protected?page=2")
        look(page, "02-The-service-reads-who-is-calling")
        page.goto(f"{demo.url}/api/admin")
        expect(page.get_by_text("missing_role").first).to_be_visible()
        look(page, "03-A-refusal-says-why")
        page.goto(f"{demo.url}/dashboard")
        expect(page.get_by_role("heading", name="Alice Example")).to_be_visible()
        look(page, "04-The-dashboard")

        page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
        page.goto(f"{demo.url}/dashboard")
        page.get_by_role("button", name="root").click()
        expect(page).to_have_url(f"{demo.url}/dashboard")
        for path, name in (
            ("", "05-Admin"),
            ("authgate/route/", "06-Routes"),
            ("authgate/route/1/change/", "07-A-route"),
            ("authgate/policyrevision/", "08-Every-change-is-a-revision"),
            ("authgate/session/", "09-Sessions"),
            ("authgate/identityprovider/", "10-Identity-providers"),
        ):
            response = page.goto(f"{demo.url}/admin/{path}")
            assert response is not None and response.status == 200, path
            look(page, name)
