"""ID tokens of people in very many groups, and keys that change under one name."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from authgate.models.people import Session
from authgate.outbound.errors import ProviderError
from authgate.sessions import store
from tests.support.hostile import JWKS, HostileProvider, signing_key
from tests.support.logins import make_provider, sign_in

pytestmark = pytest.mark.django_db
GROUPS = [f"a-group-with-a-rather-long-name-as-directories-have-them-in-large-companies-{n:04}" for n in range(190)]


@pytest.fixture
def hostile() -> Iterator[HostileProvider]:
    with HostileProvider() as provider:
        yield provider


@pytest.mark.parametrize("times", [1, 40], ids=["20 KB", "800 KB"])
def test_somebody_in_very_many_groups_signs_in(hostile: HostileProvider, times: int) -> None:
    hostile.claims["groups"] = [f"{n}-{group}" for n in range(times) for group in GROUPS]

    assert len(sign_in(hostile, make_provider(hostile)).proven.claims["groups"]) == 190 * times


def test_tokens_that_do_not_fit_into_the_answers_bound_sign_nobody_in(hostile: HostileProvider) -> None:
    hostile.claims["groups"] = GROUPS * 60

    with pytest.raises(ProviderError, match="token_exchange_failed") as refused:
        sign_in(hostile, make_provider(hostile))
    assert "more than 1048576 bytes" in refused.value.detail


def test_an_access_token_with_very_many_groups_is_taken(hostile: HostileProvider) -> None:
    hostile.metadata["userinfo_endpoint"] = ...
    hostile.token["access_token"] = "a" * 100_000

    assert sign_in(hostile, make_provider(hostile)).proven.subject == "alice"


def test_claims_that_are_not_kept_are_logged_with_their_names(
    hostile: HostileProvider, caplog: pytest.LogCaptureFixture
) -> None:
    hostile.claims |= {"groups": GROUPS * 20, "about\nme": "nul \x00", "fine": "a"}
    completed = sign_in(hostile, make_provider(hostile))
    store.start(
        completed.proven, completed.tokens, completed.provider, host="", address="", user_agent="", replaces=None
    )

    assert "fine" in Session.objects.get().claims
    (line,) = [record.getMessage() for record in caplog.records if "claims" in record.getMessage()]
    assert "test|alice" in line and "about?me, groups" in line and "fine" not in line and "a-group" not in line


def test_a_key_that_was_replaced_under_its_name_is_fetched_once_more(hostile: HostileProvider) -> None:
    provider = make_provider(hostile)
    sign_in(hostile, provider)
    hostile.key, hostile.header["kid"] = signing_key(kid="replaced"), "first"
    hostile.published = [{**hostile.key.jwk, "kid": "first"}]

    assert sign_in(hostile, provider).proven.subject == "alice"
    assert hostile.count(JWKS) == 2


def test_wrong_signatures_under_a_known_name_cost_one_fetch_a_minute(hostile: HostileProvider) -> None:
    provider = make_provider(hostile)
    sign_in(hostile, provider)
    hostile.key, hostile.header["kid"] = signing_key(kid="stranger"), "first"

    for _ in range(5):
        with pytest.raises(ProviderError, match=r"invalid_id_token|provider_unavailable"):
            sign_in(hostile, provider)
    assert hostile.count(JWKS) == 2
