"""What cuts people off in the admin is shown first, with whom it meets, and done only once it is confirmed."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.template.response import TemplateResponse
from django.test import Client
from django.utils import timezone

from authgate.models.people import IdentityProvider, Person, Session
from authgate.models.policy import Role, RoleGrant
from authgate.models.service_tokens import ServiceToken
from authgate.models.trust import SigningKey
from authgate.policy.powers import Machine
from authgate.sessions.cookie import mint_cookie
from authgate.state import signing_keys, snapshot, watcher
from authgate.state.trust import load_trust
from tests.support import powers
from tests.support.admin import form_values
from tests.support.attempts import effective, taken_back
from tests.support.operators import CONFIRMED, every_post, make_session

pytestmark = pytest.mark.django_db
KEYS, PROVIDERS, PEOPLE, SESSIONS, ACCOUNTS = (
    f"/admin/{place}/"
    for place in (
        "authgate/signingkey",
        "authgate/identityprovider",
        "authgate/person",
        "authgate/session",
        "auth/user",
    )
)


@pytest.fixture
def root(world, client, settings) -> Client:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    client.force_login(User.objects.get(username="root"))
    return client


def alive() -> dict[str, set[Any]]:
    """Whoever and whatever lets people in."""
    return {
        "sessions": set(Session.objects.filter(ended_at=None).values_list("pk", flat=True)),
        "people": set(Person.objects.filter(is_active=True).values_list("pk", flat=True)),
        "providers": set(IdentityProvider.objects.filter(enabled=True).values_list("pk", flat=True)),
        "keys": set(SigningKey.objects.filter(retired_at=None).values_list("pk", flat=True)),
        "accounts": set(User.objects.filter(is_active=True).values_list("pk", flat=True)),
    }


def is_less(after: dict[str, set[Any]], before: dict[str, set[Any]]) -> bool:
    return any(before[kind] - after[kind] for kind in before)


def text_of(page: Any) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.content.decode()))


def hidden_fields(page: Any) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page.content.decode()):
        found.setdefault(name, []).append(value)
    return found


def test_whatever_form_or_action_cuts_somebody_off_is_asked_about_first(root, monkeypatch):
    before, asked, posts = alive(), set(), every_post(root)
    with monkeypatch.context() as unseen:
        # What else a page looks like is of no interest here, and takes half of the time.
        unseen.setattr(TemplateResponse, "rendered_content", "")
        cutting = effective(root, posts, counts=lambda: is_less(alive(), before))
    for post in cutting:
        data = {name: value for name, value in post.data.items() if name not in ("post", *CONFIRMED)}
        with taken_back():
            assert root.post(post.path, data).status_code == 200, post
            assert alive() == before, post
        asked.add((post.model, post.kind))
    assert asked == {
        ("authgate.SigningKey", "retire"), ("authgate.Session", "end_selected"), ("authgate.Person", "change"),
        ("authgate.Session", "authgate_session_end"), ("authgate.Person", "authgate_person_end_sessions"),
        ("authgate.Person", "delete"), ("authgate.Person", "delete_selected"), ("authgate.IdentityProvider", "change"),
        ("authgate.IdentityProvider", "delete"), ("authgate.IdentityProvider", "delete_selected"),
        ("auth.User", "change"), ("auth.User", "delete"), ("auth.User", "delete_selected"),
    }  # fmt: skip


def test_the_page_that_asks_says_who_and_its_button_does_it(root):
    before = powers.digest()
    choice = {"action": "end_selected", "_selected_action": ["sid-alice", "sid-bob", "sid-mallory"]}
    page = root.post(SESSIONS, choice)
    assert "signs out 2 people with 2 live sessions" in text_of(page)
    assert "cannot be resumed" in text_of(page)
    assert powers.digest() == before
    assert root.post(SESSIONS, hidden_fields(page)).status_code == 302
    assert set(Session.objects.filter(ended_at=None).values_list("sid", flat=True)) == {"sid-carol"}


def test_no_page_says_done_before_it_is(root):
    asked = root.post(SESSIONS, {"action": "end_selected", "_selected_action": ["sid-alice"]})
    for page in (asked, root.get(SESSIONS)):
        assert "messagelist" not in page.content.decode()


def key_of_an_hour_ago() -> SigningKey:
    key = SigningKey.objects.get(kid=load_trust().token_signer.kid)
    SigningKey.objects.filter(pk=key.pk).update(signs_from=timezone.now() - timedelta(hours=1))
    return key


def test_a_key_is_retired_with_a_count_of_those_whose_cookies_it_signed(root):
    old = key_of_an_hour_ago()
    new = signing_keys.create(SigningKey.Purpose.TOKENS, SigningKey.Algorithm.ES256, Machine("test"))
    Session.objects.filter(sid="sid-alice").update(last_seen_at=new.signs_from + timedelta(seconds=1))
    page = root.post(KEYS, {"action": "retire", "_selected_action": [old.pk]})
    assert "signs out 2 people with 2 live sessions" in text_of(page)
    assert "A retired key stays retired" in text_of(page)


def test_a_session_is_counted_with_the_key_that_signed_while_newer_ones_were_retired(root):
    old = key_of_an_hour_ago()
    new = signing_keys.create(SigningKey.Purpose.TOKENS, SigningKey.Algorithm.ES256, Machine("test"))
    SigningKey.objects.filter(pk=new.pk).update(retired_at=new.signs_from + timedelta(seconds=1))
    Session.objects.filter(sid="sid-alice").update(last_seen_at=new.signs_from + timedelta(seconds=2))
    page = root.post(KEYS, {"action": "retire", "_selected_action": [old.pk]})
    assert "3 people with 3 live sessions" in text_of(page)


def test_a_key_for_assertions_signs_nobody_out(root):
    key = SigningKey.objects.get(kid=load_trust().assertion_signer.kid)
    page = text_of(root.post(KEYS, {"action": "retire", "_selected_action": [key.pk]}))
    assert "signs out" not in page
    assert "Services refuse assertions" in page


def provider_form(root: Client, **changes: str) -> tuple[str, dict[str, Any]]:
    url = f"{PROVIDERS}{IdentityProvider.objects.get(slug='main').pk}/change/"
    data = form_values(root, url) | changes
    return url, {name: value for name, value in data.items() if value != ""}


def test_a_disabled_provider_says_whom_it_signs_out(root):
    url, data = provider_form(root, enabled="")
    page = text_of(root.post(url, data))
    assert "Nobody can sign in at main until it is enabled again" in page
    assert "3 people with 3 live sessions" in page


def test_a_stricter_provider_says_whom_it_signs_out(root):
    Session.objects.update(last_seen_at=timezone.now())
    Session.objects.filter(sid="sid-alice").update(last_seen_at=timezone.now() - timedelta(seconds=120))
    url, data = provider_form(root, session_idle="60")
    assert "1 person with 1 live session within five minutes" in text_of(root.post(url, data))
    url, data = provider_form(root, allowed_domains="example.com")
    assert "3 people with 3 live sessions" in text_of(root.post(url, data))


def test_a_provider_that_cuts_nobody_off_is_saved_at_once(root):
    url, data = provider_form(root, name="Another name")
    assert root.post(url, data).status_code == 302


def test_a_secret_is_not_repeated_by_the_page_that_asks(root):
    url, data = provider_form(root, enabled="", public_client="", client_secret="a new s3cr3t")
    page = root.post(url, data)
    assert "save the secret by itself first" in text_of(page)
    assert "s3cr3t" not in page.content.decode()
    assert "Yes, do this" not in page.content.decode()


def test_a_deletion_says_how_many_people_it_signs_out(root):
    make_session(Person.objects.get(provider_subject="alice"), "sid-alice-2", {})
    alice = Person.objects.get(provider_subject="alice")
    page = text_of(root.get(f"{PEOPLE}{alice.pk}/delete/"))
    assert "People signed out at once: 1" in page
    assert "Live sessions ended: 2" in page
    assert "Personal tokens ended" not in page


def test_a_deletion_says_how_many_personal_tokens_it_ends(root):
    alice = Person.objects.get(provider_subject="alice")
    for number, lasts in enumerate((timedelta(days=1), timedelta(days=2), timedelta(days=-1)), 5):
        ServiceToken.objects.create(
            person=alice, name=f"laptop {number}", digest=f"{number:064x}", expires_at=timezone.now() + lasts
        )
    assert "Personal tokens ended: 2" in text_of(root.get(f"{PEOPLE}{alice.pk}/delete/"))


def account_form(root: Client, name: str, **changes: str) -> tuple[str, dict[str, Any]]:
    url = f"{ACCOUNTS}{User.objects.get(username=name).pk}/change/"
    data = form_values(root, url) | {"date_joined_0": "2026-01-01", "date_joined_1": "00:00:00"} | changes
    return url, {name: value for name, value in data.items() if value != "" and name not in ("password", "last_login")}


@pytest.mark.parametrize("flag", ["is_superuser", "is_staff", "is_active"])
def test_an_operator_who_takes_admin_from_their_own_account_is_warned_first(root, flag):
    url, data = account_form(root, "root", **{flag: ""})
    page = text_of(root.post(url, data))
    lost = "no longer be a superuser yourself" if flag == "is_superuser" else "lose your own access to /admin/"
    assert f"You would {lost}" in page
    assert getattr(User.objects.get(username="root"), flag)


def test_an_operator_who_deletes_their_own_account_is_warned_first(root):
    own = User.objects.get(username="root")
    page = text_of(root.post(f"{ACCOUNTS}{own.pk}/delete/", {"post": "yes"}))
    assert "You would lose your own access to /admin/" in page
    assert User.objects.filter(pk=own.pk).exists()


def by_role(monkeypatch: pytest.MonkeyPatch) -> Client:
    """alice, whose claim is_admin gives the role boss."""
    loaded, session = watcher.load(), Session.objects.get(sid="sid-alice")
    monkeypatch.setattr(snapshot, "_current", loaded)
    client = Client()
    client.cookies["auth_token"] = mint_cookie(session, loaded, "")
    return client


OWN_LOSSES = {
    "grant": lambda: ("rolegrant", RoleGrant.objects.get(role__name="boss").pk, {"claim": "is_admin", "value": "1"}),
    "role": lambda: ("role", Role.objects.get(name="boss").pk, {"admin": "staff"}),
    "provider": lambda: ("identityprovider", IdentityProvider.objects.get(slug="main").pk, {"enabled": ""}),
    "person": lambda: ("person", Person.objects.get(provider_subject="alice").pk, {"is_active": ""}),
}


@pytest.mark.parametrize("way", OWN_LOSSES)
def test_an_operator_by_role_who_takes_the_role_from_themselves_is_warned_first(root, monkeypatch, way):
    alice = by_role(monkeypatch)
    model, pk, changes = OWN_LOSSES[way]()
    url, before = f"/admin/authgate/{model}/{pk}/change/", powers.digest()
    values = {name: value for name, value in (form_values(alice, url) | changes).items() if value != ""}
    page = text_of(alice.post(url, values))
    assert "You would lose your own access" in page or "You would no longer be a superuser yourself" in page
    assert powers.digest() == before


def test_an_operator_by_role_is_warned_of_a_rollback_that_takes_the_role_from_them(root, monkeypatch):
    alice = by_role(monkeypatch)
    page = text_of(alice.post("/admin/authgate/policyrevision/1/rollback/"))
    assert "You would lose your own access to /admin/" in page
    assert alice.post("/admin/authgate/policyrevision/3/rollback/").status_code == 302


def test_what_was_not_agreed_to_is_asked_about_again(root):
    values = {"action": "end_selected", "_selected_action": ["sid-alice"], "_confirmed": ["keys"]}
    assert root.post(SESSIONS, values).status_code == 200
    assert Session.objects.get(sid="sid-alice").ended_at is None
