"""The page of the doctor, in a real browser against a real gateway: for superusers alone, on narrow screens too."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from playwright.sync_api import expect

from tests.support.browser import CHROMIUM, chromium
from tests.support.gateway import Gateway
from tests.support.policies import demo_policy

PASSWORD = "a long enough password"
PAGE = "/admin/doctor/"


def account(name: str, **rights: bool) -> Client:
    user = User.objects.create(username=name, **rights)
    user.user_permissions.set(Permission.objects.all())
    client = Client()
    client.force_login(user)
    return client


@pytest.mark.django_db
def test_only_superusers_examine_anything():
    staff, nobody = account("staff", is_staff=True), account("nobody")
    for method in ("get", "post"):
        assert getattr(staff, method)(PAGE).status_code == 403
        assert getattr(nobody, method)(PAGE).status_code == 302
        assert getattr(Client(), method)(PAGE).status_code == 302
    assert b"Doctor" not in staff.get("/admin/").content


@pytest.mark.django_db
def test_nothing_is_examined_before_the_button_is_pressed():
    superuser = account("root", is_staff=True, is_superuser=True)
    page = superuser.get(PAGE)
    assert page.status_code == 200
    assert b'class="findings' not in page.content
    assert b'href="/admin/doctor/"' in superuser.get("/admin/").content


@pytest.fixture
def gateway(gateway_template, session_upstream, tmp_path):
    env, policy = {"DJANGO_SUPERUSER_PASSWORD": PASSWORD}, demo_policy("http://127.0.0.1:9")
    with Gateway(tmp_path / "data", template=gateway_template, policy=policy, env=env) as gateway:
        gateway.manage("createsuperuser", "--noinput", "--username=admin", "--email=admin@example.com")
        yield gateway.start()


@pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium")
def test_an_operator_reads_what_is_wrong_and_what_to_do(gateway):
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        page.goto(f"{gateway.url}/admin/")
        page.get_by_label("Username").fill("admin")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Log in").click()
        page.get_by_role("link", name="Doctor").click()
        page.get_by_role("button", name="Examine now").click()
        expect(page.get_by_role("heading", name="1 error, 0 warnings")).to_be_visible()
        expect(page.get_by_role("row", name="api: http://127.0.0.1:9")).to_contain_text(
            "To do: nothing listens on port 9"
        )
        expect(page.get_by_role("row", name="leads to this gateway")).to_contain_text("ok")
        page.set_viewport_size({"width": 390, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
