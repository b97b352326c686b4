from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.utils import timezone

from authgate.models.people import IdentityProvider, Person, Session
from authgate.models.trust import RevokedToken
from authgate.oidc.provider import client_secret_of, seal_client_secret
from authgate.sealing import seal_text
from tests.support.admin import form_values, sign_in
from tests.support.operators import CONFIRMED

pytestmark = pytest.mark.django_db
PROVIDERS, PEOPLE, SESSIONS = (f"/admin/authgate/{model}/" for model in ("identityprovider", "person", "session"))


@pytest.fixture
def admin_client(client):
    return sign_in(client)


@pytest.fixture
def provider():
    row = IdentityProvider(slug="idp", name="IdP", issuer="http://127.0.0.1:9", client_id="gateway")
    row.sealed_client_secret = seal_client_secret(row, "s3cr3t-of-the-test")
    row.save()
    return row


@pytest.fixture
def session(provider):
    person, now = Person.objects.create(provider=provider, provider_subject="alice"), timezone.now()
    sealed = seal_text("refresh-of-the-test", purpose="refresh token", place="sid-1")
    return Session.objects.create(
        sid="sid-1", person=person, created_at=now, last_seen_at=now, expires_at=now + timedelta(hours=1),
        sealed_refresh_token=sealed,
    )  # fmt: skip


def test_with_a_person_goes_what_their_account_was_given(client, session):
    account = User.objects.create(username="sso:idp|alice")
    account.user_permissions.set(Permission.objects.filter(codename="change_route"))
    sign_in(client).post(f"{PEOPLE}{session.person.pk}/delete/", {"post": "yes"})
    assert not Person.objects.exists()
    assert not account.user_permissions.exists()


def test_no_session_is_guessed_letter_by_letter(client, session):
    page = sign_in(client).get(PEOPLE, {"sessions__sid__startswith": "s"})
    assert page.status_code == 400


def is_ended(sid="sid-1"):
    return RevokedToken.objects.filter(jti=sid).exists() and not Session.objects.filter(sid=sid, ended_at=None).exists()


def change(client, url, **changes):
    return client.post(url, {**form_values(client, url), **changes}, follow=True)


def test_a_preset_fills_the_form(admin_client):
    page = admin_client.get(PROVIDERS + "add/?preset=google")
    values = page.context["adminform"].form
    assert (values["issuer"].value(), values["slug"].value()) == ("https://accounts.google.com", "google")
    assert 'href="?preset=github"' in page.content.decode()


def test_a_form_without_a_preset_asks_for_the_usual_scopes(admin_client):
    assert form_values(admin_client, PROVIDERS + "add/")["scopes"] == "openid email profile"


def test_the_form_of_a_preset_saves_with_a_client(admin_client):
    values = form_values(admin_client, PROVIDERS + "add/?preset=google")
    values |= {"scopes": "openid email\r\nprofile", "client_id": "gateway", "client_secret": "s3cr3t"}
    response = admin_client.post(PROVIDERS + "add/", values | {"allowed_domains": "example.com", "claim_mapping": ""})
    assert response.status_code == 302
    row = IdentityProvider.objects.get()
    assert (row.scopes, row.allowed_domains, client_secret_of(row)) == (
        ["openid", "email", "profile"], ["example.com"], "s3cr3t",
    )  # fmt: skip


def test_an_empty_secret_leaves_the_one_that_is_there_and_no_page_shows_it(admin_client, provider):
    url = f"{PROVIDERS}{provider.pk}/change/"
    page = change(admin_client, url, scopes="openid", claim_mapping="groups = roles", allowed_domains="")
    provider.refresh_from_db()
    assert (client_secret_of(provider), provider.claim_mapping) == ("s3cr3t-of-the-test", {"groups": "roles"})
    said = page.content.decode() + admin_client.get(url).content.decode()
    assert "s3cr3t-of-the-test" not in said
    assert provider.sealed_client_secret not in said


def test_the_redirect_uri_is_shown(admin_client, provider):
    page = admin_client.get(f"{PROVIDERS}{provider.pk}/change/").content.decode()
    assert "http://gateway.test/auth/callback/idp" in page


def test_every_redirect_uri_is_shown_where_each_host_has_one(admin_client, provider, settings):
    settings.AUTHGATE_ALLOWED_HOSTS = ("other.test",)
    IdentityProvider.objects.update(callbacks="each")
    page = admin_client.get(f"{PROVIDERS}{provider.pk}/change/").content.decode()
    assert "http://gateway.test/auth/callback/idp<br>http://other.test/auth/callback/idp" in page


