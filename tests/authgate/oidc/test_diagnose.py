"""The test of a connection: what is right, and the exact thing that is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from email.utils import formatdate
from time import time
from typing import Any

import pytest

from authgate.models.people import IdentityProvider
from authgate.oidc.diagnose import Finding, diagnose
from authgate.oidc.presets import PRESETS
from tests.support.certificates import Certificates
from tests.support.hostile import DISCOVERY, JWKS, TOKEN, HostileProvider, Reply, Seen
from tests.support.logins import make_provider
from tests.support.upstream import RecordingUpstream

pytestmark = pytest.mark.django_db


@pytest.fixture
def hostile() -> Iterator[HostileProvider]:
    with HostileProvider() as provider:
        yield provider


def _wrong(provider: IdentityProvider) -> list[Finding]:
    return [finding for finding in diagnose(provider) if not finding.ok]


def test_a_provider_that_is_set_up_well_has_nothing_wrong(hostile: HostileProvider) -> None:
    findings = diagnose(make_provider(hostile))

    assert [finding.what for finding in findings] == [
        "client", "discovery", "endpoints", "issuer", "keys", "credentials", "claims", "clock",
    ]  # fmt: skip
    assert all(finding.ok for finding in findings)


@pytest.mark.parametrize(
    ("changes", "what", "words"),
    [
        pytest.param({"metadata": {"issuer": "https://other.example"}}, "discovery", "another issuer", id="issuer"),
        pytest.param({"metadata": {"token_endpoint": ...}}, "discovery", "no token_endpoint", id="endpoint"),
        pytest.param(
            {"metadata": {"id_token_signing_alg_values_supported": ["HS256"]}}, "keys", "no signing algorithm", id="alg"
        ),
        pytest.param({"published": []}, "keys", "no key for RS256", id="keys"),
    ],
)
def test_what_is_wrong_is_named(hostile: HostileProvider, changes: dict[str, Any], what: str, words: str) -> None:
    for name, value in changes.items():
        setattr(hostile, name, value)

    wrong = _wrong(make_provider(hostile))
    assert [finding.what for finding in wrong] == [what]
    assert words in wrong[0].detail


def test_a_clock_that_differs_too_much_is_told_with_the_difference(hostile: HostileProvider) -> None:
    honest = hostile._metadata()

    def late(seen: Seen) -> Reply:
        return Reply(200, honest, {"Date": formatdate(time() - 600, usegmt=True)})

    hostile.answers[DISCOVERY] = late
    provider = make_provider(hostile)
    (wrong,) = _wrong(provider)
    assert wrong.what == "clock" and "behind" in wrong.detail


def test_keys_that_cannot_be_fetched_are_told(hostile: HostileProvider) -> None:
    hostile.answers[JWKS] = lambda seen: Reply(404)

    assert _wrong(make_provider(hostile)) == [Finding(False, "keys", "the JWKS answered with status 404")]


def test_a_provider_that_does_not_answer_is_one_finding(hostile: HostileProvider) -> None:
    (wrong,) = _wrong(make_provider(hostile, issuer="http://127.0.0.1:1"))

    assert wrong.what == "discovery" and "cannot be reached" in wrong.detail


def test_a_secret_of_another_installation_is_told(hostile: HostileProvider) -> None:
    provider = make_provider(hostile)
    provider.sealed_client_secret = "AAAA"

    assert "cannot be opened" in _wrong(provider)[0].detail


@pytest.mark.parametrize("name", ["google", "entra", "okta", "auth0", "keycloak", "gitlab", "github"])
def test_a_preset_fills_fields_that_a_provider_has(name: str) -> None:
    provider = IdentityProvider(slug=name, **PRESETS[name].fields())

    assert provider.name and provider.kind in IdentityProvider.Kind.values


def test_what_a_preset_leaves_to_the_operator_is_named() -> None:
    assert PRESETS["keycloak"].placeholders == ("host", "realm")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("invalid_client", "the client ID or the client secret is wrong"),
        ("unauthorized_client", "allow this client the authorization code flow"),
        ("temporarily_unavailable", "refused with temporarily_unavailable"),
    ],
)
def test_a_client_that_the_token_endpoint_refuses_is_told(hostile: HostileProvider, error: str, words: str) -> None:
    hostile.answers[TOKEN] = lambda seen: Reply(401, {"error": error})

    (wrong,) = _wrong(make_provider(hostile))
    assert wrong.what == "credentials" and words in wrong.detail


def test_a_token_endpoint_that_fails_is_told(hostile: HostileProvider) -> None:
    hostile.answers[TOKEN] = lambda seen: Reply(500, {})

    assert _wrong(make_provider(hostile)) == [
        Finding(False, "credentials", "the token endpoint answered with status 500")
    ]


def test_a_code_that_only_is_not_good_says_that_the_client_is(hostile: HostileProvider) -> None:
    found = {finding.what: finding for finding in diagnose(make_provider(hostile))}

    assert found["credentials"].ok and "accepted: a made-up code was refused with invalid_grant" in str(found)
    assert hostile.count(TOKEN) == 1


def _claims(hostile: HostileProvider, **rules: Any) -> str:
    return next(found.detail for found in diagnose(make_provider(hostile, **rules)) if found.what == "claims")


def test_the_claims_that_a_sign_in_needs_are_told(hostile: HostileProvider) -> None:
    assert _claims(hostile) == "needed: sub, email, email_verified (true); for grants by groups: groups"


def test_a_claim_that_is_needed_and_not_announced_is_told(hostile: HostileProvider) -> None:
    hostile.metadata["claims_supported"] = ["sub", "email"]

    assert _claims(hostile).endswith("if it is not sent either: email_verified")


def test_a_claim_that_no_rule_asks_for_is_not_missed(hostile: HostileProvider) -> None:
    hostile.metadata["claims_supported"] = ["sub"]

    assert "not announced" not in _claims(hostile, require_verified_email=False)


def test_a_provider_with_a_certificate_of_a_private_ca_is_told_how_to_enter_it(
    hostile: HostileProvider, certificates: Certificates
) -> None:
    with RecordingUpstream(tls=certificates.server_context()) as secure:
        (wrong,) = _wrong(make_provider(hostile, issuer=f"https://localhost:{secure.port}"))
    assert "is trusted here: unable to get local issuer certificate" in wrong.detail
    assert wrong.detail.endswith("or by `provider add --ca-file`")
