"""Signing in at a provider that answers as it should."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from urllib.parse import parse_qs, quote_plus, urlsplit

import pytest

from authgate.oidc.provider import ProviderClient
from authgate.outbound.errors import ProviderError
from tests.support.hostile import (
    CLIENT_ID,
    CLIENT_SECRET,
    JWKS,
    TOKEN,
    USERINFO,
    HostileProvider,
    Reply,
    half_hash,
    signing_key,
)
from tests.support.logins import ORIGIN, Browser, make_provider, sign_in

pytestmark = pytest.mark.django_db


@pytest.fixture
def hostile() -> Iterator[HostileProvider]:
    with HostileProvider() as provider:
        yield provider


def _asked(location: str) -> dict[str, list[str]]:
    return parse_qs(urlsplit(location).query)


def _token_request(hostile: HostileProvider) -> dict[str, str]:
    return next(seen for seen in hostile.seen if seen.path == TOKEN).form


def test_somebody_who_signs_in_is_known_by_subject_email_and_name(hostile: HostileProvider) -> None:
    proven = sign_in(hostile, make_provider(hostile)).proven

    assert (proven.subject, proven.email, proven.name) == ("alice", "alice@example.com", "Alice")


def test_a_sign_in_leads_where_it_was_asked_to(hostile: HostileProvider) -> None:
    assert sign_in(hostile, make_provider(hostile)).next == "/wiki"


def test_the_authorization_request_has_each_parameter_once(hostile: HostileProvider) -> None:
    asked = _asked(Browser().begin(make_provider(hostile)).location)

    assert all(len(values) == 1 for values in asked.values())
    assert asked.keys() >= {"client_id", "response_type", "scope", "state", "nonce", "code_challenge"}
    assert asked["redirect_uri"] == [f"{ORIGIN}/auth/callback/test"]
    assert asked["code_challenge_method"] == ["S256"]


def test_state_nonce_and_verifier_are_of_one_sign_in_only(hostile: HostileProvider) -> None:
    provider = make_provider(hostile)
    first, second = (_asked(Browser().begin(provider).location) for _ in range(2))

    assert all(first[name] != second[name] for name in ("state", "nonce", "code_challenge"))


def test_the_client_secret_is_form_encoded_inside_basic(hostile: HostileProvider) -> None:
    sign_in(hostile, make_provider(hostile))

    sent = next(seen for seen in hostile.seen if seen.path == TOKEN).headers["authorization"]
    assert base64.b64decode(sent.split()[1]).decode() == f"{CLIENT_ID}:{quote_plus(CLIENT_SECRET)}"
    assert "client_secret" not in _token_request(hostile)


def test_a_provider_that_takes_only_post_gets_the_secret_in_the_form(hostile: HostileProvider) -> None:
    hostile.metadata["token_endpoint_auth_methods_supported"] = ["client_secret_post"]
    sign_in(hostile, make_provider(hostile))

    assert _token_request(hostile)["client_secret"] == CLIENT_SECRET


def test_a_public_client_names_itself_and_has_only_pkce(hostile: HostileProvider) -> None:
    provider = make_provider(hostile)
    provider.sealed_client_secret = ""
    provider.save()
    sign_in(hostile, provider)

    assert _token_request(hostile)["client_id"] == CLIENT_ID


@pytest.mark.parametrize("algorithm", ["RS256", "RS384", "PS256", "PS512", "ES256", "ES384", "ES512", "EdDSA"])
def test_id_tokens_of_each_accepted_algorithm_are_taken(hostile: HostileProvider, algorithm: str) -> None:
    hostile.key = signing_key(algorithm)
    hostile.published = [hostile.key.jwk]

    assert sign_in(hostile, make_provider(hostile)).proven.subject == "alice"


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"claims": {"aud": [CLIENT_ID]}}, id="aud is a list of one"),
        pytest.param({"token": {"token_type": "bEARER"}}, id="token_type in another case"),
        pytest.param({"token": {"expires_in": ...}}, id="no expires_in"),
        pytest.param({"claims": {"at_hash": half_hash("an-access-token")}}, id="right at_hash"),
        pytest.param({"header": {"kid": ...}}, id="oidcc-client-test-kid-absent-single-jwks"),
        pytest.param({"metadata": {"userinfo_endpoint": ...}}, id="no userinfo endpoint"),
        pytest.param({"claims": {"azp": CLIENT_ID}}, id="azp is the client"),
    ],
)  # fmt: skip
def test_what_the_specification_leaves_open_is_accepted(
    hostile: HostileProvider, changes: dict[str, dict[str, object]]
) -> None:
    for dial, members in changes.items():
        getattr(hostile, dial).update(members)

    assert sign_in(hostile, make_provider(hostile)).proven.subject == "alice"


def test_keys_that_rotate_just_before_signing_are_fetched_once_more(hostile: HostileProvider) -> None:
    provider = make_provider(hostile)
    sign_in(hostile, provider)
    hostile.key = signing_key(kid="rotated")
    hostile.published = [hostile.key.jwk]

    assert sign_in(hostile, provider).proven.subject == "alice"
    assert hostile.count(JWKS) == 2


def test_keys_without_a_name_that_rotate_are_fetched_once_more(hostile: HostileProvider) -> None:
    provider, hostile.header["kid"] = make_provider(hostile), ...
    hostile.published = [{**hostile.key.jwk, "kid": None}]
    sign_in(hostile, provider)
    hostile.key = signing_key(kid="rotated")
    hostile.published = [{**hostile.key.jwk, "kid": None}]

    assert sign_in(hostile, provider).proven.subject == "alice"
    assert hostile.count(JWKS) == 2


def test_claims_of_userinfo_complete_those_of_the_id_token(hostile: HostileProvider) -> None:
    hostile.userinfo["groups"] = ["staff"]

    assert sign_in(hostile, make_provider(hostile)).proven.claims["groups"] == ["staff"]


def test_userinfo_is_asked_with_the_token_in_the_header_only(hostile: HostileProvider) -> None:
    sign_in(hostile, make_provider(hostile))

    seen = next(seen for seen in hostile.seen if USERINFO in seen.path)
    assert (seen.path, seen.headers["authorization"]) == (USERINFO, "Bearer an-access-token")


def test_a_refresh_brings_new_tokens(hostile: HostileProvider) -> None:
    tokens = ProviderClient(make_provider(hostile)).refresh("an-old-one")

    assert tokens.refresh_token == "a-refresh-token"
    assert _token_request(hostile)["refresh_token"] == "an-old-one"


def test_a_refusal_to_refresh_says_the_providers_word(hostile: HostileProvider) -> None:
    hostile.answers[TOKEN] = lambda seen: Reply(400, {"error": "invalid_grant", "error_description": "used"})

    with pytest.raises(ProviderError) as refused:
        ProviderClient(make_provider(hostile)).refresh("an-old-one")
    assert (refused.value.code, refused.value.oauth_error) == ("token_exchange_failed", "invalid_grant")


def test_tokens_and_secrets_show_in_no_text_of_what_holds_them(hostile: HostileProvider) -> None:
    completed = sign_in(hostile, make_provider(hostile))

    assert "an-access-token" not in repr(completed) and completed.tokens.id_token not in repr(completed)
