"""Plain OAuth 2.0: no discovery, no ID token; a userinfo endpoint says who somebody is, in words of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.core.exceptions import ValidationError

from authgate.models.people import IdentityProvider
from authgate.oidc.diagnose import diagnose
from authgate.oidc.login import Completed
from authgate.outbound.errors import ProviderError
from authgate.sessions import store
from authgate.sessions.refresh import refresh
from tests.support.hostile import DISCOVERY, HostileProvider
from tests.support.logins import Browser, make_provider, sign_in

pytestmark = pytest.mark.django_db


@pytest.fixture
def hostile() -> Iterator[HostileProvider]:
    with HostileProvider() as provider:
        provider.token = {"id_token": ...}
        provider.userinfo = {"sub": ..., "id": 42, "mail": "alice@example.com", "full": {"name": "Alice"}}
        yield provider


def plain(hostile: HostileProvider, **changes: Any) -> IdentityProvider:
    values: dict[str, Any] = {
        "slug": "plain",
        "kind": "oauth2",
        "issuer": "",
        "authorization_endpoint": f"{hostile.url}/authorize",
        "token_endpoint": f"{hostile.url}/token",
        "userinfo_endpoint": f"{hostile.url}/userinfo",
        "scopes": ["read_user"],
        "claim_mapping": {"sub": "id", "email": "mail", "name": "full.name"},
        "require_verified_email": False,
        **changes,
    }
    provider = make_provider(hostile, **values)
    provider.full_clean()
    return provider


def test_somebody_signs_in_and_is_who_userinfo_says(hostile: HostileProvider) -> None:
    proven = sign_in(hostile, plain(hostile)).proven

    assert (proven.subject, proven.name, proven.email) == ("42", "Alice", "alice@example.com")
    assert hostile.count(DISCOVERY) == 0


def test_it_is_asked_with_pkce_and_state_and_without_a_nonce(hostile: HostileProvider) -> None:
    asked = parse_qs(urlsplit(Browser().begin(plain(hostile)).location).query)

    assert (asked["code_challenge_method"], asked["scope"], "nonce" in asked) == (["S256"], ["read_user"], False)


@pytest.mark.parametrize("number", [None, 0, -1, 4.5, True, [42], {"x": 1}, "", " 42", "a\nb"])
def test_without_a_usable_subject_nobody_comes_in(hostile: HostileProvider, number: Any) -> None:
    hostile.userinfo["id"] = number

    with pytest.raises(ProviderError, match="userinfo_failed"):
        sign_in(hostile, plain(hostile))


def test_a_verified_address_can_be_asked_for(hostile: HostileProvider) -> None:
    with pytest.raises(ProviderError, match="not_allowed"):
        sign_in(hostile, plain(hostile, require_verified_email=True))


def _session(completed: Completed) -> Any:
    return store.start(
        completed.proven, completed.tokens, completed.provider, host="", address="", user_agent="", replaces=None
    )  # fmt: skip


@pytest.mark.parametrize(("number", "survives"), [(42, True), (43, False)])
def test_a_refresh_asks_again_and_is_about_the_same_person(
    hostile: HostileProvider, number: int, survives: bool
) -> None:
    session = _session(sign_in(hostile, plain(hostile)))
    type(session).objects.update(refresh_at=session.created_at)
    hostile.userinfo |= {"id": number, "groups": ["staff"]}
    refreshed = refresh(session)

    assert (refreshed.claims.get("groups") if refreshed else None) == (["staff"] if survives else None)


@pytest.mark.parametrize("kept", ["no-JWT", None], ids=["opaque", "signed"])
def test_an_id_token_that_nobody_verifies_is_not_kept_and_says_nothing(
    hostile: HostileProvider, kept: str | None
) -> None:
    hostile.token = {"id_token": kept or hostile.id_token(groups=["platform-admins"], sub="mallory")}
    session = _session(sign_in(hostile, plain(hostile)))
    type(session).objects.update(refresh_at=session.created_at)
    refreshed = refresh(session)

    assert session.sealed_id_token == "" and refreshed is not None
    assert (refreshed.person.provider_subject, "groups" in refreshed.claims) == ("42", False)


@pytest.mark.parametrize("name", ["authorization_endpoint", "token_endpoint", "userinfo_endpoint"])
def test_each_endpoint_has_to_be_given(hostile: HostileProvider, name: str) -> None:
    with pytest.raises(ValidationError, match="is needed for OAuth"):
        plain(hostile, **{name: ""})


def test_the_subject_of_openid_connect_is_not_the_operators_to_choose(hostile: HostileProvider) -> None:
    with pytest.raises(ValidationError, match="'sub' is not one of email, name, groups"):
        plain(hostile, kind="oidc", issuer=hostile.url, scopes=["openid"])


def test_its_connection_can_be_tested(hostile: HostileProvider) -> None:
    findings = diagnose(plain(hostile))

    assert [finding.what for finding in findings] == [
        "client",
        "discovery",
        "endpoints",
        "credentials",
        "claims",
        "clock",
    ]
    assert all(finding.ok for finding in findings)


def test_openid_connect_works_with_endpoints_that_are_given_too(hostile: HostileProvider) -> None:
    paths = {"authorization_endpoint": "/authorize", "token_endpoint": "/token", "jwks_uri": "/jwks"}
    provider = make_provider(hostile, **{name: hostile.url + path for name, path in paths.items()})
    hostile.token = {}

    assert sign_in(hostile, provider).proven.subject == "alice"
    assert hostile.count(DISCOVERY) == 0
