"""Deleting undoes nothing: who is kept out stays out, and nobody inherits what another was given."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import transaction
from django.utils import timezone

from authgate.models.people import IdentityProvider, Person, Session
from authgate.models.trust import RevokedToken
from authgate.sessions.sso_accounts import username_of
from tests.support.admin import sign_in
from tests.support.databases import run_two

PEOPLE, PROVIDERS, ACCOUNTS = "/admin/authgate/person/", "/admin/authgate/identityprovider/", "/admin/auth/user/"
NAME = "sso:idp|alice"
pytestmark = pytest.mark.django_db


@pytest.fixture
def admin(client):
    return sign_in(client)


@pytest.fixture
def alice():
    return sign_in_anew()


def sign_in_anew():
    values = {"name": "IdP", "client_id": "gateway", "issuer": "https://idp.example"}
    provider, _ = IdentityProvider.objects.get_or_create(slug="idp", defaults=values)
    person, _ = Person.objects.get_or_create(provider=provider, provider_subject="alice")
    now = timezone.now()
    times = {"created_at": now, "last_seen_at": now, "expires_at": now + timedelta(hours=1)}
    Session.objects.create(sid=f"sid-{Session.objects.count()}", person=person, **times)
    return person


def account_with_permission():
    account, _ = User.objects.get_or_create(username=NAME)
    account.user_permissions.set(Permission.objects.filter(codename="change_route"))
    return account


def delete_person():
    Person.objects.get().delete()


def delete_people():
    Person.objects.all().delete()


def delete_provider():
    IdentityProvider.objects.get().delete()


def delete_providers():
    IdentityProvider.objects.all().delete()


def remove_by_command():
    call_command("provider", "remove", "idp")


DELETIONS = [delete_person, delete_people, delete_provider, delete_providers, remove_by_command]
every_deletion = pytest.mark.parametrize("delete", DELETIONS, ids=lambda delete: delete.__name__)


@every_deletion
def test_every_deletion_revokes_the_sessions(alice, delete):
    delete()
    assert RevokedToken.objects.filter(jti="sid-0").exists()


@every_deletion
def test_the_next_holder_of_the_subject_inherits_no_permission_and_no_log_entry(alice, delete):
    account = account_with_permission()
    LogEntry.objects.create(
        user=account, content_type=ContentType.objects.first(), object_id=1, object_repr="x", action_flag=2
    )
    delete()
    sign_in_anew()
    now, _ = User.objects.get_or_create(username=NAME)
    assert (now.get_all_permissions(), LogEntry.objects.filter(user=now).count()) == (set(), 0)
    assert LogEntry.objects.get().user.username.endswith("idp|alice")


@pytest.mark.parametrize("left_over", ["an old account", "one given something after the deletion"])
def test_an_account_that_nobody_holds_is_not_inherited(alice, left_over):
    if left_over == "an old account":
        account_with_permission()
        Session.objects.all().delete()
        Person.objects.filter(pk=alice.pk)._raw_delete("default")
    else:
        alice.delete()
        account_with_permission()
    sign_in_anew()
    assert not User.objects.filter(username=NAME).exists()


@every_deletion
@pytest.mark.parametrize("kept_out_by", ["person", "account"])
def test_nobody_who_is_kept_out_is_let_in_by_a_deletion(alice, delete, kept_out_by):
    if kept_out_by == "person":
        Person.objects.update(is_active=False)
    else:
        User.objects.create(username=NAME, is_active=False)
    with pytest.raises((ValidationError, CommandError), match="would let them in again"), transaction.atomic():
        delete()
    assert Person.objects.count() == 1


@pytest.mark.parametrize("many", [False, True], ids=["one", "selected"])
@pytest.mark.parametrize("url", [PEOPLE, PROVIDERS], ids=["person", "provider"])
def test_the_pages_say_who_is_kept_out_and_offer_no_button(admin, alice, url, many):
    Person.objects.update(is_active=False)
    pk = alice.pk if url == PEOPLE else alice.provider.pk
    if many:
        page = admin.post(url, {"action": "delete_selected", "post": "yes", "_selected_action": [pk]})
    else:
        page = admin.post(f"{url}{pk}/delete/", {"post": "yes"})
    said = page.content.decode()
    assert "idp|alice is deactivated" in said
    assert ("Yes, I’m sure" in said, Person.objects.count()) == (False, 1)


@pytest.mark.parametrize(
    ("url", "sentence"), [(PEOPLE, "it keeps nobody out"), (PROVIDERS, "would count for another provider")]
)
def test_the_pages_say_what_a_deletion_does(admin, alice, url, sentence):
    pk = alice.pk if url == PEOPLE else alice.provider.pk
    pages = [
        admin.get(f"{url}{pk}/delete/"),
        admin.post(url, {"action": "delete_selected", "_selected_action": [pk]}),
    ]
    assert [sentence in page.content.decode() for page in pages] == [True, True]


@pytest.mark.parametrize("many", [False, True], ids=["one", "selected"])
def test_a_deactivated_account_is_not_made_anew_by_deleting_it(admin, alice, many):
    account = User.objects.create(username=NAME, is_active=False)
    if many:
        page = admin.post(ACCOUNTS, {"action": "delete_selected", "post": "yes", "_selected_action": [account.pk]})
    else:
        page = admin.post(f"{ACCOUNTS}{account.pk}/delete/", {"post": "yes"})
    assert "would open /admin/ to this person again" in page.content.decode()
    with pytest.raises(ValidationError, match="would open /admin/"), transaction.atomic():
        User.objects.all().delete()
    assert User.objects.filter(username=NAME).exists()


def test_the_account_of_somebody_who_was_deleted_may_go_too(alice):
    account_with_permission()
    alice.delete()
    User.objects.all().delete()
    assert not User.objects.exists()


def test_no_subject_has_the_name_of_a_former_account(alice):
    account_with_permission()
    alice.delete()
    assert User.objects.get().username.startswith("sso:#")
    assert not username_of(sign_in_anew().subject).startswith("sso:#")


SETUP = """
from django.contrib.auth.models import User
from authgate.models.people import IdentityProvider, Person
from authgate.policy.powers import Machine
provider = IdentityProvider.objects.create(slug="idp", client_id="gateway", issuer="https://idp.example")
Person.objects.create(provider=provider, provider_subject="alice")
User.objects.create(username="sso:idp|alice")
def load():
    return {"person": Person.objects.get(), "provider": IdentityProvider.objects.get(), "Machine": Machine}
"""
DEACTIVATE = "from authgate.sessions.activation import deactivate; deactivate(person, Machine('test'))"
DEACTIVATE_ACCOUNT = """
from django.contrib.auth.models import User
User.objects.filter(username="sso:idp|alice").update(is_active=False)
"""


@pytest.mark.parametrize("deactivate", [DEACTIVATE, DEACTIVATE_ACCOUNT], ids=["of a person", "of an account"])
@pytest.mark.parametrize(
    "delete",
    ["person.delete()", "from authgate.sessions.registration import remove; remove([provider], Machine('test'))"],
    ids=["person", "provider"],
)
def test_a_deletion_that_waits_for_a_deactivation_is_refused(database, deactivate, delete):
    assert json.loads(run_two(database, SETUP, deactivate, delete)) == ["", "ValidationError"]
