"""ID tokens for several audiences: only those that the operator named, and issued to us."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from authgate.models.people import IdentityProvider
from authgate.oidc.id_token import verify_refreshed
from authgate.oidc.login import Completed
from authgate.oidc.provider import ProviderClient
from authgate.outbound.errors import ProviderError
from tests.support.hostile import CLIENT_ID, USERINFO, HostileProvider
from tests.support.logins import Browser, make_provider, sign_in

pytestmark = pytest.mark.django_db
PROJECT = "proj-1"
BOTH = [CLIENT_ID, PROJECT]


@pytest.fixture
def hostile() -> Iterator[HostileProvider]:
    with HostileProvider() as provider:
        yield provider


def _sign_in(hostile: HostileProvider, further: Any = (PROJECT,), **claims: Any) -> Completed:
    hostile.claims |= claims
    provider = make_provider(hostile)
    provider.further_audiences = list(further) if isinstance(further, tuple) else further
    provider.save()
    return sign_in(hostile, provider)


@pytest.mark.parametrize("audience", [BOTH, BOTH[::-1], [*BOTH, "proj-2"]], ids=str)
def test_a_token_for_us_and_further_audiences_signs_in(hostile: HostileProvider, audience: list[str]) -> None:
    completed = _sign_in(hostile, (PROJECT, "proj-2"), aud=audience, azp=CLIENT_ID)

    assert completed.proven.subject == "alice"


REFUSED: dict[str, tuple[Any, dict[str, Any]]] = {
    "none is named": ((), {"aud": BOTH, "azp": CLIENT_ID}),
    "one is not named": ((PROJECT,), {"aud": [*BOTH, "proj-2"], "azp": CLIENT_ID}),
    "one is the start of a named one": ((PROJECT,), {"aud": [CLIENT_ID, "proj"], "azp": CLIENT_ID}),
    "one is in other letters": ((PROJECT,), {"aud": [CLIENT_ID, "Proj-1"], "azp": CLIENT_ID}),
    "one is no text": ((PROJECT,), {"aud": [*BOTH, 1], "azp": CLIENT_ID}),
    "one is a list": ((PROJECT,), {"aud": [*BOTH, [PROJECT]], "azp": CLIENT_ID}),
    "what is named is no list": ("xproj-1", {"aud": BOTH, "azp": CLIENT_ID}),
    "we are not among them": ((PROJECT, "proj-2"), {"aud": [PROJECT, "proj-2"], "azp": CLIENT_ID}),
    "only a further one": ((PROJECT,), {"aud": PROJECT, "azp": CLIENT_ID}),
    "no azp": ((PROJECT,), {"aud": BOTH}),
    "azp null": ((PROJECT,), {"aud": BOTH, "azp": None}),
    "azp empty": ((PROJECT,), {"aud": BOTH, "azp": ""}),
    "azp a list": ((PROJECT,), {"aud": BOTH, "azp": [CLIENT_ID]}),
    "azp the further one": ((PROJECT,), {"aud": BOTH, "azp": PROJECT}),
    "we are named twice without azp": ((), {"aud": [CLIENT_ID, CLIENT_ID]}),
}


@pytest.mark.parametrize(("further", "claims"), REFUSED.values(), ids=REFUSED)
def test_any_other_token_for_several_audiences_signs_nobody_in(
    hostile: HostileProvider, further: Any, claims: dict[str, Any]
) -> None:
    with pytest.raises(ProviderError) as refused:
        _sign_in(hostile, further, **claims)
    assert (refused.value.code, hostile.count(USERINFO)) == ("invalid_id_token", 0)


def test_a_refusal_names_the_audiences_that_are_not_known_and_nothing_that_could_forge_a_line(
    hostile: HostileProvider,
) -> None:
    with pytest.raises(ProviderError) as refused:
        _sign_in(hostile, aud=[*BOTH, "proj-2", "a\nb, c"], azp=CLIENT_ID)
    assert "also for proj-2, a?b??c, and" in refused.value.detail


def _refreshed(hostile: HostileProvider, further: list[str], **claims: Any) -> dict[str, Any]:
    provider = make_provider(hostile, further_audiences=further)
    client = ProviderClient(provider)
    return verify_refreshed(
        hostile.id_token(..., **claims), provider, client.metadata(), client.keys,
        original={"sub": "alice"}, now=time.time(),
    )  # fmt: skip


def test_a_refreshed_token_may_name_further_audiences(hostile: HostileProvider) -> None:
    assert _refreshed(hostile, [PROJECT], aud=BOTH, azp=CLIENT_ID)["sub"] == "alice"


@pytest.mark.parametrize(
    ("further", "claims"),
    [([], {"aud": BOTH, "azp": CLIENT_ID}), ([PROJECT], {"aud": BOTH}), ([PROJECT], {"aud": BOTH, "azp": PROJECT})],
    ids=["not named", "no azp", "azp of another"],
)
def test_a_refreshed_token_is_held_to_the_same(
    hostile: HostileProvider, further: list[str], claims: dict[str, Any]
) -> None:
    with pytest.raises(ProviderError, match="invalid_id_token"):
        _refreshed(hostile, further, **claims)


def test_a_sign_in_under_way_does_not_outlive_a_change_of_the_audiences(hostile: HostileProvider) -> None:
    from authgate.sessions import store

    hostile.claims |= {"aud": BOTH, "azp": CLIENT_ID}
    provider = make_provider(hostile, further_audiences=[PROJECT])
    browser = Browser()
    completed = browser.complete(hostile.authorize(browser.begin(provider).location))
    IdentityProvider.objects.update(further_audiences=[])

    with pytest.raises(ProviderError, match="changed since"):
        store.start(
            completed.proven, completed.tokens, completed.provider, host="", address="", user_agent="", replaces=None
        )


def test_the_client_id_is_no_further_audience_and_none_is_blank() -> None:
    from authgate.models.provider_rules import find_problems

    provider = IdentityProvider(slug="a", issuer="https://a.example", client_id="cid", further_audiences=["cid", " "])
    assert [field for field, _ in find_problems(provider)] == ["further_audiences"] * 2
