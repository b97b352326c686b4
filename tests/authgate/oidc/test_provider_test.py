"""`provider test` against a real OpenID provider: it tells a client that is known there from one that is not."""

from __future__ import annotations

import pytest

from tests.support.oidc import CLIENT_ID, add_provider


@pytest.fixture
def provider(start_gateway, start_openid_provider):
    gateway = start_gateway()
    return gateway, start_openid_provider(gateway)


def test_a_client_that_the_provider_knows_passes(provider):
    gateway, _ = provider
    said = gateway.manage("provider", "test", "main")
    assert "ok    credentials: accepted: a made-up code was refused with invalid_grant" in said
    assert "FAIL" not in said


@pytest.mark.parametrize(
    ("client_id", "secret"),
    [(f"{CLIENT_ID}-0", "not the secret that it has there"), ("nobody", "a secret of nobody at all")],
    ids=["wrong secret", "wrong client ID"],
)
def test_a_client_that_the_provider_does_not_know_fails(provider, client_id, secret):
    gateway, openid = provider
    add_provider(gateway, "wrong", openid.issuer, client_id, secret)
    result = gateway.run("provider", "test", "wrong")
    assert result.returncode == 1
    assert "FAIL  credentials: the token endpoint refused with invalid_client" in result.stdout
    assert "the client ID or the client secret is wrong" in result.stdout and secret not in result.stdout
