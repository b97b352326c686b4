"""The database is away: workers that start meanwhile decide as the others do, and readiness says what is wrong."""

from __future__ import annotations

import base64
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from tests.authgate.state.test_ready import not_ready, readiness
from tests.support.gateway import Gateway
from tests.support.streams import wait_until

StartGateway = Callable[..., Gateway]
SERVERS = [pytest.param((), id="http1"), pytest.param(("--http2",), id="http2")]
AWAY = not_ready("the database cannot be used")


def statuses(gateway: Gateway, token: str) -> list[int]:
    """Of what a stranger, a caller with a token and an unknown path get; of every worker, by as many connections."""
    asked = [("/api/public/x", None), ("/api/protected/x", token), ("/api/protected/x", None), ("/nowhere", None)]
    found = {tuple(gateway.get(path, token=credential).status for path, credential in asked) for _ in range(12)}
    assert len(found) == 1, found
    return [*found.pop()]


USUAL = [200, 200, 401, 404]


def replace_workers(gateway: Gateway, how: str) -> None:
    assert gateway.process is not None
    old = {*gateway.worker_pids()}
    if how == "HUP":
        gateway.process.send_signal(signal.SIGHUP)
    else:
        for pid in old:
            os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: len(gateway.worker_pids()) == 2 and not old & {*gateway.worker_pids()}, 30)
    assert wait_until(lambda: answers(gateway), 15)


def answers(gateway: Gateway) -> bool:
    """Twelve connections in a row are served: no worker is still on its way."""
    try:
        return all(gateway.get("/health").status == 200 for _ in range(12))
    except (OSError, AssertionError):
        return False


@contextmanager
def without_database(gateway: Gateway) -> Iterator[None]:
    away = gateway.data_dir.rename(gateway.data_dir.with_name("away"))
    assert wait_until(lambda: readiness(gateway) == AWAY, 15)
    try:
        yield
    finally:
        if gateway.data_dir.exists():
            gateway.data_dir.rename(gateway.data_dir.with_name("made meanwhile"))
        away.rename(gateway.data_dir)


@pytest.mark.parametrize("args", SERVERS)
@pytest.mark.parametrize("how", ["HUP", "KILL"])
def test_workers_that_start_meanwhile_serve_as_the_others_did(
    start_gateway: StartGateway, args: tuple[str, ...], how: str
) -> None:
    gateway = start_gateway(workers=2, args=args)
    token = gateway.mint("alice")
    assert wait_until(lambda: answers(gateway), 15)
    assert statuses(gateway, token) == USUAL
    with without_database(gateway):
        replace_workers(gateway, how)
        assert statuses(gateway, token) == USUAL
        assert wait_until(lambda: readiness(gateway) == AWAY, 15)
    assert wait_until(lambda: readiness(gateway) == {"ready": True}, 15)
    assert statuses(gateway, token) == USUAL


def test_what_was_taken_away_before_stays_away(start_gateway: StartGateway, upstream: object) -> None:
    gateway = start_gateway(workers=2)
    token = gateway.mint("alice")
    revoke = "from authgate.models.trust import RevokedToken; from django.utils import timezone; import datetime, sys; "
    gateway.manage(
        "shell",
        "-c",
        revoke + f"RevokedToken.objects.create(jti={jti_of(token)!r}, "
        "expires_at=timezone.now() + datetime.timedelta(hours=1))",
    )
    gateway.settle()
    with without_database(gateway):
        replace_workers(gateway, "KILL")
        assert statuses(gateway, token) == [200, 401, 401, 404]


def jti_of(token: str) -> str:
    payload = token.split(".")[1]
    return str(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["jti"])


def test_what_was_changed_meanwhile_is_live_once_the_database_is_back(start_gateway: StartGateway) -> None:
    gateway = start_gateway(workers=2)
    token = gateway.mint("alice")
    with without_database(gateway):
        replace_workers(gateway, "HUP")
    assert wait_until(lambda: readiness(gateway) == {"ready": True}, 15)
    gateway.manage("policy", "import", "-", "--allow-empty", stdin="version: 1\n")
    gateway.settle()
    assert statuses(gateway, token) == [404, 404, 404, 404]
    # And the next outage finds that one, not what was kept first.
    with without_database(gateway):
        replace_workers(gateway, "KILL")
        assert statuses(gateway, token) == [404, 404, 404, 404]


def test_with_a_server_for_a_database_too(start_gateway: StartGateway, on_postgresql: Any) -> None:
    gateway = start_gateway(workers=2, **on_postgresql())
    url = gateway.env["AUTHGATE_DATABASE_URL"]
    token = gateway.mint("alice")
    name = psycopg.conninfo.conninfo_to_dict(url)["dbname"]
    with psycopg.connect(f"{url}&dbname=postgres", autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        replace_workers(gateway, "KILL")
        assert statuses(gateway, token) == USUAL
        assert readiness(gateway) == AWAY
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    assert wait_until(lambda: readiness(gateway) == {"ready": True}, 15)


def test_a_new_worker_waits_briefly_for_a_database_that_hangs(start_gateway: StartGateway, on_postgresql: Any) -> None:
    gateway = start_gateway(workers=2, **on_postgresql())
    url = gateway.env["AUTHGATE_DATABASE_URL"]
    with psycopg.connect(url) as connection:
        connection.execute("LOCK TABLE authgate_stateversion IN ACCESS EXCLUSIVE MODE")
        began = time.monotonic()
        replace_workers(gateway, "KILL")
        assert gateway.get("/api/public/x").status == 200
        assert time.monotonic() - began < 10


def test_serve_itself_starts_only_with_a_database(start_gateway: StartGateway) -> None:
    gateway = start_gateway()
    gateway.stop()
    (gateway.data_dir / "authgate.sqlite3").unlink()
    result = gateway.run("serve", "--bind", f"127.0.0.1:{gateway.port}")
    assert (result.returncode, "Traceback" in result.stderr) == (1, False)