def test_what_is_wrong_stands_beside_its_field(admin_client, provider):
    page = change(admin_client, f"{PROVIDERS}{provider.pk}/change/", issuer="http://a.example", scopes="email")
    assert set(page.context["adminform"].form.errors) == {"issuer", "scopes"}


def test_the_connection_test_shows_what_is_wrong(admin_client, provider):
    page = admin_client.post(f"{PROVIDERS}{provider.pk}/test/").content.decode()
    assert "the discovery document at 127.0.0.1:9 cannot be reached: Connection refused" in page


def test_the_connection_is_tested_on_post_only(admin_client, provider):
    assert admin_client.get(f"{PROVIDERS}{provider.pk}/test/").status_code == 404


def test_deactivating_a_person_ends_their_sessions(admin_client, session):
    url = f"{PEOPLE}{session.person.pk}/change/"
    admin_client.post(url, CONFIRMED)
    assert (is_ended(), Person.objects.get().is_active) == (True, False)


@pytest.mark.parametrize("model", [Person, IdentityProvider])
def test_who_is_deleted_leaves_no_session_that_goes_on(admin_client, session, model):
    base = PEOPLE if model is Person else PROVIDERS
    admin_client.post(f"{base}{model.objects.get().pk}/delete/", {"post": "yes"})
    assert (is_ended(), model.objects.exists()) == (True, False)


def test_selected_sessions_are_ended(admin_client, session):
    admin_client.post(SESSIONS, {"action": "end_selected", "_selected_action": ["sid-1"], **CONFIRMED})
    assert is_ended()


@pytest.mark.parametrize("url", [SESSIONS, SESSIONS + "sid-1/change/", SESSIONS + "?q=alice"])
def test_no_page_of_sessions_shows_a_token(admin_client, session, url):
    page = admin_client.get(url)
    assert page.status_code == 200
    assert session.sealed_refresh_token not in page.content.decode()


@pytest.mark.parametrize(
    "url",
    [SESSIONS + "?sealed_refresh_token__startswith=a", PROVIDERS + "?sealed_client_secret__startswith=a"],
)
def test_hidden_fields_cannot_be_asked_for_letter_by_letter(admin_client, session, url):
    assert admin_client.get(url).status_code == 400


def add_form(admin_client, **changes):
    values = form_values(admin_client, PROVIDERS + "add/?preset=google")
    return admin_client.post(PROVIDERS + "add/", {**values, "client_id": "gateway", **changes}, follow=True)


def test_an_empty_secret_makes_no_public_client(admin_client):
    page = add_form(admin_client)
    assert set(page.context["adminform"].form.errors) == {"client_secret"}
    assert not IdentityProvider.objects.exists()


def test_a_public_client_is_one_when_the_form_says_so(admin_client):
    add_form(admin_client, public_client="on")
    row = IdentityProvider.objects.get()
    assert row.sealed_client_secret == ""
    assert form_values(admin_client, f"{PROVIDERS}{row.pk}/change/")["public_client"]


def test_a_public_client_has_no_secret(admin_client):
    page = add_form(admin_client, public_client="on", client_secret="s3cr3t")
    assert set(page.context["adminform"].form.errors) == {"client_secret"}


def test_a_client_that_becomes_public_forgets_its_secret(admin_client, provider):
    change(admin_client, f"{PROVIDERS}{provider.pk}/change/", public_client="on")
    assert IdentityProvider.objects.get().sealed_client_secret == ""


def test_a_new_provider_is_not_live_before_it_was_tested(admin_client):
    page = add_form(admin_client, client_secret="s3cr3t")
    assert not IdentityProvider.objects.get().enabled
    assert "Not tested yet" in page.content.decode()


def test_a_change_that_the_connection_does_not_notice_asks_for_no_test(admin_client, provider):
    page = change(admin_client, f"{PROVIDERS}{provider.pk}/change/", name="Other")
    assert "Not tested yet" not in page.content.decode()


def test_the_form_takes_further_audiences(admin_client, provider):
    change(admin_client, f"{PROVIDERS}{provider.pk}/change/", further_audiences="proj-1 proj-2")
    assert IdentityProvider.objects.get().further_audiences == ["proj-1", "proj-2"]
