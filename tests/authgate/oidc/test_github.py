"""GitHub: no ID token, its API says who somebody is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from authgate.models.people import IdentityProvider
from authgate.outbound.errors import ProviderError
from tests.support.hostile import HostileProvider, Reply, Seen
from tests.support.logins import Browser, make_provider, sign_in

pytestmark = pytest.mark.django_db


@pytest.fixture
def hostile() -> Iterator[HostileProvider]:
    with HostileProvider() as provider:
        provider.token = {"id_token": ..., "refresh_token": ..., "expires_in": ...}
        answers: dict[str, Any] = {
            "/user": {"id": 7, "login": "alice", "name": None, "email": "public@unproven.example"},
            "/user/emails": [
                {"email": "old@example.com", "primary": False, "verified": True},
                {"email": "alice@example.com", "primary": True, "verified": True},
            ],
            "/user/orgs": [{"login": "acme"}],
            "/user/teams": [{"slug": "admins", "organization": {"login": "acme"}}],
        }
        for path, answer in answers.items():
            say(provider, path, answer)
        yield provider


def say(hostile: HostileProvider, path: str, body: Any, status: int = 200) -> None:
    hostile.answers[path] = lambda seen: Reply(status, body)


def github(hostile: HostileProvider, **changes: Any) -> IdentityProvider:
    values: dict[str, Any] = {
        "slug": "github",
        "kind": "github",
        "issuer": "",
        "authorization_endpoint": f"{hostile.url}/authorize",
        "token_endpoint": f"{hostile.url}/token",
        "userinfo_endpoint": f"{hostile.url}/user",
        "scopes": ["read:user", "user:email", "read:org"],
        **changes,
    }
    return make_provider(hostile, **values)


def test_somebody_is_known_by_their_number_not_by_a_name_that_can_change_hands(hostile: HostileProvider) -> None:
    proven = sign_in(hostile, github(hostile)).proven

    assert (proven.subject, proven.name, proven.email) == ("7", "alice", "alice@example.com")


def test_groups_are_organisations_and_teams(hostile: HostileProvider) -> None:
    assert sign_in(hostile, github(hostile)).proven.claims["groups"] == ["acme", "acme/admins"]


def test_the_public_address_of_a_profile_proves_nothing(hostile: HostileProvider) -> None:
    say(hostile, "/user/emails", [])

    with pytest.raises(ProviderError, match="not_allowed"):
        sign_in(hostile, github(hostile))


def test_an_address_that_is_not_verified_is_refused(hostile: HostileProvider) -> None:
    say(hostile, "/user/emails", [{"email": "alice@example.com", "primary": True, "verified": False}])

    with pytest.raises(ProviderError, match="not_allowed"):
        sign_in(hostile, github(hostile))


def test_the_authorization_request_has_pkce_and_no_nonce(hostile: HostileProvider) -> None:
    asked = parse_qs(urlsplit(Browser().begin(github(hostile)).location).query)

    assert "code_challenge" in asked and "nonce" not in asked


def test_long_lists_are_read_page_by_page(hostile: HostileProvider) -> None:
    def page(seen: Seen) -> Reply:
        number = int(parse_qs(urlsplit(seen.path).query)["page"][0])
        return Reply(body=[{"login": f"org{number}-{i}"} for i in range(100 if number < 3 else 5)])

    hostile.answers["/user/orgs"] = page
    groups = sign_in(hostile, github(hostile)).proven.claims["groups"]
    assert len(groups) == 206 and "org3-4" in groups


def test_a_list_without_end_is_refused(hostile: HostileProvider) -> None:
    say(hostile, "/user/orgs", [{"login": "acme"}] * 100)

    with pytest.raises(ProviderError, match="userinfo_failed"):
        sign_in(hostile, github(hostile))
    assert hostile.count("/user/orgs") == 10


def test_organisations_are_asked_only_with_their_scope(hostile: HostileProvider) -> None:
    proven = sign_in(hostile, github(hostile, scopes=["read:user", "user:email"])).proven

    assert "groups" not in proven.claims and hostile.count("/user/orgs") == 0


@pytest.mark.parametrize("path", ["/user", "/user/emails", "/user/orgs", "/user/teams"])
def test_a_part_that_fails_is_an_error_not_a_smaller_person(hostile: HostileProvider, path: str) -> None:
    say(hostile, path, {"message": "no"}, 403)

    with pytest.raises(ProviderError, match="userinfo_failed"):
        sign_in(hostile, github(hostile))


@pytest.mark.parametrize("number", [None, "7", True, 0, -1])
def test_a_user_without_a_number_is_refused(hostile: HostileProvider, number: Any) -> None:
    say(hostile, "/user", {"id": number, "login": "alice"})

    with pytest.raises(ProviderError, match="userinfo_failed"):
        sign_in(hostile, github(hostile))


def test_an_error_inside_a_200_is_an_error(hostile: HostileProvider) -> None:
    hostile.token = {"error": "bad_verification_code", "access_token": ...}

    with pytest.raises(ProviderError, match="bad_verification_code"):
        sign_in(hostile, github(hostile))
