"""Proofs where machines share a Redis: used once on all of them; while it is away, once on each."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest

from authgate.policy.table import Limit
from authgate.ratelimit import shared
from authgate.ratelimit.local import LocalLimits
from authgate.ratelimit.shared import SharedLimits
from authgate.ratelimit.storage import create_storage
from tests.support.dpop import Holder
from tests.support.gateway import Gateway
from tests.support.issuers import TokenMaker
from tests.support.policies import demo_policy
from tests.support.upstream import RecordingUpstream
from tests.support.valkey import Valkey

HOLDER = Holder()
ONCE = Limit("used/once", 100.0, 1, "client")


@pytest.fixture
def machines(valkey: Valkey, monkeypatch: Any) -> list[SharedLimits]:
    monkeypatch.setattr(shared, "TIMEOUT", 20.0)
    valkey.client.flushall()
    return [SharedLimits(valkey.url, LocalLimits(create_storage()), gateway="https://g", secret="s") for _ in "ab"]


def test_only_the_first_of_all_machines(machines: list[SharedLimits]) -> None:
    async def ask() -> list[bool]:
        asked = [machine.is_first(ONCE, key) for key in ("x", "y") for machine in (*machines, *machines)]
        answers = [await answer for answer in asked if answer is not None]
        for machine in machines:
            await machine.close()
        return answers

    assert asyncio.run(ask()) == [True, False, False, False] * 2


@pytest.fixture
def gate(
    gateway_template: Any, upstream: RecordingUpstream, tmp_path: Any, valkey: Valkey
) -> Iterator[tuple[Gateway, str]]:
    env, policy = {"AUTHGATE_REDIS_URL": valkey.url}, demo_policy(upstream.target)
    with (
        TokenMaker() as maker,
        Gateway(tmp_path / "data", template=gateway_template, policy=policy, env=env, workers=2) as gateway,
    ):
        maker.register(gateway, "ci", "--dpop", "optional")
        yield gateway.start(), maker.access_token(cnf=HOLDER.cnf)


def test_a_gateway_asks_redis_and_goes_on_without_it(gate: tuple[Gateway, str], valkey: Valkey) -> None:
    gateway, token = gate
    valkey.client.flushall()
    try:
        for path in ("/api/protected", "/auth/me"):
            statuses = [HOLDER.get(gateway, path, token, jti=path).status for _ in range(4)]
            assert statuses == [200, 401, 401, 401]
        assert len(valkey.client.keys("authgate:*")) == 2
        assert all(0 < valkey.client.pttl(key) <= 131_000 for key in valkey.client.keys("authgate:*"))
        valkey.stop()
        time.sleep(0.1)
        statuses = [HOLDER.get(gateway, "/api/protected", token, jti="alone").status for _ in range(4)]
        assert statuses == [200, 401, 401, 401]
    finally:
        if valkey._server is None:
            valkey.start()
