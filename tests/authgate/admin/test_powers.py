"""Staff of every combination of permissions against every form, action and page of the admin, found by looking.

What is new here fails until somebody has said what it may do: a model, a page, an action, a command.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.template.response import TemplateResponse
from django.test import Client

from authgate.admin.site import AdminSite
from authgate.models.people import Session
from authgate.sessions.cookie import mint_cookie
from authgate.sessions.sso_accounts import username_of
from authgate.state import snapshot, watcher
from tests.support import powers
from tests.support.attempts import SAVED, effective, hostile, send, taken_back
from tests.support.operators import PAGES, SITE_PAGES, Post, every_post, own_pages

pytestmark = pytest.mark.django_db
OURS = ("authgate", "auth", "proxy", "gateway_site")

CHANGES = {"add", "change", "delete", "delete_selected"}
# What staff with every permission there is can do, by model. All else is for superusers, or for nobody.
STAFF_MAY = {
    "auth.Group": set(),
    "auth.User": set(),
    "authgate.IdentityProvider": set(),
    "authgate.TokenIssuer": set(),
    "authgate.Person": {"change", "delete", "delete_selected", "authgate_person_end_sessions"},
    "authgate.Session": {"end_selected", "authgate_session_end"},
    "authgate.Upstream": CHANGES,
    "authgate.Role": CHANGES,
    "authgate.RoleGrant": CHANGES,
    "authgate.RateLimit": CHANGES,
    "authgate.PolicyRevision": {"authgate_policyrevision_rollback"},
    "authgate.Route": CHANGES | {"enable", "disable"},
    "authgate.SigningKey": {"add", "retire"},
    "authgate.RevokedToken": {"add"},
    "authgate.Revocation": {"add"},
    "authgate.MintedToken": {"revoke_selected"},
    "authgate.ServiceToken": {"add", "end_selected"},
}
SUPERUSERS_ALSO_MAY = {
    "auth.Group": CHANGES,
    "auth.User": CHANGES | {"auth_user_password_change"},
    "authgate.IdentityProvider": CHANGES,
    "authgate.TokenIssuer": CHANGES,
}
GRANT_OF_BOSS = ("authgate.RoleGrant", "change", "true")
Done = dict[str, set[str]]


@pytest.fixture(autouse=True)
def quick(caplog: pytest.LogCaptureFixture, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # What a page looks like is of no interest here, and takes most of the time.
    monkeypatch.setattr(TemplateResponse, "rendered_content", "")
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    caplog.set_level(logging.CRITICAL, "django.request")  # thousands of refusals, each with its traceback


@pytest.fixture(scope="module")
def posts(world) -> list[Post]:
    superuser = Client()
    superuser.force_login(User.objects.get(username="root"))
    return every_post(superuser)


def staff_with(permissions: Any, name: str = "staff") -> Client:
    user = User.objects.create(username=name, is_staff=True)
    user.user_permissions.set(permissions)
    client = Client(raise_request_exception=False)
    client.force_login(user)
    return client


def staff_by_role(monkeypatch: pytest.MonkeyPatch) -> Client:
    """bob, whose group gives a role that opens /admin/ as staff."""
    loaded, session = watcher.load(), Session.objects.get(sid="sid-bob")
    monkeypatch.setattr(snapshot, "_current", loaded)
    user = User.objects.create(username=username_of(session.person.subject))
    user.user_permissions.set(Permission.objects.all())
    client = Client()
    client.cookies["auth_token"] = mint_cookie(session, loaded, "")
    return client


def done_by(client: Client, posts: list[Post]) -> Done:
    """What of all there is to do changes anything."""
    done: Done = {label: set() for label in STAFF_MAY}
    for post in effective(client, posts):
        done[post.model].add(post.kind)
    return done


def try_all(client: Client, posts: Iterable[Post], *, every_value: bool = False, every_kind: bool = False) -> Done:
    """What of it changes anything. `every_value`, `every_kind`: as long as there is a value, or nothing has changed."""
    before, rows = powers.facts(), powers.digest()
    done: Done = {label: set() for label in STAFF_MAY}
    for post in posts:
        for number, variant in enumerate((post, *hostile(post))):
            with taken_back():
                status = send(client, variant)
                if status in SAVED and powers.digest() != rows:
                    assert not powers.gains(before, powers.facts()), variant
                    done[post.model].add(post.kind)
            more = every_value or (every_kind and post.kind not in done[post.model])
            # A page that was refused to begin with does not look at what it was sent.
            if number and (status == 403 or not more):
                break
    assert not powers.gains(before, powers.facts())
    return done


def one_of_each(posts: list[Post]) -> list[Post]:
    return list({(post.model, post.kind): post for post in posts}.values())


def permissions_for(label: str) -> Any:
    app, _, model = label.partition(".")
    return Permission.objects.filter(content_type__app_label=app, content_type__model=model.lower())


def test_with_every_permission_and_every_value_the_power_of_staff_never_rises(posts):
    # And does what is written here, and no more.
    assert try_all(staff_with(Permission.objects.all()), posts, every_value=True) == STAFF_MAY


def test_with_a_role_that_opens_admin_the_power_of_staff_never_rises(posts, monkeypatch):
    assert try_all(staff_by_role(monkeypatch), posts, every_kind=True) == STAFF_MAY


def test_with_every_permission_for_one_model_the_power_of_staff_never_rises(posts):
    for label in STAFF_MAY:
        staff = staff_with(permissions_for(label), f"all of {label}")
        try_all(staff, [post for post in posts if post.model == label])


def test_with_a_single_permission_the_power_of_staff_never_rises(posts):
    for label in STAFF_MAY:
        for permission in permissions_for(label):
            staff = staff_with([permission], f"only {permission}")
            try_all(staff, [post for post in one_of_each(posts) if post.model == label])


def test_with_permissions_of_one_kind_the_power_of_staff_rises_nowhere(posts):
    for verb in ("add", "change", "delete", "view"):
        try_all(staff_with(Permission.objects.filter(codename__startswith=verb), verb), one_of_each(posts))


def test_nobody_who_is_no_staff_changes_anything(posts):
    user = User.objects.create(username="nobody")
    user.user_permissions.set(Permission.objects.all())
    client = Client()
    client.force_login(user)
    before = powers.digest()
    assert {send(client, post) for post in posts} <= {302, 403}
    assert powers.digest() == before


def test_a_superuser_does_what_staff_may_and_what_is_written_here(posts):
    superuser = Client()
    superuser.force_login(User.objects.get(username="root"))
    assert done_by(superuser, posts) == {
        label: may | SUPERUSERS_ALSO_MAY.get(label, set()) for label, may in STAFF_MAY.items()
    }


def test_a_change_of_what_opens_admin_would_be_seen(posts):
    superuser = Client()
    superuser.force_login(User.objects.get(username="root"))
    grant = next(post for post in posts if (post.model, post.kind, post.data.get("value")) == GRANT_OF_BOSS)
    before = powers.facts()
    assert send(superuser, grant.changed(value="1")) == 302
    gains = [gain for gain in powers.gains(before, powers.facts()) if gain.startswith("authgate.RoleGrant")]
    assert len(gains) == 4  # one grant for another, in the rows and in what is live


def test_of_every_model_it_is_said_what_power_lies_in_it():
    every = {model._meta.label for model in apps.get_models(include_auto_created=True) if model._meta.app_label in OURS}
    registered = {model._meta.label for model in admin.site._registry}
    watched = powers.FIXED.keys() | powers.KEPT.keys() | powers.NOT_ADDED.keys()
    assert registered == STAFF_MAY.keys()
    assert registered - watched == powers.POWERLESS
    assert every - registered == powers.UNREGISTERED


def test_every_page_of_the_admin_is_known():
    assert {page for model_admin in admin.site._registry.values() for page in own_pages(model_admin)} == PAGES.keys()
    assert {pattern.name for pattern in admin.site.get_urls() if hasattr(pattern, "name")} == SITE_PAGES


def test_no_model_is_edited_inside_another_or_in_a_list():
    # Neither has a form that the tests here would find.
    assert [m for m in admin.site._registry.values() if m.inlines or m.list_editable] == []


def test_every_post_to_the_admin_takes_its_turn():
    assert isinstance(admin.site, AdminSite)
    classes = (AdminSite, *map(type, admin.site._registry.values()))
    views = [getattr(owner, name) for owner in classes for name in dir(owner)]
    exempt = {view.__qualname__ for view in views if getattr(view, "changes_nothing", False)}
    assert exempt == {
        "AdminSite.doctor", "AdminSite.logout", "IdentityProviderAdmin.test_view", "TokenIssuerAdmin.test_view",
    }  # fmt: skip
