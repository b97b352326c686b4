from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.utils import timezone

from authgate.authn.tokens import MAX_TTL
from authgate.models.trust import RevokedToken, SigningKey
from authgate.state.trust import load_trust
from tests.support.admin import sign_in

pytestmark = pytest.mark.django_db
KEYS, REVOKED = "/admin/authgate/signingkey/", "/admin/authgate/revokedtoken/"


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


@pytest.mark.parametrize("place", ["https://evil.example/", "//evil.example", "javascript:alert(1)", ""])
def test_whoever_signs_in_with_a_bad_next_lands_in_the_admin(client, settings, place):
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    User.objects.create_superuser("root", password="right")
    answer = client.post("/admin/login/", {"username": "root", "password": "right", "next": place})
    assert (answer.status_code, answer["Location"]) == (302, "/admin/")
