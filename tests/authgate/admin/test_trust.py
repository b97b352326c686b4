from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from authgate.authn.tokens import MAX_TTL
from authgate.models.trust import RevokedToken, SigningKey, StateVersion
from authgate.state.trust import load_trust
from tests.support.admin import sign_in
from tests.support.operators import CONFIRMED

pytestmark = pytest.mark.django_db
KEYS, REVOKED = "/admin/authgate/signingkey/", "/admin/authgate/revokedtoken/"


@pytest.fixture
def admin_client(client):
    return sign_in(client)


def trust_version():
    return StateVersion.objects.get(name="trust").value


@pytest.mark.parametrize("url", [KEYS, KEYS + "{pk}/change/"])
def test_no_page_shows_a_private_key(admin_client, url):
    load_trust()
    for key in SigningKey.objects.all():
        response = admin_client.get(url.format(pk=key.pk))
        assert key.kid in response.content.decode()
        assert key.private_key not in response.content.decode()


def test_a_new_key_signs_and_the_old_one_goes_on_verifying(admin_client):
    old = load_trust().token_signer
    admin_client.post(KEYS + "add/", {"purpose": "tokens", "algorithm": "ES256", "at_once": "on"})
    trust = load_trust()
    assert (trust.token_signer.algorithm, set(trust.token_keys)) == (
        "ES256",
        {old.kid, trust.token_signer.kid},
    )


def test_a_new_key_is_published_an_hour_before_it_signs(admin_client):
    old = load_trust().token_signer
    page = admin_client.post(KEYS + "add/", {"purpose": "tokens", "algorithm": "ES256"}, follow=True)
    new = SigningKey.objects.get(algorithm="ES256", purpose="tokens")
    assert f"signs from {new.signs_from:%H:%M} UTC on" in page.content.decode()
    trust = load_trust()
    assert (trust.token_signer.kid, new.kid in trust.jwks.decode()) == (old.kid, True)
    assert timedelta(minutes=59) < new.signs_from - timezone.now() <= timedelta(hours=1)


def test_a_retired_key_verifies_no_more_and_the_workers_are_told(admin_client):
    old, before = load_trust().token_signer, trust_version()
    pk = SigningKey.objects.get(kid=old.kid).pk
    admin_client.post(KEYS, {"action": "retire", "_selected_action": [pk], **CONFIRMED})
    assert trust_version() > before
    assert old.kid not in load_trust().token_keys


def test_a_key_is_neither_edited_nor_deleted(admin_client):
    load_trust()
    key = SigningKey.objects.first()
    assert admin_client.post(f"{KEYS}{key.pk}/change/", {"algorithm": "RS256"}).status_code == 403
    assert admin_client.post(f"{KEYS}{key.pk}/delete/", {"post": "yes"}).status_code == 403


def test_a_revoked_token_is_refused_by_the_next_snapshot(admin_client):
    later = timezone.now() + timedelta(hours=1)
    values = {"jti": "abc", "reason": "lost", "expires_at": f"{later:%Y-%m-%dT%H:%M:%S}"}
    load_trust()
    before = trust_version()
    assert admin_client.post(REVOKED + "add/", values).status_code == 302
    assert (trust_version() > before, load_trust().revoked) == (True, {"abc"})


@pytest.mark.parametrize("many", [False, True])
def test_nobody_takes_a_revocation_back(admin_client, many):
    row = RevokedToken.objects.create(jti="abc", expires_at=timezone.now() + timedelta(hours=1))
    if many:
        values = {"action": "delete_selected", "post": "yes", "_selected_action": [row.pk]}
        admin_client.post(REVOKED, values)
    else:
        assert admin_client.post(f"{REVOKED}{row.pk}/delete/", {"post": "yes"}).status_code == 403
    assert load_trust().revoked == {"abc"}


def undo_by_deleting(row):
    row.delete()


def undo_by_deleting_all(row):
    RevokedToken.objects.all().delete()


def undo_by_renaming(row):
    row.jti = "another"
    row.save()


def undo_by_shortening(row):
    row.expires_at = timezone.now()
    row.save()


@pytest.mark.parametrize(
    "undo",
    [undo_by_deleting, undo_by_deleting_all, undo_by_renaming, undo_by_shortening],
    ids=lambda undo: undo.__name__,
)
def test_a_revocation_is_undone_in_no_other_way(undo):
    row = RevokedToken.objects.create(jti="abc", expires_at=timezone.now() + timedelta(hours=1))
    with pytest.raises(ValidationError, match="stays revoked"), transaction.atomic():
        undo(row)
    assert load_trust().revoked == {"abc"}


def test_a_revocation_may_be_extended_and_goes_once_it_means_nothing():
    row = RevokedToken.objects.create(jti="abc", expires_at=timezone.now() - timedelta(hours=1))
    row.reason = "lost"
    row.save()
    row.delete()
    assert not RevokedToken.objects.exists()


def test_a_retired_key_stays_retired():
    load_trust()
    key = SigningKey.objects.first()
    key.retired_at = timezone.now()
    key.save()
    key.retired_at = None
    with pytest.raises(ValidationError, match="stays retired"):
        key.save()


@pytest.fixture
def viewer(client):
    """Staff who may look at the keys, and no more."""
    user = User.objects.create(username="viewer", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_signingkey"))
    client.force_login(user)
    return client


LOOKUPS = ("private_key__startswith", "private_key", "private_key__regex", "public_jwk__x__startswith")


@pytest.mark.parametrize("lookup", LOOKUPS)
def test_a_private_key_is_not_guessed_letter_by_letter(viewer, lookup):
    load_trust()
    key = SigningKey.objects.first()
    assert viewer.get(KEYS, {lookup: key.private_key[:20]}).status_code == 400


def test_the_keys_can_be_filtered_by_what_the_list_offers(viewer):
    load_trust()
    page = viewer.get(KEYS, {"purpose__exact": "tokens"})
    assert (page.status_code, page.context["cl"].result_count) == (200, 1)


def test_a_revocation_outlasts_every_token_whatever_the_form_says(client):
    before = timezone.now()
    values = {"jti": "abc", "reason": "lost", "expires_at": f"{before - timedelta(days=1):%Y-%m-%dT%H:%M:%S}"}
    assert sign_in(client).post(REVOKED + "add/", values).status_code == 302
    assert RevokedToken.objects.get().expires_at >= before + timedelta(seconds=MAX_TTL)
    assert load_trust().revoked == {"abc"}
