"""Who a subject is stays so: a provider that people are known by becomes no other one."""

from __future__ import annotations

import json

import pytest
from django.core.exceptions import ValidationError

from authgate.models.people import IdentityProvider, Person
from authgate.models.policy import Role, RoleGrant
from authgate.outbound.errors import ProviderError
from tests.authgate.sessions.test_store import start
from tests.support.admin import form_values, sign_in
from tests.support.databases import SIGN_IN, run_two

OAUTH2 = {
    "kind": "oauth2", "authorization_endpoint": "https://forge.example/authorize", "scopes": [],
    "token_endpoint": "https://forge.example/token", "userinfo_endpoint": "https://forge.example/user",
    "claim_mapping": {"sub": "id"}, "require_verified_email": False,
}  # fmt: skip
GITHUB = {"kind": "github", "scopes": ["read:user"]}
OIDC = {"issuer": "https://idp.example"}


def known(**values):
    provider = IdentityProvider.objects.create(slug="idp", name="IdP", client_id="gateway", **values)
    Person.objects.create(provider=provider, provider_subject="7")
    return provider


def refused(provider, **changes):
    """The fields beside which the change is refused, by the form's way and by the plain one alike."""
    for name, value in changes.items():
        setattr(provider, name, value)
    fields = []
    for way in (provider.clean, provider.save):
        with pytest.raises(ValidationError) as caught:
            way()
        fields.append(set(caught.value.message_dict))
    return fields[0] & fields[1]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("values", "changes"),
    [
        (OAUTH2, {"authorization_endpoint": "https://other.example/authorize"}),
        (OAUTH2, {"token_endpoint": "https://other.example/token"}),
        (OAUTH2, {"userinfo_endpoint": "https://other.example/user"}),
        (OAUTH2, {"claim_mapping": {"sub": "login"}}),
        (OAUTH2, {"claim_mapping": {}}),
        (OAUTH2, {"slug": "other"}),
        (OAUTH2, {"kind": "github"}),
        (GITHUB, {"userinfo_endpoint": "https://ghe.example/api/v3/user"}),
        (GITHUB, {"token_endpoint": "https://ghe.example/login/oauth/access_token"}),
        (OIDC, {"issuer": "https://idp.example/"}),
        (OIDC, {"slug": "other"}),
    ],
)
def test_what_decides_who_a_subject_is_stays_once_people_are_known(values, changes):
    assert set(changes) <= refused(known(**values), **changes)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": "another", "claim_mapping": {"sub": "id", "email": "mail", "groups": "teams"}},
        {"require_verified_email": True, "allowed_domains": ["example.com"], "session_idle": 60},
    ],
)
def test_what_decides_nothing_of_the_kind_may_change(changes):
    provider = known(**OAUTH2)
    for name, value in changes.items():
        setattr(provider, name, value)
    provider.full_clean()
    provider.save()


@pytest.mark.django_db
def test_before_anybody_is_known_everything_may_change():
    provider = IdentityProvider.objects.create(slug="idp", name="IdP", client_id="gateway", **OAUTH2)
    provider.userinfo_endpoint = "https://other.example/user"
    provider.full_clean()
    provider.save()


@pytest.mark.django_db
@pytest.mark.parametrize(
    "changes", [{"claim_mapping": {"email": "upn"}}, {"require_verified_email": False}], ids=["mapping", "verified"]
)
@pytest.mark.parametrize(("claim", "at", "is_refused"), [("email", "", 1), ("email", "other", 0), ("groups", "", 0)])
def test_which_address_counts_stays_while_roles_hang_on_it(changes, claim, at, is_refused):
    provider, role = known(**OIDC), Role.objects.create(name="admin")
    RoleGrant.objects.create(role=role, operator="equals", claim=claim, value="boss@example.com", provider=at)
    if is_refused:
        assert refused(provider, **changes) == set(changes)
    else:
        for name, value in changes.items():
            setattr(provider, name, value)
        provider.save()


@pytest.mark.django_db
def test_the_form_says_it_beside_the_field_and_changes_nothing(client):
    provider = known(**OAUTH2)
    url = f"/admin/authgate/identityprovider/{provider.pk}/change/"
    browser = sign_in(client)
    values = form_values(browser, url) | {"claim_mapping": "sub = login", "scopes": "", "allowed_domains": ""}
    page = browser.post(url, values)
    assert list(page.context["adminform"].form.errors) == ["claim_mapping"]
    provider.refresh_from_db()
    assert provider.claim_mapping == {"sub": "id"}


@pytest.mark.django_db
@pytest.mark.parametrize(
    "change", [{"issuer": "https://other.example"}, {"allowed_domains": ["example.com"]}], ids=["issuer", "domains"]
)
def test_a_sign_in_proven_before_a_change_does_not_count_after_it(change):
    provider = IdentityProvider.objects.create(slug="idp", client_id="gateway", **OIDC)
    IdentityProvider.objects.filter(pk=provider.pk).update(**change)
    with pytest.raises(ProviderError, match="login_expired"):
        start(provider)
    assert not Person.objects.exists()


CHANGE = "provider.issuer = 'https://other.example'; provider.save()"
CLEAN = "provider.issuer = 'https://other.example'; provider.clean()"
SETUP = """
from authgate.models.people import IdentityProvider, Person
IdentityProvider.objects.create(slug="idp", client_id="gateway", issuer="https://idp.example")
def load():
    return {"provider": IdentityProvider.objects.get()}
"""


@pytest.mark.parametrize(
    ("first", "second", "problem"),
    [
        (SIGN_IN, CHANGE, "ValidationError"),
        (SIGN_IN, CLEAN, "ValidationError"),
        (CHANGE, SIGN_IN, "ProviderError"),
    ],
    ids=["a sign-in, then the change", "a sign-in, then the form", "the change, then a sign-in"],
)
def test_of_a_first_sign_in_and_a_change_at_the_same_time_one_is_refused(database, first, second, problem):
    result = json.loads(run_two(database, SETUP, first, second))
    assert result == ["", problem]
