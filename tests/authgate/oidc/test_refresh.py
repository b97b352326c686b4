"""ID tokens that come with a refresh (OpenID Connect Core 12.2)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from authgate.oidc.id_token import verify_refreshed
from authgate.oidc.provider import ProviderClient
from authgate.outbound.errors import ProviderError
from tests.support.hostile import HostileProvider, broken, unsigned
from tests.support.logins import make_provider

pytestmark = pytest.mark.django_db


@pytest.fixture
def hostile() -> Iterator[HostileProvider]:
    with HostileProvider() as provider:
        yield provider


def _verify(hostile: HostileProvider, raw: str) -> dict[str, Any]:
    provider = make_provider(hostile)
    client = ProviderClient(provider)
    original = {"iss": hostile.url, "sub": "alice", "nonce": "the-nonce", "auth_time": 1000}
    return verify_refreshed(raw, provider, client.metadata(), client.keys, original=original, now=time.time())


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"nonce": "the-nonce"}, id="the same nonce"),
        pytest.param({"nonce": ...}, id="no nonce"),
        pytest.param({"nonce": ..., "auth_time": 1000}, id="the same auth_time"),
    ],
)
def test_a_refreshed_token_of_the_same_sign_in_is_accepted(hostile: HostileProvider, changes: dict[str, Any]) -> None:
    assert _verify(hostile, hostile.id_token(**changes))["sub"] == "alice"


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"iss": "https://other.example"}, id="oidcc-client-test-refresh-token-invalid-issuer"),
        pytest.param({"sub": "alice1"}, id="oidcc-client-test-refresh-token-invalid-sub"),
        pytest.param({"nonce": "the-nonce1"}, id="another nonce"),
        pytest.param({"nonce": ..., "auth_time": 2000}, id="another auth_time"),
        pytest.param({"nonce": ..., "aud": "other"}, id="another audience"),
        pytest.param({"nonce": ..., "exp": 1000}, id="expired"),
    ],
)
def test_a_refreshed_token_of_anything_else_is_refused(hostile: HostileProvider, changes: dict[str, Any]) -> None:
    with pytest.raises(ProviderError, match="invalid_id_token"):
        _verify(hostile, hostile.id_token(**changes))


@pytest.mark.parametrize("change", [broken, unsigned])
def test_a_refreshed_token_is_never_taken_unproven(hostile: HostileProvider, change: Any) -> None:
    with pytest.raises(ProviderError, match="invalid_id_token"):
        _verify(hostile, change(hostile.id_token(nonce=...)))
