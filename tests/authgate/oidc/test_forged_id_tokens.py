"""ID tokens and userinfo that a provider, or somebody in its name, might send instead of what was meant."""

from __future__ import annotations

import time

import pytest

from authgate.outbound.errors import ProviderError
from tests.support.hostile import JWKS, USERINFO, HostileProvider, Reply, signing_key
from tests.support.logins import make_provider, sign_in


@pytest.fixture
def hostile(db):
    with HostileProvider() as provider:
        yield provider


# --- what the provider answers --------------------------------------------------------------------------------
CLOCKS = {
    "expired 50 seconds ago": {"exp": -50, "iat": -350},
    "issued in 50 seconds": {"iat": 50},
    "valid in 50 seconds": {"nbf": 50},
}
BAD_CLOCKS = {
    "expired 70 seconds ago": {"exp": -70, "iat": -370},
    "issued in 70 seconds": {"iat": 70},
    "valid in 70 seconds": {"nbf": 70},
}


def at(offsets):
    return {name: int(time.time()) + seconds for name, seconds in offsets.items()}


@pytest.mark.parametrize("offsets", CLOCKS.values(), ids=CLOCKS)
def test_a_clock_that_differs_by_less_than_a_minute_stops_nobody(hostile, offsets):
    hostile.claims |= at(offsets)
    assert sign_in(hostile, make_provider(hostile)).proven.subject == "alice"


@pytest.mark.parametrize("offsets", BAD_CLOCKS.values(), ids=BAD_CLOCKS)
def test_a_clock_that_differs_by_more_than_a_minute_signs_nobody_in(hostile, offsets):
    hostile.claims |= at(offsets)
    with pytest.raises(ProviderError, match="invalid_id_token"):
        sign_in(hostile, make_provider(hostile))


NO_USERINFO = {
    "a list": b"[]",
    "a list of one": b'[{"sub": "alice"}]',
    "a text": b'"x"',
    "null": b"null",
    "a number": b"7",
    "nothing": b"",
    "not JSON": b'{"sub": "alice"',
    "two documents": b'{"sub": "alice"}{"sub": "alice"}',
    "not UTF-8": b'{"sub": "alice", "name": "\xff"}',
    "two megabytes": b'{"sub": "alice", "name": "' + b"x" * 2**21 + b'"}',
}


@pytest.mark.parametrize("body", NO_USERINFO.values(), ids=NO_USERINFO)
def test_a_userinfo_that_is_no_object_signs_nobody_in(hostile, body):
    hostile.answers[USERINFO] = lambda seen: Reply(body=body)
    with pytest.raises(ProviderError, match="userinfo_failed"):
        sign_in(hostile, make_provider(hostile))
    assert hostile.count(USERINFO) == 1


# --- one provider in the name of another ----------------------------------------------------------------------
@pytest.fixture
def impostor(hostile):
    with HostileProvider() as provider:
        provider.key = signing_key(kid="impostor")
        provider.published = [provider.key.jwk]
        yield provider


def test_an_id_token_in_the_name_of_another_provider_signs_nobody_in(hostile, impostor):
    make_provider(hostile)
    impostor.claims["iss"] = hostile.url
    with pytest.raises(ProviderError, match="invalid_id_token"):
        sign_in(impostor, make_provider(impostor, "impostor"))


def test_an_id_token_that_another_provider_did_sign_signs_nobody_in(hostile, impostor):
    make_provider(hostile)
    impostor.metadata["jwks_uri"] = hostile.url + JWKS
    impostor.key, impostor.claims["iss"] = hostile.key, hostile.url
    with pytest.raises(ProviderError, match="invalid_id_token"):
        sign_in(impostor, make_provider(impostor, "impostor"))


def test_a_key_of_another_provider_proves_nothing_here(hostile, impostor):
    make_provider(impostor, "impostor")
    hostile.key = impostor.key
    with pytest.raises(ProviderError, match="invalid_id_token"):
        sign_in(hostile, make_provider(hostile))


def test_a_key_of_another_provider_proves_nothing_under_the_name_of_ours(hostile, impostor):
    make_provider(impostor, "impostor")
    hostile.header["kid"], hostile.key = hostile.key.kid, impostor.key
    with pytest.raises(ProviderError, match="invalid_id_token"):
        sign_in(hostile, make_provider(hostile))
