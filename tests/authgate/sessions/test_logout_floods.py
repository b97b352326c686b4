"""Worthless logout tokens in their hundreds, and what the provider's own meet meanwhile: nothing."""

from __future__ import annotations

import itertools
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import pytest
from msgspec.structs import replace

from authgate.ratelimit.sign_in import seconds_to_wait
from authgate.request import RequestFacts
from authgate.wire.authority import Authority
from authgate.wire.headers import Headers
from tests.support import raw
from tests.support.gateway import Gateway
from tests.support.hostile import JWKS, signing_key
from tests.support.oidc import add_provider
from tests.support.policies import demo_policy
from tests.support.sessions import make_session, row, run
from tests.support.streams import wait_until
from tests.support.token_provider import CLIENT_ID, TokenProvider

Worthless = Callable[["Provider", int], tuple[str, str]]  # the provider's name, and a token
PER_SECOND = 192
GENUINE = 10  # one after the other, for some seconds
numbers = itertools.count(1)


class Provider(TokenProvider):
    """Of one test: nothing is known of its keys yet, nor of the addresses."""

    def __init__(self) -> None:
        super().__init__()
        number = next(numbers)
        self.slug, self.address, self.stranger = f"idp-{number}", f"192.0.2.{number}", f"198.51.100.{number}"


@pytest.fixture(scope="module")
def gateway(gateway_template, session_upstream, tmp_path_factory) -> Iterator[Gateway]:
    options = {"policy": demo_policy(session_upstream.target), "env": {"AUTHGATE_TRUSTED_PROXIES": "127.0.0.1"}}
    with Gateway(tmp_path_factory.mktemp("logouts") / "data", template=gateway_template, **options) as gateway:
        yield gateway.start()


@pytest.fixture
def idp(gateway: Gateway) -> Iterator[Provider]:
    with Provider() as provider:
        add_provider(gateway, provider.slug, provider.issuer, CLIENT_ID)
        time.sleep(1)  # what is known of providers is a second old at most
        yield provider


def logout(idp: Provider, token: str, *, slug: str = "", client: str = "") -> bytes:
    headers = [("Content-Type", "application/x-www-form-urlencoded"), ("X-Forwarded-For", client or idp.address)]
    target = f"/auth/backchannel-logout/{slug or idp.slug}"
    return raw.request("POST", target, headers, f"logout_token={token}".encode(), host="localhost")


def send(gateway: Gateway, idp: Provider, token: str) -> int:
    return gateway.send(logout(idp, token), method="POST").status


def claims(idp: Provider, number: int) -> dict[str, object]:
    now = int(time.time())
    events = {"http://schemas.openid.net/event/backchannel-logout": {}}
    return {
        "iss": idp.issuer, "aud": CLIENT_ID, "iat": now, "exp": now + 120, "jti": f"worthless-{number}", "sid": "x",
        "events": events,
    }  # fmt: skip


WORTHLESS: dict[str, Worthless] = {
    "wrongly signed": lambda idp, n: (idp.slug, idp.sign(claims(idp, n), signer="stranger", typ="logout+jwt")),
    "by an unknown key": lambda idp, n: (idp.slug, idp.sign(claims(idp, n), typ="logout+jwt", kid=f"unknown-{n}")),
    "by no named key": lambda idp, n: (
        idp.slug,
        idp.sign(claims(idp, n), signer="stranger", typ="logout+jwt", kid=...),
    ),
    "for another client": lambda idp, n: (idp.slug, idp.sign({**claims(idp, n), "aud": "other"}, typ="logout+jwt")),
    "for a made-up provider": lambda idp, n: (f"made-up-{n}", idp.sign(claims(idp, n), typ="logout+jwt")),
    "of no form": lambda idp, n: (idp.slug, "a.b.c"),
}


@contextmanager
def flood(
    gateway: Gateway, idp: Provider, tokens: list[tuple[str, str]], clients: Iterator[str]
) -> Iterator[Counter[int]]:
    statuses: Counter[int] = Counter()
    done, worthless = threading.Event(), itertools.cycle(tokens)

    def stranger(_: int) -> None:
        with gateway.connect() as connection:
            while not done.is_set():
                began = time.monotonic()
                slug, token = next(worthless)
                connection.send(logout(idp, token, slug=slug, client=next(clients)))
                statuses[connection.response("POST").status] += 1
                time.sleep(max(0, began + 40 / PER_SECOND - time.monotonic()))

    with ThreadPoolExecutor(40) as pool:
        strangers = [pool.submit(stranger, number) for number in range(40)]
        try:
            time.sleep(0.5)
            yield statuses
        finally:
            done.set()
    for one in strangers:
        one.result()


@pytest.mark.parametrize("worthless", WORTHLESS.values(), ids=WORTHLESS)
def test_worthless_logout_tokens_cost_the_provider_none_of_its_own(gateway, idp, worthless):
    tokens = [worthless(idp, number) for number in range(50)]
    logged = gateway.output.count("a logout of")
    with flood(gateway, idp, tokens, itertools.cycle([idp.stranger])) as statuses:
        genuine = [send(gateway, idp, idp.logout_token(sid=f"s-{number}")) for number in range(GENUINE)]
        assert wait_until(lambda: statuses.total() > 200)
    assert genuine == [200] * GENUINE, statuses
    assert 200 not in statuses
    assert gateway.output.count("a logout of") - logged < 120


