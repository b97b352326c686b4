"""What the operator reads when somebody is refused, or let in without their groups: names and flags, nobody's data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from authgate.outbound.errors import ProviderError
from tests.support.hostile import HostileProvider
from tests.support.logins import make_provider, sign_in

pytestmark = pytest.mark.django_db


@pytest.fixture
def hostile() -> Iterator[HostileProvider]:
    with HostileProvider() as provider:
        yield provider


def _refusal(hostile: HostileProvider, **rules: Any) -> str:
    with pytest.raises(ProviderError) as refused:
        sign_in(hostile, make_provider(hostile, **rules))
    assert refused.value.code == "not_allowed"
    return refused.value.detail


def test_a_refusal_names_the_rule_and_the_claims_that_came(hostile: HostileProvider) -> None:
    hostile.claims |= {"email_verified": ..., "nickname": "al"}
    hostile.userinfo |= {"phone_number": "+1 555"}

    said = _refusal(hostile)
    assert 'the rule "only with a verified e-mail address" refuses: nothing vouches for the e-mail address' in said
    assert "email_verified is missing in the ID token and missing in userinfo" in said
    assert "claims of the ID token: aud, email, exp, iat, iss, name, nickname, nonce, sub;" in said
    assert said.endswith("claims of userinfo: phone_number, sub")


def test_a_refusal_tells_nothing_personal(hostile: HostileProvider) -> None:
    hostile.claims |= {"email_verified": "alice's own text", "phone_number": "+1 555"}

    said = _refusal(hostile)
    assert not any(value in said for value in ("alice", "Alice", "example.com", "+1 555"))
    assert "email_verified is no boolean in the ID token" in said


def test_a_flag_that_came_as_text_is_told_as_it_came(hostile: HostileProvider) -> None:
    hostile.claims["email_verified"] = "true"

    assert 'email_verified is the text "true", which is no boolean, in the ID token' in _refusal(hostile)


def test_a_refused_domain_names_the_rule(hostile: HostileProvider) -> None:
    said = _refusal(hostile, allowed_domains=["example.org"])

    assert 'the rule "allowed e-mail domains" refuses: the e-mail address is in none of them' in said


def test_names_of_claims_are_bounded_and_forge_no_line(hostile: HostileProvider) -> None:
    hostile.claims |= {"email_verified": ..., "a\nb, c": 1, "l" * 500: 1, **{f"x{n}": 1 for n in range(500)}}

    said = _refusal(hostile)
    assert "a?b??c" in said and "\n" not in said and "and more" in said and len(said) < 5000


ODD: dict[str, tuple[dict[str, Any], str]] = {
    "too many groups at Entra": ({"_claim_names": {"groups": "src1"}}, "withheld the groups, too many for a token"),
    "too many groups in an implicit token": ({"hasgroups": True}, "withheld the groups, too many for a token"),
    "full paths of Keycloak": ({"groups": ["/staff"]}, 'the groups begin with "/"'),
}


@pytest.mark.parametrize(("claims", "words"), ODD.values(), ids=ODD)
def test_groups_that_grants_would_miss_are_told(
    hostile: HostileProvider, caplog: pytest.LogCaptureFixture, claims: dict[str, Any], words: str
) -> None:
    hostile.claims |= claims
    sign_in(hostile, make_provider(hostile))

    (line,) = [record.getMessage() for record in caplog.records if "sign-in of test|alice" in record.getMessage()]
    assert words in line and "staff" not in line


def test_usual_groups_are_told_nowhere(hostile: HostileProvider, caplog: pytest.LogCaptureFixture) -> None:
    hostile.claims |= {"groups": ["staff"], "_claim_names": {"address": "src1"}}
    sign_in(hostile, make_provider(hostile))

    assert not caplog.records
