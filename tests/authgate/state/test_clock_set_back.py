"""The machine's clock is set back by an hour while the gateway runs: nothing that the wrong one led to stays."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.clock import Clock
from tests.support.gateway import Gateway
from tests.support.streams import wait_until

StartGateway = Callable[..., Gateway]
HOUR = 3600
SERVERS = [pytest.param((), id="http1"), pytest.param(("--http2",), id="http2")]


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    directory = tmp_path / "clock"
    directory.mkdir()
    return Clock(directory)


def claims(token: str) -> dict[str, int]:
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


def is_served(gateway: Gateway, token: str) -> bool:
    try:
        return gateway.get("/api/protected/x", token=token).status == 200
    except OSError:
        return False


@pytest.mark.parametrize("args", SERVERS)
def test_services_never_get_an_assertion_of_the_future(start_gateway, upstream, clock, args) -> None:
    gateway = start_gateway(args=args, env=clock.env)
    token = gateway.mint("alice", ttl=4 * HOUR)
    clock.set_ahead(HOUR)
    assert wait_until(lambda: is_served(gateway, token), 15)
    assert claims(upstream.wait(1)[-1].header("x-auth-assertion"))["iat"] > time.time() + HOUR - 60
    # Without its database: nothing else makes the worker forget what it has made.
    gateway.data_dir.rename(gateway.data_dir.with_name("away"))
    clock.set_ahead(0)
    upstream.clear()
    assert gateway.get("/api/protected/x", token=token).status == 200
    assert abs(claims(upstream.only.header("x-auth-assertion"))["iat"] - time.time()) < 60


REVOKE = """
from datetime import timedelta
from django.utils import timezone
from authgate.models.trust import RevokedToken
RevokedToken.objects.create(jti={jti!r}, expires_at=timezone.now() + timedelta(minutes=30))
"""


def revoke(gateway: Gateway, jti: object) -> None:
    gateway.manage("shell", "-c", REVOKE.format(jti=jti))
    gateway.settle()


def test_a_token_whose_revocation_had_expired_by_the_wrong_clock_stays_refused(start_gateway, clock) -> None:
    gateway = start_gateway(workers=2, env=clock.env)
    token = gateway.mint("alice", ttl=1800)
    revoke(gateway, claims(token)["jti"])
    clock.set_ahead(HOUR)
    revoke(gateway, "another")  # any change: every worker loads what is in force by its clock
    clock.set_ahead(0)
    gateway.settle()
    answers = [gateway.get("/api/protected/x", token=token) for _ in range(8)]
    assert {(answer.status, answer.json()["reason"]) for answer in answers} == {(401, "token_revoked")}


def test_limits_do_not_notice(start_gateway, upstream, clock) -> None:
    policy = f"""\
version: 1
upstreams:
  api: {{targets: ["{upstream.target}"]}}
rate_limits:
  fast: {{rate: 2/s, burst: 2, per: client}}
routes:
  - {{name: limited, path: /limited, access: public, upstream: api, rate_limit: fast}}
"""
    gateway = start_gateway(policy=policy, env=clock.env)
    clock.set_ahead(HOUR)
    assert gateway.get("/limited").status == 200
    clock.set_ahead(0)
    time.sleep(1.1)
    assert [gateway.get("/limited").status for _ in range(2)] == [200, 200]
