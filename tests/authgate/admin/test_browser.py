"""The admin in a real browser against a real gateway: what an operator sees and does."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing

import pytest
from playwright.sync_api import expect

from tests.support.browser import CHROMIUM, chromium
from tests.support.gateway import Gateway
from tests.support.policies import demo_policy
from tests.support.sessions import run

PASSWORD = "a long enough password"
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium")


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def gateway(gateway_template, session_upstream, tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("admin") / "data"
    env, policy = {"DJANGO_SUPERUSER_PASSWORD": PASSWORD}, demo_policy(session_upstream.target)
    with Gateway(data_dir, template=gateway_template, policy=policy, workers=2, env=env) as gateway:
        gateway.manage("createsuperuser", "--noinput", "--username=admin", "--email=admin@example.com")
        yield gateway.start()


@pytest.fixture
def policy_restored(gateway, session_upstream):
    yield
    gateway.import_policy(demo_policy(session_upstream.target))


class Complaints(list):
    """What the browser objects to: violations of the content security policy, script errors, missing files."""

    def watch(self, page):
        page.on("console", lambda message: message.type == "error" and self.append(message.text))
        page.on("pageerror", lambda error: self.append(str(error)))
        page.on("response", lambda answer: answer.status >= 500 and self.append(f"{answer.status} {answer.url}"))
        return page


def sign_in(page, gateway):
    page.goto(f"{gateway.url}/admin/")
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()


@pytest.fixture
def complaints():
    return Complaints()


@pytest.fixture(scope="module")
def signed_in(browser, gateway):
    context = browser.new_context(viewport={"width": 1200, "height": 800})
    page = context.new_page()
    sign_in(page, gateway)
    page.close()
    yield context
    context.close()


@pytest.fixture
def page(signed_in, upstream, complaints):
    page = complaints.watch(signed_in.new_page())
    yield page
    page.close()


def open_route(page, gateway, name):
    page.goto(f"{gateway.url}/admin/authgate/route/")
    page.get_by_role("link", name=name, exact=True).click()


def statuses(gateway, path, count=12):
    """Of requests on connections of their own, so that both workers answer some."""
    return {gateway.get(path).status for _ in range(count)}


@pytest.mark.usefixtures("policy_restored")
def test_an_edited_route_is_live_in_every_worker_within_two_seconds(page, gateway, complaints):
    assert statuses(gateway, "/api/public/x") == {200}
    open_route(page, gateway, "public")
    page.get_by_label("Access").select_option("authenticated")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("it is live")).to_be_visible()
    time.sleep(2)
    assert statuses(gateway, "/api/public/x") == {401}
    assert complaints == []


def test_a_fault_stands_beside_its_field_and_the_gateway_keeps_its_policy(page, gateway, complaints):
    open_route(page, gateway, "public")
    page.get_by_role("textbox", name="Path").fill("/api/admin")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator(".field-path .errorlist")).to_contain_text("same host, path, match and methods")
    expect(page.get_by_role("textbox", name="Path")).to_have_value("/api/admin")
    assert statuses(gateway, "/api/public/x", 4) == {200}
    assert complaints == []


def test_a_fault_of_a_time_out_opens_the_folded_fields(page, gateway):
    open_route(page, gateway, "public")
    page.get_by_text("Limits", exact=True).click()
    page.get_by_label("Connect timeout").fill("0")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator(".field-connect_timeout .errorlist")).to_be_visible()


@pytest.mark.usefixtures("policy_restored")
def test_a_rollback_brings_the_old_policy_back(page, gateway, complaints):
    open_route(page, gateway, "public")
    page.get_by_label("Enabled").uncheck()
    page.get_by_role("button", name="Save", exact=True).click()
    page.goto(f"{gateway.url}/admin/authgate/policyrevision/")
    page.locator("#result_list tbody tr").nth(1).get_by_role("link").click()
    page.get_by_role("link", name="Roll back to this revision").click()
    expect(page.get_by_text("route public: enabled no → yes")).to_be_visible()
    page.get_by_role("button", name="Roll back to revision").click()
    expect(page.get_by_text("it is live")).to_be_visible()
    time.sleep(2)
    assert statuses(gateway, "/api/public/x") == {200}
    assert complaints == []


@pytest.mark.usefixtures("policy_restored")
def test_everything_works_without_javascript(browser, gateway):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    sign_in(page, gateway)
    page.goto(f"{gateway.url}/admin/authgate/upstream/add/")
    page.get_by_role("textbox", name="Name:", exact=True).fill("shop")
    page.get_by_label("Targets").fill("http://127.0.0.1:1\nhttp://127.0.0.1:2")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("it is live")).to_be_visible()
    context.close()


def test_no_page_is_wider_than_a_narrow_screen_or_makes_the_browser_complain(page, gateway, complaints):
    page.set_viewport_size({"width": 400, "height": 800})
    places = ["route/", "route/add/", "upstream/add/", "rolegrant/add/", "ratelimit/add/", "policyrevision/1/change/",
              "signingkey/", "revokedtoken/add/"]  # fmt: skip
    for path in ("/", "/admin/", *(f"/admin/authgate/{place}" for place in places)):
        page.goto(gateway.url + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 400, path
    assert complaints == []


CROWD = """
provider = IdentityProvider.objects.create(slug="main", name="Main", issuer="https://" + "i" * 60, client_id="c")
for subject, email in (("5d41402a-bc4b-2a76-b971-9d911017c592", ""), ("b", "b" * 30 + "@engineering.example.com")):
    person = Person.objects.create(provider=provider, provider_subject=subject, email=email, last_login_at=now)
    Session.objects.create(
        sid=subject, person=person, created_at=now, last_seen_at=now, expires_at=now + timedelta(hours=1),
        host="tickets.engineering.example.com:8443", address="2001:db8:85a3:8d3:1319:8a2e:370:7348",
        user_agent="a" * 60,
    )
    RevokedToken.objects.create(jti=(subject * 9)[:43], reason="signed out from another session", expires_at=now)
"""


def lists(page, gateway):
    page.goto(f"{gateway.url}/admin/")
    return sorted({link.get_attribute("href") for link in page.locator("#content-main .model-group a, th a").all()})


def test_no_list_hides_a_column_beyond_its_edge(page, gateway):
    run(gateway, CROWD)
    found = lists(page, gateway)
    assert "/admin/authgate/session/" in found
    for path in found:
        page.goto(gateway.url + path)
        for width in (1280, 390):
            page.set_viewport_size({"width": width, "height": 800})
            hidden = "[document.documentElement, ...document.querySelectorAll('.results')]"
            hidden += ".map(box => box.scrollWidth - box.clientWidth)"
            assert max(page.evaluate(hidden)) <= 0, (path, width)


def test_a_locked_database_is_one_clear_page_and_nothing_is_changed(page, gateway):
    open_route(page, gateway, "public")
    with closing(sqlite3.connect(gateway.data_dir / "authgate.sqlite3", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        page.get_by_role("button", name="Save", exact=True).click()
        expect(page.get_by_role("heading", name="The database is busy or away.")).to_be_visible(timeout=30_000)
    assert statuses(gateway, "/api/public/x", 4) == {200}