def test_not_even_when_they_come_from_the_providers_own_address(gateway, idp):
    tokens = [WORTHLESS["wrongly signed"](idp, number) for number in range(50)]
    with flood(gateway, idp, tokens, itertools.cycle([idp.address])) as statuses:
        genuine = [send(gateway, idp, idp.logout_token(sid=f"s-{number}")) for number in range(GENUINE)]
    assert (genuine, statuses[200]) == ([200] * GENUINE, 0)


def test_nor_when_each_comes_from_an_address_of_its_own(gateway, idp):
    tokens = [WORTHLESS["wrongly signed"](idp, number) for number in range(50)]
    addresses = (f"2001:db8:{number:x}::1" for number in itertools.count(1))
    with flood(gateway, idp, tokens, addresses) as statuses:
        genuine = [send(gateway, idp, idp.logout_token(sid=f"s-{number}")) for number in range(GENUINE)]
    assert (genuine, statuses[200]) == ([200] * GENUINE, 0)


def test_a_token_that_was_used_reaches_no_database_again(gateway, idp):
    make_session(gateway, slug=idp.slug, provider={"issuer": idp.issuer}, provider_sid="s-1")
    token = idp.logout_token(sid="s-1")
    assert send(gateway, idp, token) == 200
    with closing(sqlite3.connect(gateway.data_dir / "authgate.sqlite3", isolation_level=None)) as database:
        time.sleep(1)  # what is known of providers is a second old at most
        assert send(gateway, idp, "a.b.c") == 400
        database.execute("BEGIN EXCLUSIVE")
        began = time.monotonic()
        assert [send(gateway, idp, token) for _ in range(20)] == [400] * 20
        assert time.monotonic() - began < 1


def test_a_token_that_met_an_outage_may_come_again(gateway, idp):
    made = make_session(gateway, slug=idp.slug, provider={"issuer": idp.issuer}, provider_sid="s-1")
    assert send(gateway, idp, idp.logout_token(sid="s-0")) == 200
    token = idp.logout_token(sid="s-1")
    with closing(sqlite3.connect(gateway.data_dir / "authgate.sqlite3", isolation_level=None)) as database:
        database.execute("ALTER TABLE authgate_usedonce RENAME TO away")
        assert send(gateway, idp, token) == 503
        database.execute("ALTER TABLE away RENAME TO authgate_usedonce")
    assert send(gateway, idp, token) == 200
    assert row(gateway, made.sid)["ended"]


def test_one_client_may_send_only_so_many():
    """Each costs a signature. The provider has one address for all its people."""
    facts = RequestFacts(
        "POST", "http", Authority("x", None), "/auth/backchannel-logout/idp", b"", "2001:db8::1", "", Headers()
    )
    waits = [seconds_to_wait(facts) for _ in range(2000)]
    assert 500 <= waits.count(0.0) < 1000
    assert seconds_to_wait(replace(facts, client="2001:db8:0:1::1")) == 0.0


def test_a_key_that_is_new_is_asked_for_once_and_counts(gateway, idp):
    made = make_session(gateway, slug=idp.slug, provider={"issuer": idp.issuer}, provider_sid="s-1")
    assert send(gateway, idp, idp.logout_token(sid="s-0")) == 200
    idp.key = signing_key(kid="rotated")
    idp.published = [idp.key.jwk]
    with ThreadPoolExecutor(8) as pool:
        statuses = list(
            pool.map(lambda sid: send(gateway, idp, idp.logout_token(sid=sid)), [f"s-{n}" for n in range(1, 9)])
        )
    assert (statuses, idp.count(JWKS)) == ([200] * 8, 2)
    assert row(gateway, made.sid)["ended"]


def test_unknown_keys_have_the_provider_asked_once_a_minute(gateway, idp):
    tokens = [WORTHLESS["by an unknown key"](idp, number)[1] for number in range(30)]
    assert send(gateway, idp, idp.logout_token(sid="s-0")) == 200
    assert Counter(send(gateway, idp, token) for token in tokens) == {400: 1, 503: 29}
    assert idp.count(JWKS) == 2


def test_a_provider_that_is_switched_off_or_changed_is_heeded(gateway, idp):
    assert send(gateway, idp, idp.logout_token(sid="s-0")) == 200
    run(gateway, f"p = IdentityProvider.objects.get(slug='{idp.slug}'); p.client_id = 'other'; p.save()")
    time.sleep(1)
    assert send(gateway, idp, idp.logout_token(sid="s-1")) == 400
    assert send(gateway, idp, idp.logout_token(sid="s-2", aud="other")) == 200
    run(gateway, f"p = IdentityProvider.objects.get(slug='{idp.slug}'); p.enabled = False; p.save()")
    assert send(gateway, idp, idp.logout_token(sid="s-3", aud="other")) == 400
