"""Sessions in the admin: which are live, where and in what browser, and how operators end them."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone

from authgate.models.people import IdentityProvider, Person, Session
from tests.support.operators import make_session

pytestmark = pytest.mark.django_db
PEOPLE, SESSIONS = "/admin/authgate/person/", "/admin/authgate/session/"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:150.0) Gecko/20100101 Firefox/150.0"
END = "change_session"


@pytest.fixture
def provider() -> IdentityProvider:
    return IdentityProvider.objects.create(slug="idp", client_id="gateway", require_verified_email=False)


@pytest.fixture
def alice(provider) -> Person:
    person = Person.objects.create(provider=provider, provider_subject="alice", email="alice@example.com")
    for name in ("wiki", "tickets"):
        make_session(person, f"at_{name}", {}, host=f"{name}.example.com", user_agent=FIREFOX)
    make_session(person, "over", {}, ended_at=timezone.now(), end_reason="signed out")
    return person


@pytest.fixture
def root(client) -> Client:
    client.force_login(User.objects.create(username="root", is_staff=True, is_superuser=True))
    return client


def staff_with(*permissions: str) -> Client:
    user = User.objects.create(username="staff", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def text_of(page: Any) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.content.decode()))


def page_of(sid: str) -> str:
    return f"{SESSIONS}{sid.replace('_', '_5F')}/"


def ends(page: Any) -> list[str]:
    return re.findall(r'(?:formaction|action)="([^"]+/end[^"]*)"', page.content.decode())


def live() -> set[str]:
    return set(Session.objects.filter(ended_at=None).values_list("sid", flat=True))


def confirm(client: Client, url: str) -> Any:
    return client.post(url, {"_confirmed": ["sessions"]}, follow=True)


# --- the list ------------------------------------------------------------------------------------------------


def test_the_list_names_host_and_browser_of_each_session(root, alice):
    page = text_of(root.get(SESSIONS))
    assert "wiki.example.com" in page
    assert "Firefox on Linux" in page


def test_live_sessions_come_first_then_those_that_ended_or_timed_out(root, provider, alice):
    provider.session_idle = 3600
    provider.save()
    now = timezone.now()
    Session.objects.filter(sid="at_tickets").update(last_seen_at=now - timedelta(hours=2))
    Session.objects.filter(sid="at_wiki").update(last_seen_at=now - timedelta(minutes=50))
    Session.objects.filter(sid="over").update(last_seen_at=now)
    page = root.get(SESSIONS)
    states = re.findall(r'class="field-shown_state">([^<]+)', page.content.decode())
    assert states == ["live", "signed out", "timed out"]
    assert [session.sid for session in page.context["cl"].result_list] == ["at_wiki", "over", "at_tickets"]


def test_the_list_can_be_narrowed_to_the_live_ones_and_to_a_person(root, provider, alice):
    bob = Person.objects.create(provider=provider, provider_subject="bob")
    make_session(bob, "bobs", {})
    shown = root.get(SESSIONS, {"state": "live", "person__id__exact": alice.pk}).context["cl"].result_list
    assert {session.sid for session in shown} == {"at_wiki", "at_tickets"}
    assert root.get(SESSIONS, {"state": "ended"}).context["cl"].result_list[0].sid == "over"


def test_with_every_provider_disabled_no_session_is_shown_as_live(root, provider, alice):
    IdentityProvider.objects.update(enabled=False)
    assert root.get(SESSIONS, {"state": "live"}).context["cl"].result_count == 0
    assert root.get(SESSIONS).context["cl"].result_count == 3


# --- ending --------------------------------------------------------------------------------------------------


def test_the_page_of_a_session_ends_it_alone_once_that_is_confirmed(root, alice):
    url = ends(root.get(f"{page_of('at_wiki')}change/"))[0]
    asked = text_of(root.post(url))
    assert "This ends 1 live session of alice@example.com: Firefox on Linux at wiki.example.com." in asked
    assert "1 other live session of this person will go on." in asked
    assert live() == {"at_wiki", "at_tickets"}
    assert "1 session ended" in text_of(confirm(root, url))
    assert live() == {"at_tickets"}
    assert Session.objects.get(sid="at_wiki").end_reason == "ended in admin"


@pytest.mark.parametrize("place", ["session", "person"])
def test_the_pages_of_a_session_and_of_a_person_end_all_of_them_with_a_count(root, alice, provider, place):
    make_session(Person.objects.create(provider=provider, provider_subject="bob"), "bobs", {})
    page = root.get(f"{page_of('at_wiki')}change/" if place == "session" else f"{PEOPLE}{alice.pk}/change/")
    assert "(2)" in page.content.decode()
    asked = text_of(root.post(ends(page)[-1]))
    assert "This ends 2 live sessions of alice@example.com" in asked
    assert "deactivate the person" in asked
    assert live() == {"at_wiki", "at_tickets", "bobs"}
    assert "2 sessions of alice@example.com ended" in text_of(confirm(root, ends(page)[-1]))
    assert live() == {"bobs"}


def test_cancelling_leads_back_to_the_page_with_the_button(root, alice):
    assert root.get(f"{page_of('at_wiki')}end/").url == f"{page_of('at_wiki')}change/"
    assert root.get(f"{PEOPLE}{alice.pk}/end-sessions/").url == f"{PEOPLE}{alice.pk}/change/"
    assert live() == {"at_wiki", "at_tickets"}


def test_a_session_that_ended_has_no_button_of_its_own(root, alice):
    assert ends(root.get(f"{page_of('over')}change/")) == [f"{PEOPLE}{alice.pk}/end-sessions/"]
    Session.objects.update(ended_at=timezone.now())
    assert ends(root.get(f"{page_of('over')}change/")) == []


def test_who_may_look_at_sessions_and_people_neither_sees_the_buttons_nor_posts_them(alice):
    staff = staff_with("view_session", "view_person", "change_person")
    places = (f"{page_of('at_wiki')}change/", f"{PEOPLE}{alice.pk}/change/")
    assert [ends(staff.get(place)) for place in places] == [[], []]
    for url in (f"{page_of('at_wiki')}end/", f"{PEOPLE}{alice.pk}/end-sessions/"):
        assert staff.post(url, {"_confirmed": ["sessions"]}).status_code == 403
    assert live() == {"at_wiki", "at_tickets"}


def test_who_may_end_sessions_and_look_at_nobody_ends_all_and_comes_back_to_the_list(alice):
    staff = staff_with(END)
    url = ends(staff.get(f"{page_of('at_wiki')}change/"))[-1]
    answer = staff.post(url, {"_confirmed": ["sessions"]})
    assert answer.url == f"{SESSIONS}?person__id__exact={alice.pk}"
    assert staff.get(answer.url).status_code == 200
    assert live() == set()


def test_an_unknown_session_or_person_is_not_found(root, alice):
    for url in (f"{SESSIONS}nothing/end/", f"{PEOPLE}999999/end-sessions/"):
        assert root.post(url).status_code == 404
