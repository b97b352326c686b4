"""Forms and pages of deletion speak the words of the admin, not those of the policy file."""

from __future__ import annotations

import pytest

from authgate.models.policy import Role, RoleGrant, Route
from tests.support.admin import form_values, publish, sign_in

pytestmark = pytest.mark.django_db
GRANTS, ROLES, ROUTES = (f"/admin/authgate/{model}/" for model in ("rolegrant", "role", "route"))


@pytest.fixture
def admin_client(client):
    publish()
    return sign_in(client)


def errors(client, url, **changes):
    page = client.post(url, {**form_values(client, url), **changes})
    return {field: list(found) for field, found in page.context["adminform"].form.errors.items()}


def test_a_grant_without_a_claim_is_told_what_to_choose(admin_client):
    role = Role.objects.get(name="user").pk
    found = errors(admin_client, GRANTS + "add/", role=role, operator="contains")
    assert found == {"operator": ["Choose “is signed in”, or name a claim and the value for it."]}


def test_a_grant_that_is_there_already_is_told_so(admin_client):
    role = Role.objects.get(name="user").pk
    found = errors(admin_client, GRANTS + "add/", role=role, operator="authenticated")
    assert [words for field in found.values() for words in field] == ["There is such a grant already."]


def test_a_grant_made_equal_to_a_later_one_is_told_which(admin_client):
    first, later = RoleGrant.objects.filter(role__name="admin").order_by("pk")
    url = f"{GRANTS}{first.pk}/change/"
    found = errors(admin_client, url, operator="equals", claim="level", value="7")
    assert found == {"__all__": [f"role grant “{later}”: There is such a grant already."]}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"access": "roles", "roles": []}, "Choose at least one role, or another access."),
        ({"access": "public"}, "Roles have no effect with this access: choose none, or the access “roles”."),
        ({"pass_headers": "Authorization"}, "For Authorization there is the field “Pass authorization”."),
    ],
    ids=["none", "without effect", "authorization"],
)
def test_a_route_is_told_in_the_words_of_its_form(admin_client, changes, words):
    url = f"{ROUTES}{Route.objects.get(name='admin').pk}/change/"
    assert words in [said for field in errors(admin_client, url, **changes).values() for said in field]


def test_the_page_that_deletes_a_role_says_before_which_routes_need_it(admin_client):
    page = admin_client.get(f"{ROLES}{Role.objects.get(name='admin').pk}/delete/").content.decode()
    assert "cannot be deleted as long as something needs it" in page
    assert "route admin, roles: Choose at least one role, or another access." in page
    assert "Yes, I’m sure" not in page
    assert Role.objects.filter(name="admin").exists()
    assert RoleGrant.objects.filter(role__name="admin").count() == 2


def test_the_action_that_deletes_roles_says_so_as_well(admin_client):
    chosen = [Role.objects.get(name=name).pk for name in ("admin", "unused")]
    page = admin_client.post(ROLES, {"action": "delete_selected", "_selected_action": chosen}).content.decode()
    assert "route admin, roles: Choose at least one role, or another access." in page


def test_a_role_that_nothing_needs_is_deleted(admin_client):
    url = f"{ROLES}{Role.objects.get(name='unused').pk}/delete/"
    assert "Yes, I’m sure" in admin_client.get(url).content.decode()
    assert admin_client.post(url, {"post": "yes"}).status_code == 302
    assert not Role.objects.filter(name="unused").exists()
