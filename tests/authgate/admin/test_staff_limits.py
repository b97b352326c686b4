"""What staff may not do, whatever permissions it has: make itself, or anybody, a superuser."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission, User

from authgate.models.people import IdentityProvider, Person
from authgate.models.policy import Role, RoleGrant
from authgate.policy import revisions
from authgate.policy.powers import Machine
from authgate.state import watcher
from tests.support.admin import form_values
from tests.support.operators import CONFIRMED


@pytest.fixture
def staff(client, db):
    user = User.objects.create_user("staff", is_staff=True)
    user.user_permissions.set(Permission.objects.all())
    client.force_login(user)
    return client


@pytest.fixture
def helper(db):
    role = Role.objects.create(name="helper")
    revisions.publish(Machine("test"))
    return role


def test_staff_opens_admin_to_no_role(staff, helper):
    url = f"/admin/authgate/role/{helper.pk}/change/"
    refused = staff.post(url, {"name": "helper", "description": "", "admin": "superuser"})
    assert refused.context["errors"] == [["only a superuser may change what a role opens in /admin/"]]
    helper.refresh_from_db()
    assert helper.admin != "superuser"
    assert staff.post(url, {"name": "helper", "description": "fine", "admin": "none"}).status_code == 302


def test_staff_grants_no_role_that_opens_admin(staff, helper):
    Role.objects.filter(pk=helper.pk).update(admin="superuser")
    revisions.publish(Machine("test"))
    url = "/admin/authgate/rolegrant/add/"
    values = form_values(staff, url) | {"role": helper.pk, "claim": "groups", "operator": "contains", "value": "mine"}
    refused = staff.post(url, values).context["adminform"].form.errors
    assert refused == {"role": ["only a superuser may change who has a role that opens /admin/"]}
    assert not RoleGrant.objects.exists()
    Role.objects.filter(pk=helper.pk).update(admin="none")
    revisions.publish(Machine("test"))
    assert staff.post(url, values).status_code == 302


def test_staff_rolls_back_to_no_revision_that_opened_admin(staff, helper):
    Role.objects.filter(pk=helper.pk).update(admin="superuser")
    powerful = revisions.publish(Machine("test")).revision.number
    Role.objects.filter(pk=helper.pk).update(admin="none")
    live = revisions.publish(Machine("test")).revision.number
    page = staff.post(f"/admin/authgate/policyrevision/{powerful}/rollback/", follow=True)
    assert [str(message) for message in page.context["messages"]] == [
        "Nothing was changed: this is not yours to change.",
        "roles.helper.admin: only a superuser may change what a role opens in /admin/",
    ]
    assert revisions.publish(Machine("test")).revision.number == live


@pytest.mark.parametrize(("before", "after"), [(True, "1"), (1, "true"), (1, '"1"'), ("\u00e9", "e\u0301")])
def test_staff_gives_a_grant_that_opens_admin_no_value_that_only_looks_the_same(staff, helper, before, after):
    Role.objects.filter(pk=helper.pk).update(admin="superuser")
    grant = RoleGrant.objects.create(role=helper, operator="equals", claim="is_admin", value=before)
    live = revisions.publish(Machine("test")).revision.number
    url = f"/admin/authgate/rolegrant/{grant.pk}/change/"
    staff.post(url, form_values(staff, url) | {"value": after})
    grant.refresh_from_db()
    assert (repr(grant.value), revisions.latest().number) == (repr(before), live)


def test_staff_points_no_provider_elsewhere(staff):
    provider = IdentityProvider.objects.create(slug="idp", name="IdP", issuer="https://idp.example.com", client_id="c")
    assert staff.get("/admin/authgate/identityprovider/add/").status_code == 403
    assert staff.post(f"/admin/authgate/identityprovider/{provider.pk}/change/", {"issuer": "x"}).status_code == 403


def test_staff_makes_itself_no_superuser(staff):
    own = User.objects.get(username="staff")
    values = {"username": "staff", "is_staff": "on", "is_superuser": "on", "is_active": "on"}
    assert staff.post(f"/admin/auth/user/{own.pk}/change/", values).status_code == 403
    assert not User.objects.filter(is_superuser=True).exists()


def test_staff_sets_nobodys_password(staff):
    root = User.objects.create_superuser("root", password="the first password")
    values = {"password1": "another password", "password2": "another password", "usable_password": "true"}
    assert staff.post(f"/admin/auth/user/{root.pk}/password/", values).status_code == 403
    assert User.objects.get(username="root").check_password("the first password")


@pytest.mark.parametrize("page", ["user/add/", "group/add/", "user/{pk}/delete/"])
def test_staff_makes_and_removes_no_accounts_and_groups(staff, page):
    other = User.objects.create_user("other", is_staff=True)
    assert staff.get(f"/admin/auth/{page.format(pk=other.pk)}").status_code == 403


def test_staff_may_look_at_accounts(staff):
    assert staff.get("/admin/auth/user/").status_code == 200


def test_the_account_of_somebody_who_signs_in_can_be_switched_off(admin_client):
    account = User.objects.create(username="sso:idp|alice")
    url = f"/admin/auth/user/{account.pk}/change/"
    values = {"date_joined_0": "2026-01-01", "date_joined_1": "00:00:00", "email": "a@example.com"}
    assert admin_client.post(url, values | CONFIRMED).status_code == 302
    account.refresh_from_db()
    assert not account.is_active


def test_a_provider_that_people_are_known_by_does_not_become_another(admin_client):
    provider = IdentityProvider.objects.create(slug="idp", name="IdP", issuer="https://idp.example.com", client_id="c")
    provider.issuer = "https://other.example.com"
    provider.clean()
    Person.objects.create(provider=provider, provider_subject="alice")
    with pytest.raises(Exception, match="add another provider"):
        provider.clean()


@pytest.mark.parametrize(
    ("permissions", "shown"),
    [
        ([], {"is away"}),
        (["auth.view_user"], {"is away"}),
        (["authgate.view_route"], {"db.internal"}),
        (["authgate.view_policyrevision"], {"db.internal", "alice@example.com"}),
    ],
)
def test_staff_sees_the_fault_and_the_author_only_as_it_is_permitted(client, helper, monkeypatch, permissions, shown):
    user = User.objects.create_user("staff", is_staff=True)
    for name in permissions:
        label, codename = name.split(".")
        user.user_permissions.add(Permission.objects.get(content_type__app_label=label, codename=codename))
    client.force_login(user)
    Role.objects.create(name="another")
    revisions.publish(Machine("alice@example.com"))
    monkeypatch.setattr(watcher, "fault", lambda: "cannot connect to gate@db.internal")
    monkeypatch.setattr(watcher, "not_ready", lambda: "the database is away")
    page = client.get("/admin/").content.decode()
    assert {word for word in ("is away", "db.internal", "alice@example.com") if word in page} == shown


def test_staff_deactivates_a_person_and_cannot_activate_them_again(staff):
    provider = IdentityProvider.objects.create(slug="idp", name="IdP", issuer="https://idp.example.com", client_id="c")
    person = Person.objects.create(provider=provider, provider_subject="alice")
    url = f"/admin/authgate/person/{person.pk}/change/"
    staff.post(url, CONFIRMED)
    after_one = Person.objects.get().is_active
    staff.post(url, {"is_active": "on"})
    assert (after_one, Person.objects.get().is_active) == (False, False)


def test_a_superuser_activates_a_person_again(admin_client):
    provider = IdentityProvider.objects.create(slug="idp", name="IdP", issuer="https://idp.example.com", client_id="c")
    person = Person.objects.create(provider=provider, provider_subject="alice", is_active=False)
    admin_client.post(f"/admin/authgate/person/{person.pk}/change/", {"is_active": "on"})
    assert Person.objects.get().is_active
