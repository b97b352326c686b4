"""Who may come in, by what the provider vouches for; and what their claims are called here."""

from __future__ import annotations

from typing import Any

import pytest

from authgate.models.people import IdentityProvider
from authgate.oidc.claims import ProvenPerson, is_still_allowed, person_claims
from authgate.outbound.errors import ProviderError


def _prove(claims: dict[str, Any], userinfo: dict[str, Any] | None = None, **changes: Any) -> ProvenPerson:
    provider = IdentityProvider(slug="test", **changes)
    verified = {"sub": "alice", "email": "alice@example.com", "email_verified": True}
    return person_claims(provider, {**verified, **claims}, userinfo or {})


@pytest.mark.parametrize("email", ["alice@example.com", "alice@EXAMPLE.com"])
def test_an_address_in_an_allowed_domain_comes_in(email: str) -> None:
    assert _prove({"email": email}, allowed_domains=["Example.com"]).email == email


@pytest.mark.parametrize(
    "email",
    [
        "alice@evil-example.com", "alice@example.com.evil.net", "alice@sub.example.com", "a@example.com@evil.net",
        "alice@evil.net@example.com", "alice@example.com ", "alice@", "@example.com", "example.com", "",
        "alice@example.com\n", "alice@evil.net\r\n@example.com", "alice @example.com", "alice@example.com.", None, 7,
        ["alice@example.com"],
    ],
)  # fmt: skip
def test_an_address_that_only_looks_like_an_allowed_one_stays_out(email: Any) -> None:
    with pytest.raises(ProviderError, match="not_allowed"):
        _prove({"email": email}, allowed_domains=["example.com"], require_verified_email=False)


@pytest.mark.parametrize("domains", [[""], [" "], ["@"], [None]])
def test_an_empty_domain_admits_nobody(domains: list[Any]) -> None:
    with pytest.raises(ProviderError, match="not_allowed"):
        _prove({}, allowed_domains=domains)


def test_without_an_address_nobody_has_a_verified_one() -> None:
    with pytest.raises(ProviderError, match="not_allowed"):
        _prove({"email": ...})


def test_an_unverified_address_is_taken_where_the_operator_says_so() -> None:
    assert _prove({"email_verified": False}, require_verified_email=False).email == "alice@example.com"


def test_userinfo_may_vouch_for_the_same_address() -> None:
    userinfo = {"sub": "alice", "email": "alice@example.com", "email_verified": True}

    assert _prove({"email_verified": None}, userinfo).email == "alice@example.com"


def test_claims_are_found_under_mapped_names_and_paths() -> None:
    mapping = {"email": "upn", "name": "https://example.com/name", "groups": "realm_access.roles"}
    given = {"upn": "al@example.com", "https://example.com/name": "Al", "realm_access": {"roles": ["staff"]}}
    proven = _prove({**given, "email": "other@example.com"}, claim_mapping=mapping, require_verified_email=False)

    assert (proven.email, proven.name, proven.claims["groups"]) == ("al@example.com", "Al", ["staff"])


def test_an_address_from_another_claim_is_vouched_for_by_nobody() -> None:
    with pytest.raises(ProviderError, match="not_allowed"):
        _prove({"preferred_username": "ceo@example.com"}, claim_mapping={"email": "preferred_username"})


def test_a_mapped_address_that_is_the_verified_one_is_verified() -> None:
    mapping = {"email": "upn"}
    assert _prove({"upn": "alice@example.com"}, claim_mapping=mapping).email == "alice@example.com"


def test_where_a_mapping_points_elsewhere_what_is_called_groups_is_not_meant() -> None:
    proven = _prove({"groups": ["platform-admins"]}, claim_mapping={"groups": "realm_access.roles"})
    assert "groups" not in proven.claims


def test_the_id_token_has_the_last_word() -> None:
    assert _prove({"groups": ["few"]}, {"groups": ["many"]}).claims["groups"] == ["few"]


@pytest.mark.parametrize("name", ["", "a\nb", 7, None, " x"])
def test_a_name_that_is_no_text_is_left_out(name: Any) -> None:
    assert _prove({"name": name}).name == ""


@pytest.mark.parametrize(
    ("claims", "rules", "is_allowed"),
    [
        ({}, {}, True),
        ({"email_verified": False}, {"require_verified_email": False}, True),
        ({"email_verified": False}, {}, False),
        ({}, {"allowed_domains": ["example.com"]}, True),
        ({}, {"allowed_domains": ["example.org"]}, False),
        ({"email": ""}, {"require_verified_email": False}, True),
        ({"email": None}, {"require_verified_email": False, "allowed_domains": ["example.com"]}, False),
        ({"email_verified": "true"}, {}, False),
    ],
)
def test_what_was_kept_is_held_against_the_rules_of_today(
    claims: dict[str, Any], rules: dict[str, Any], is_allowed: bool
) -> None:
    kept = {"email": "alice@example.com", "email_verified": True, **claims}

    assert is_still_allowed(IdentityProvider(slug="test", **rules), kept) is is_allowed


def test_what_is_kept_says_whether_the_very_address_was_vouched_for() -> None:
    mapping = {"email": "upn"}
    proven = _prove({"upn": "ceo@example.com"}, claim_mapping=mapping, require_verified_email=False)

    assert (proven.claims["email"], proven.claims["email_verified"]) == ("ceo@example.com", False)
