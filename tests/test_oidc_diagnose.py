"""The test of a connection: what is right, and the exact thing that is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from email.utils import formatdate
from time import time
from typing import Any

import pytest

from authgate.models import IdentityProvider
from authgate.oidc.diagnose import Finding, diagnose
from authgate.oidc.presets import PRESETS
from tests.support.hostile import DISCOVERY, JWKS, HostileProvider, Reply, Seen
from tests.support.logins import make_provider

pytestmark = pytest.mark.django_db


@pytest.fixture
def hostile() -> Iterator[HostileProvider]:
    with HostileProvider() as provider:
        yield provider


def _wrong(provider: IdentityProvider) -> list[Finding]:
    return [finding for finding in diagnose(provider) if not finding.ok]


def test_a_provider_that_is_set_up_well_has_nothing_wrong(hostile: HostileProvider) -> None:
    findings = diagnose(make_provider(hostile))

    assert [finding.what for finding in findings] == ["client", "discovery", "endpoints", "issuer", "keys", "clock"]
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
