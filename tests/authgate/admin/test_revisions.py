from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission
from django.urls import reverse

from authgate.models.policy import PolicyRevision, Route
from authgate.policy import revisions
from tests.support.admin import POLICY, publish, sign_in

pytestmark = pytest.mark.django_db
LIST = "/admin/authgate/policyrevision/"


@pytest.fixture(autouse=True)
def history(db):
    """1 is the whole policy; 2 opened one route; 3 is live and has no wiki."""
    publish()
    publish(POLICY.replace("path: /api/protected, access: authenticated", "path: /api/protected, access: public"))
    publish(POLICY.split("  - {name: wiki,")[0])


@pytest.fixture
def admin_client(client):
    return sign_in(client)


def change(number):
    return reverse("admin:authgate_policyrevision_change", args=[number])


def rollback(number):
    return reverse("admin:authgate_policyrevision_rollback", args=[number])


def said(response):
    return [str(message) for message in response.context["messages"]]


def test_the_list_shows_number_author_comment_and_which_is_live(admin_client):
    rows = admin_client.get(LIST).context["cl"].result_list
    assert [(row.number, row.author, row.comment, row.live) for row in rows] == [
        (3, "tests", "the beginning", True),
        (2, "tests", "the beginning", False),
        (1, "tests", "the beginning", False),
    ]


def test_the_list_reads_no_documents(admin_client):
    rows = admin_client.get(LIST).context["cl"].result_list
    assert all("document" in row.get_deferred_fields() for row in rows)


def test_a_revision_shows_what_it_changed_and_what_has_changed_since(admin_client):
    context = admin_client.get(change(2)).context
    assert context["changes"] == ["route protected: access authenticated → public"]
    assert context["changes_to_live"] == ["route protected: access authenticated → public", "route wiki added"]


def test_the_first_revision_shows_what_it_began_with(admin_client):
    assert "route wiki added" in admin_client.get(change(1)).context["changes"]


def test_the_live_revision_offers_no_rollback(admin_client):
    assert rollback(3) not in admin_client.get(change(3)).content.decode()
    assert rollback(2) in admin_client.get(change(2)).content.decode()


def test_a_rollback_asks_first_and_says_what_it_changes(admin_client):
    response = admin_client.get(rollback(1))
    assert "route wiki added" in response.content.decode()
    assert PolicyRevision.objects.count() == 3


def test_a_rollback_is_a_new_revision_of_the_old_policy(admin_client):
    response = admin_client.post(rollback(1), follow=True)
    newest = PolicyRevision.objects.first()
    assert (newest.number, newest.author, newest.comment) == (4, "admin", "rollback to 1")
    assert newest.document == PolicyRevision.objects.get(number=1).document
    assert Route.objects.filter(name="wiki").exists()
    published, left_to_do = said(response)
    assert published == "Published revision 4: it is live."
    assert left_to_do == "The host wiki.example.com is new: point its DNS name here."


def test_a_rollback_to_what_is_live_changes_nothing(admin_client):
    assert said(admin_client.post(rollback(3), follow=True)) == ["The policy is what it was: revision 3 stays live."]
    assert PolicyRevision.objects.count() == 3


def test_a_rollback_to_what_is_no_longer_valid_changes_nothing(admin_client, settings):
    settings.AUTHGATE_AUTH_PREFIX = "/api/protected"
    response = admin_client.post(rollback(1), follow=True)
    assert said(response)[0] == "Nothing was changed: revision 1 would not be valid today."
    assert said(response)[1].startswith("routes.protected.path: ")
    assert (PolicyRevision.objects.count(), Route.objects.count()) == (3, 3)


@pytest.mark.parametrize("number", [0, 99])
def test_a_revision_that_is_none_is_not_found(admin_client, number):
    assert admin_client.get(rollback(number)).status_code == 404
    assert admin_client.post(rollback(number)).status_code == 404
    # A page that does not exist leads back to the overview, with a message.
    assert admin_client.get(change(number)).status_code in (302, 404)


def test_a_revision_that_cannot_be_read_says_so(admin_client):
    PolicyRevision.objects.filter(number=1).update(document='{"version": 1, "surprise": true}')
    lines = admin_client.get(change(1)).context["changes"]
    assert lines[0] == "A revision cannot be read by this version:"
    assert any("surprise" in line for line in lines)
    assert said(admin_client.post(rollback(1), follow=True))[0].startswith("Nothing was changed")


@pytest.mark.parametrize("url", [LIST + "add/", LIST + "1/delete/"])
def test_history_is_never_written_by_hand(admin_client, url):
    assert admin_client.post(url, {"post": "yes"}).status_code == 403
    assert PolicyRevision.objects.count() == 3


def test_history_is_never_edited(admin_client):
    assert admin_client.post(change(1), {"comment": "mine"}).status_code == 403
    assert PolicyRevision.objects.get(number=1).comment == "the beginning"


def test_who_may_only_look_sees_changes_and_cannot_roll_back(client, django_user_model):
    viewer = django_user_model.objects.create(username="viewer", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_policyrevision"))
    client.force_login(viewer)
    assert rollback(1) not in client.get(change(1)).content.decode()
    assert client.get(rollback(1)).status_code == 403
    assert client.post(rollback(1)).status_code == 403
    assert revisions.latest().number == 3


def test_a_rollback_needs_the_token_of_its_form(admin_client):
    admin_client.handler.enforce_csrf_checks = True
    assert admin_client.post(rollback(1)).status_code == 403
    assert revisions.latest().number == 3


def test_thousands_of_changes_are_cut_with_their_count(admin_client):
    routes = "".join(f"  - {{name: n{i}, path: /n/{i}, access: public, upstream: api}}\n" for i in range(600))
    publish(POLICY + routes)
    lines = admin_client.get(change(4)).context["changes"]
    assert len(lines) == 501
    assert lines[-1] == "… and 101 more"


def test_deletions_work_while_somebody_rolls_back_to_what_is_live_in_a_loop(admin_client):
    for pk in list(Route.objects.values_list("pk", flat=True)):
        live = PolicyRevision.objects.order_by("-number").first().number
        admin_client.get(f"/admin/authgate/route/{pk}/delete/")
        admin_client.post(reverse("admin:authgate_policyrevision_rollback", args=[live]))
        admin_client.post(f"/admin/authgate/route/{pk}/delete/", {"post": "yes"})
    assert not Route.objects.exists()
