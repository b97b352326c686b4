"""Django's admin: it knows people by a header, and its check against forged forms knows the gateway's host."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.applications.stage import FORGED, Stage

CHAPTER = "Django's admin"
ENVIRONMENT = "django"
HOME = "/site/admin/"
FORM = '<form method="post"><input name="name" value="attackers"></form>'
SEND = "url => { document.forms[0].action = url; document.forms[0].submit() }"


def test_a_person_adds_a_group(stage: Stage, page: Page) -> None:
    stage.open(page, HOME)
    page.get_by_role("link", name="Groups").first.click()
    page.get_by_role("link", name="Add group").click()
    page.get_by_label("Name").fill("editors")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("was added successfully")).to_be_visible()
    expect(page).to_have_url(f"{stage.gateway.url}/site/admin/auth/group/")
    stage.show(page, "added")


def test_she_is_herself_and_sees_its_styles(stage: Stage, page: Page) -> None:
    stage.open(page, HOME)
    expect(page.locator("#user-tools")).to_contain_text("alice@example.com")
    assert page.evaluate("getComputedStyle(document.querySelector('#header')).backgroundColor") == "rgb(65, 118, 144)"


def test_somebody_else_is_not_her_whatever_they_write(stage: Stage, page: Page) -> None:
    stage.open(page, HOME, "bob")
    assert "You are authenticated as bob@example.com" in stage.fetch(page, f"{HOME}login/", headers=FORGED)


def test_a_form_of_another_site_is_refused_before_it_comes_there(stage: Stage, page: Page) -> None:
    stage.open(page, HOME)
    page.route("http://elsewhere.localhost/", lambda route: route.fulfill(content_type="text/html", body=FORM))
    page.goto("http://elsewhere.localhost/")
    page.evaluate(SEND, f"{stage.gateway.url}{HOME}auth/group/add/")
    page.wait_for_load_state()
    refused = stage.gateway.log_lines(wait_for=1, method="POST", decision="deny")
    assert refused[-1]["reason"] in ("cross_site", "no_credential")


@pytest.mark.parametrize("path", [HOME, f"{HOME}auth/group/add/", "/site/static/admin/css/base.css"])
def test_nobody_else_gets_in(stage: Stage, path: str) -> None:
    stage.assert_closed(path)
