from __future__ import annotations

import re

import pytest
from django.urls import reverse

from authgate.observe.access_log import Record
from authgate.pages.refusal import Refused, Ways, render_refusal
from authgate.request import Identity
from authgate.state import snapshot, watcher

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def no_snapshot(monkeypatch):
    monkeypatch.setattr(snapshot, "_current", None)


def test_not_ready_until_a_policy_is_loaded(client):
    response = client.get("/health/ready")
    assert (response.status_code, response.json()) == (
        503,
        {"ready": False, "problem": "no policy is loaded yet"},
    )


def test_ready_once_a_policy_is_loaded(client, monkeypatch):
    monkeypatch.setattr(snapshot, "_current", watcher.load())
    monkeypatch.setattr(watcher, "_watcher", None)
    assert (client.get("/health/ready").status_code, client.get("/health/ready").json()) == (200, {"ready": True})


def test_not_ready_while_the_policy_cannot_be_reloaded(client, monkeypatch):
    monkeypatch.setattr(snapshot, "_current", watcher.load())
    monkeypatch.setattr(watcher, "not_ready", lambda: "the database is gone")
    response = client.get("/health/ready")
    assert (response.status_code, response.json()) == (503, {"ready": False, "problem": "the database is gone"})


def test_the_default_page_leads_nobody_who_is_a_visitor_to_the_admin(client):
    page = client.get("/").content.decode()
    assert reverse("admin:index") not in page
    assert "policy" not in page


PAGES = ["/", "/admin/login/", "/nothing-here"]


@pytest.mark.parametrize("path", PAGES)
def test_a_page_holds_no_script_or_style_of_its_own(client, path):
    page = client.get(path, headers={"accept": "text/html"}).content.decode()
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", page)
    assert not re.search(r"<script(?![^>]*\ssrc=)", page)


@pytest.mark.parametrize("path", PAGES)
def test_a_page_has_a_language_a_title_one_main_part_and_one_heading(client, path):
    page = client.get(path, headers={"accept": "text/html"}).content.decode()
    assert '<html lang="en' in page
    assert re.search(r"<title>[^<]+</title>", page)
    assert (len(re.findall(r"<main[ >]", page)), len(re.findall(r"<h1[ >]", page))) in ((1, 1), (1, 0))


def test_a_missing_page_is_html_for_people(client):
    response = client.get("/nothing", headers={"accept": "text/html,*/*;q=0.8"})
    assert (response.status_code, response["Content-Type"]) == (404, "text/html; charset=utf-8")


def test_a_missing_page_is_json_for_programs(client):
    response = client.get("/nothing", headers={"accept": "*/*"})
    assert (response.status_code, response.json()["error"]) == (404, "not_found")


def test_a_form_without_its_token_is_refused_with_a_page(client, settings):
    settings.CSRF_FAILURE_VIEW = "authgate.pages.views.csrf_failure"
    client.handler.enforce_csrf_checks = True
    response = client.post("/admin/login/", {}, headers={"accept": "text/html"})
    assert response.status_code == 403
    assert b"The form is out of date." in response.content


def test_a_fault_of_ours_is_a_page_without_its_details(client, monkeypatch):
    client.raise_request_exception = False
    monkeypatch.setattr(watcher, "not_ready", lambda: 1 / 0)
    response = client.get("/health/ready", headers={"accept": "text/html"})
    assert response.status_code == 500
    assert b"ZeroDivision" not in response.content


REFUSED = Refused(403, "missing_role", "No.")
ALICE = Identity(subject="alice", issuer="i", by_cookie=False, expires_at=1)


def page_of(refused=REFUSED, identity=None, **ways):
    return render_refusal(Record("abc"), refused, identity, Ways(**ways))


def test_a_refusal_names_reason_and_request():
    assert all(text in page_of() for text in ("You are not allowed to open this page.", "missing_role", "abc", "403"))


def test_a_refusal_names_the_roles_that_would_do():
    page = page_of(REFUSED._replace(missing_roles=("admin", "auditor")), ALICE)
    assert "<code>admin</code>" in page
    assert "<code>auditor</code>" in page


def test_a_refusal_offers_another_try_only_with_an_address():
    assert "Try again" not in page_of()
    assert 'href="/auth/login?next=&quot;&gt;&lt;script&gt;"' in page_of(again='/auth/login?next="><script>')


def test_what_an_operator_should_do_is_no_visitors_to_read():
    assert "No." not in page_of()
    assert "admin/" not in page_of()
