"""What is kept of providers: fetched once for many, again when it must be, and never at another's expense."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from authgate.oidc import jwks
from authgate.oidc.jwks import load_keys, read_keys
from authgate.outbound import cache
from authgate.outbound.cache import Fetched
from authgate.outbound.errors import ProviderError
from tests.support.hostile import JWKS, HostileProvider, Reply, Seen, signing_key


@pytest.fixture
def hostile() -> Iterator[HostileProvider]:
    with HostileProvider() as provider:
        yield provider


def _kids(hostile: HostileProvider, kid: str | None = None) -> list[str | None]:
    return [key.kid for key in load_keys(hostile.url + JWKS, "", lambda key: key.kid == (kid or "first"))]


def test_keys_are_fetched_once_for_all_who_ask_at_once(hostile: HostileProvider) -> None:
    def slow(seen: Seen) -> Reply:
        time.sleep(0.2)
        return Reply(200, {"keys": hostile.published})

    hostile.answers[JWKS] = slow
    with ThreadPoolExecutor(16) as threads:
        found = list(threads.map(lambda _: _kids(hostile, "first"), range(16)))
    assert found == [["first"]] * 16
    assert hostile.count(JWKS) == 1


def test_five_hundred_unknown_kids_cost_one_fetch_more(hostile: HostileProvider) -> None:
    assert _kids(hostile, "random") == ["first"]
    for number in range(500):
        with pytest.raises(ProviderError, match="provider_unavailable"):
            _kids(hostile, f"random{number}")

    assert hostile.count(JWKS) == 2
    assert _kids(hostile, "first") == ["first"]


def test_all_who_wait_for_a_rotated_key_get_it(hostile: HostileProvider) -> None:
    _kids(hostile)

    def slow(seen: Seen) -> Reply:
        time.sleep(0.2)
        return Reply(200, {"keys": [signing_key(kid="rotated").jwk]})

    hostile.answers[JWKS] = slow
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: _kids(hostile, "rotated"), range(8)))
    assert found == [["rotated"]] * 8
    assert hostile.count(JWKS) == 2


def test_the_last_good_keys_stay_when_the_provider_fails(hostile: HostileProvider) -> None:
    _kids(hostile)
    hostile.answers[JWKS] = lambda seen: Reply(500)

    with pytest.raises(ProviderError, match="provider_unavailable"):
        _kids(hostile, "unknown")
    assert _kids(hostile, "first") == ["first"]


def test_after_a_minute_an_unknown_kid_is_looked_for_again(
    hostile: HostileProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwks, "REFETCH_SECONDS", 0.1)
    _kids(hostile, "unknown")
    time.sleep(0.15)
    _kids(hostile, "unknown")

    assert hostile.count(JWKS) == 3


def test_a_slow_provider_keeps_nobody_from_another() -> None:
    kept: Fetched[str] = Fetched(60)
    release = threading.Event()

    def hang() -> str:
        release.wait(10)
        return "slow"

    with ThreadPoolExecutor(1) as threads:
        slow = threads.submit(kept.get, ("slow",), hang)
        began = time.monotonic()
        assert kept.get(("fast",), lambda: "fast") == "fast"
        assert time.monotonic() - began < 1
        release.set()
        assert slow.result() == "slow"


def test_a_failure_is_told_to_all_who_waited_for_it() -> None:
    kept: Fetched[str] = Fetched(60)
    asked: list[int] = []

    def fail() -> str:
        asked.append(1)
        time.sleep(0.1)
        raise ProviderError("provider_unavailable", "down")

    def ask(_: int) -> str:
        with pytest.raises(ProviderError, match="down"):
            kept.get(("key",), fail)
        return "told"

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(ask, range(8))) == ["told"] * 8
    assert len(asked) == 1


def test_a_failure_is_forgotten_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "FAILURE_SECONDS", 0.0)
    kept: Fetched[str] = Fetched(60)

    def fail() -> str:
        raise ProviderError("provider_unavailable", "down")

    with pytest.raises(ProviderError):
        kept.get(("key",), fail)
    assert kept.get(("key",), lambda: "up") == "up"


def test_one_bad_key_does_not_take_the_others_with_it() -> None:
    good = signing_key().jwk
    bad = [
        {}, 7, None, {"kty": "oct", "k": "AAAA"}, {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
        {**good, "n": "!!"}, {**good, "e": "AQ"}, {**good, "e": "Ag"}, {**good, "kid": 7}, {"kty": ["RSA"]},
        {**good, "crv": ["P-256"], "kty": "EC"}, {"kty": "RSA", "n": "A" * 10_000, "e": "AQAB"},
    ]  # fmt: skip

    assert [key.kid for key in read_keys({"keys": [*bad, good]})] == ["first"]


def test_a_key_that_is_listed_twice_is_one_key() -> None:
    assert len(read_keys({"keys": [signing_key().jwk] * 2})) == 1


@pytest.mark.parametrize("document", [{}, {"keys": {}}, {"keys": "x"}, {"keys": [{}] * 101}])
def test_a_key_set_that_is_none_is_refused(document: dict[str, object]) -> None:
    with pytest.raises(ProviderError, match="provider_unavailable"):
        read_keys(document)
