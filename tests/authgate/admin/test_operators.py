"""Who has access to /admin/ is listed in one place, and the list of accounts does not contradict it."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from authgate.models.people import IdentityProvider, Person, Session
from authgate.policy import revisions
from authgate.policy.document import parse_yaml
from authgate.policy.powers import Machine
from authgate.sessions.cookie import mint_cookie
from authgate.state import snapshot, watcher
from tests.support.operators import POLICY, make_session

pytestmark = pytest.mark.django_db
ACCOUNTS = "/admin/auth/user/"


@pytest.fixture
def root(world, client) -> Client:
    client.force_login(User.objects.get(username="root"))
    return client


def listed(client: Client) -> set[tuple[str, ...]]:
    page = client.get(ACCOUNTS)
    return {(operator.name, operator.access, operator.by) for operator in page.context["operators"]}


def test_local_accounts_and_people_by_role_are_listed_together(root):
    assert listed(root) == {
        ("root", "superuser", "local account"),
        ("main|alice", "superuser", "role boss"),
        ("main|bob", "staff", "role helper"),
    }


def test_somebody_gets_admin_by_a_grant_on_their_e_mail(root):
    grant = "  - {role: boss, when: {provider: main, claim: email, equals: erin@example.com}}\nrate_limits:"
    revisions.replace(parse_yaml(POLICY.replace("rate_limits:", grant)), Machine("test"))
    main = IdentityProvider.objects.get(slug="main")
    erin = Person.objects.create(provider=main, provider_subject="e", email="erin@example.com")
    make_session(erin, "sid-erin", {})
    assert ("erin@example.com (main|e)", "superuser", "role boss") in listed(root)


def test_who_is_kept_out_is_not_listed(root):
    Person.objects.filter(provider_subject="alice").update(is_active=False)
    User.objects.create(username="sso:main|bob", is_active=False)
    assert listed(root) == {("root", "superuser", "local account")}


def test_an_account_of_single_sign_on_is_not_shown_as_no_staff(root):
    rows = re.findall(r'class="field-shown_access">([^<]+)', root.get(f"{ACCOUNTS}?q=sso").content.decode())
    assert rows == ["by the roles of their sign-in"]


def test_staff_who_may_view_accounts_do_not_see_who_has_which_role(root):
    staff = User.objects.create(username="viewer", is_staff=True)
    staff.user_permissions.set(Permission.objects.filter(codename="view_user"))
    client = Client()
    client.force_login(staff)
    page = client.get(ACCOUNTS)
    assert page.status_code == 200
    assert "main|alice (main|alice)" not in page.content.decode()


def test_a_local_account_beside_a_sign_in_is_explained(root, monkeypatch):
    loaded, session = watcher.load(), Session.objects.get(sid="sid-carol")
    monkeypatch.setattr(snapshot, "_current", loaded)
    assert "You work here with the local account" not in root.get("/admin/").content.decode()
    root.cookies["auth_token"] = mint_cookie(session, loaded, "")
    page = root.get("/admin/").content.decode()
    assert "You work here with the local account root" in page
    assert "also signed in as main|carol" in page
