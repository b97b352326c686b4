from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authgate import ratelimit
from authgate.policy.table import Limit
from authgate.ratelimit import shared
from authgate.ratelimit.local import LocalLimits
from authgate.ratelimit.shared import TIMEOUT, SharedLimits
from authgate.ratelimit.storage import create_storage

HOUR = 3600.0


@asynccontextmanager
async def machine(
    url: str, *, gateway: str = "https://gateway.example", secret: str = "s" * 50
) -> AsyncIterator[Callable]:
    """`take` of one machine: its own table, its own connections."""
    limits = SharedLimits(url, LocalLimits(create_storage()), gateway=gateway, secret=secret)

    async def take(limit: Limit, key: str) -> float:
        wait = limits.take(limit, key)
        return wait if isinstance(wait, float) else await wait

    try:
        yield take
    finally:
        await limits.close()


@pytest.fixture
def valkey_url(valkey, monkeypatch) -> str:
    """Of a server that is given time: on a busy machine its answer may take longer than a request would wait."""
    monkeypatch.setattr(shared, "TIMEOUT", 20.0)
    valkey.client.flushall()
    return valkey.url


@pytest.fixture(scope="module")
def shared_valkey(valkey) -> Iterator[str]:
    """For many examples of one property, each with a key of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared, "TIMEOUT", 20.0)
        yield valkey.url


def test_machines_together_allow_exactly_the_burst(valkey_url):
    limit = Limit("api", HOUR, 100, "client")

    async def hammer() -> list[float]:
        async with machine(valkey_url) as one, machine(valkey_url) as other:
            return await asyncio.gather(*(take(limit, "a") for _ in range(100) for take in (one, other)))

    assert asyncio.run(hammer()).count(0.0) == 100


def test_a_refusal_names_the_wait_and_takes_nothing(valkey_url):
    limit = Limit("api", 60.0, 2, "client")

    async def waits() -> list[float]:
        async with machine(valkey_url) as take:
            return [await take(limit, "a") for _ in range(5)]

    allowed, refused = (answers := asyncio.run(waits()))[:2], answers[2:]
    assert allowed == [0.0, 0.0]
    assert all(59 < wait <= 60 for wait in refused)


def test_over_time_exactly_the_burst_and_the_rate_are_allowed(valkey_url):
    # The burst outlasts any pause of the machine, so that no credit is lost while nobody asks.
    limit = Limit("api", 0.02, 100, "client")

    async def count() -> tuple[int, float, float]:
        async with machine(valkey_url) as take:
            begin = time.monotonic()
            allowed = await take(limit, "a") == 0.0
            first = time.monotonic()
            while True:
                last = time.monotonic()
                if await take(limit, "a") == 0.0:
                    allowed += 1
                elif last > begin + 1:
                    return allowed, last - first, time.monotonic() - begin

    allowed, at_least, at_most = asyncio.run(count())
    assert 100 + int(at_least / 0.02) <= allowed <= 100 + int(at_most / 0.02)


def test_a_key_leaves_redis_when_it_says_nothing_any_more(valkey, valkey_url):
    async def once() -> None:
        async with machine(valkey_url) as take:
            await take(Limit("api", 0.05, 5, "client"), "a")

    asyncio.run(once())
    time.sleep(0.2)
    assert valkey.client.dbsize() == 0


def test_redis_learns_no_subject(valkey, valkey_url):
    async def once() -> None:
        async with machine(valkey_url) as take:
            await take(Limit("api", 60.0, 5, "client"), "subject alice@example.com")

    asyncio.run(once())
    assert not [key for key in valkey.client.scan_iter() if b"alice" in key]


@pytest.mark.parametrize(
    "other",
    [{"gateway": "https://staging.example"}, {"gateway": "http://gateway.example"}, {"secret": "t" * 50}],
    ids=["another host", "another scheme", "another secret"],
)
def test_gateways_that_share_a_redis_do_not_refuse_each_others_callers(valkey_url, other):
    limit = Limit("api", HOUR, 2, "client")

    async def waits() -> list[bool]:
        async with machine(valkey_url) as production, machine(valkey_url, **other) as staging:
            return [await take(limit, "a") == 0.0 for take in (staging,) * 5 + (production,) * 3]

    assert asyncio.run(waits()) == [True, True, False, False, False, True, True, False]


def test_an_operator_sees_in_redis_which_gateway_a_key_is_of(valkey, valkey_url):
    async def once() -> None:
        async with machine(valkey_url, gateway="https://gateway.example:8443") as take:
            await take(Limit("api", 60.0, 5, "client"), "a")

    asyncio.run(once())
    assert [key.startswith(b"authgate:gateway.example:8443:limit:") for key in valkey.client.scan_iter()] == [True]


def test_nobody_finds_an_address_in_redis_by_trying_them_all(valkey, valkey_url):
    """There are only so many addresses: a digest without a key names them."""

    async def once() -> None:
        for secret in ("s" * 50, "t" * 50):
            async with machine(valkey_url, secret=secret) as take:
                await take(Limit("api", 60.0, 5, "client"), "client 192.0.2.1")

    asyncio.run(once())
    assert len({key.rpartition(b":")[2] for key in valkey.client.scan_iter()}) == 2


@given(
    before=st.tuples(st.integers(1, 60), st.integers(1, 50)),
    after=st.tuples(st.integers(1, 60), st.integers(1, 50)),
    taken=st.integers(0, 100),
)
@settings(max_examples=60, deadline=None)
def test_a_changed_limit_counts_at_once(shared_valkey, before, after, taken):
    """Whoever had used the old one up waits for one interval of the new one at most."""
    old, new = (Limit("api", 60.0 * seconds, burst, "client") for seconds, burst in (before, after))

    async def waits() -> list[float]:
        async with machine(shared_valkey) as take:
            key = str(time.monotonic_ns())
            for _ in range(taken):
                await take(old, key)
            return [await take(new, key) for _ in range(new.burst + 1)]

    answers = asyncio.run(waits())
    assert max(answers) <= new.interval
    assert answers.count(0.0) <= new.burst


def test_whoever_had_used_up_a_limit_that_is_raised_is_served_again_at_once(valkey_url):
    slow, fast = Limit("api", 60.0, 5, "client"), Limit("api", 0.01, 200, "client")

    async def allowed() -> int:
        async with machine(valkey_url) as take:
            for _ in range(6):
                await take(slow, "a")
            answers = []
            for _ in range(20):
                answers.append(await take(fast, "a"))
                await asyncio.sleep(0.02)
            return answers.count(0.0)

    assert asyncio.run(allowed()) >= 15


def test_take_asks_redis_when_there_is_a_url_and_each_loop_has_its_own_connection(valkey, valkey_url, settings):
    settings.AUTHGATE_REDIS_URL = valkey_url
    limit = Limit("api", HOUR, 2, "client")

    async def once() -> float:
        try:
            return await ratelimit.take(limit, "a")
        finally:
            await ratelimit.close()

    assert [asyncio.run(once()) > 0 for _ in range(3)] == [False, False, True]
    assert valkey.client.dbsize() == 1


def test_take_answers_at_once_when_there_is_no_url(settings):
    settings.AUTHGATE_REDIS_URL = ""
    assert ratelimit.take(Limit("api", HOUR, 2, "client"), "a") == 0.0


def test_while_redis_is_stopped_the_machine_counts_alone_and_then_together_again(valkey, valkey_url, caplog):
    limit = Limit("api", HOUR, 3, "client")
    caplog.set_level(logging.INFO, "authgate.ratelimit.shared")

    async def outage() -> list[bool]:
        async with machine(valkey_url) as take:
            answers = [await take(limit, "before") == 0.0]
            valkey.stop()
            answers += [await take(limit, "during") == 0.0 for _ in range(4)]
            valkey.start()
            await asyncio.sleep(1.1)
            answers += [await take(limit, "after") == 0.0 for _ in range(4)]
            return answers

    assert asyncio.run(outage()) == [True] + [True, True, True, False] * 2
    assert valkey.client.dbsize() == 1
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


@pytest.fixture
def mute_url(monkeypatch) -> Iterator[str]:
    monkeypatch.setattr(shared, "TIMEOUT", TIMEOUT)  # whatever a fixture of this module has made of it
    """Something that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"


def test_only_the_first_request_waits_for_a_redis_that_hangs(mute_url):
    limit = Limit("api", HOUR, 100, "client")

    async def timed() -> list[float]:
        async with machine(mute_url) as take:
            marks = [time.monotonic()]
            for _ in range(20):
                assert await take(limit, "a") == 0.0
                marks.append(time.monotonic())
            return marks

    marks = asyncio.run(timed())
    assert marks[1] - marks[0] < TIMEOUT + 0.5
    assert marks[-1] - marks[1] < 2  # and not nineteen times as long as the first
