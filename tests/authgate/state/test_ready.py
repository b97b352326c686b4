"""`/health/ready`: anybody may ask, so it says in fixed words what the log says in full."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg

from tests.support.gateway import Gateway
from tests.support.postgres import Postgres

StartGateway = Callable[..., Gateway]


def wait_for(gateway: Gateway, body: dict[str, object]) -> None:
    deadline = time.monotonic() + 15
    while (found := readiness(gateway)) != body:
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


def readiness(gateway: Gateway) -> object:
    try:
        return gateway.get("/health/ready").json()
    except (OSError, AssertionError) as error:
        return error  # between two workers


def not_ready(problem: str) -> dict[str, object]:
    return {"ready": False, "problem": problem}


def execute(gateway: Gateway, *statements: str) -> None:
    with closing(sqlite3.connect(gateway.data_dir / "authgate.sqlite3", isolation_level=None)) as database:
        for statement in statements:
            database.execute(statement)


def test_a_worker_that_starts_while_the_database_is_away_says_so_and_waits_for_it(start_gateway: StartGateway) -> None:
    gateway = start_gateway()
    away = gateway.data_dir.rename(gateway.data_dir.with_name("away"))
    for pid in gateway.worker_pids():
        os.kill(pid, signal.SIGKILL)
    wait_for(gateway, not_ready("the database cannot be used"))
    assert "policy: database: unable to open database file" in gateway.output
    away.rename(gateway.data_dir)
    wait_for(gateway, {"ready": True})


def test_a_server_that_does_not_answer_is_not_named(
    start_gateway: StartGateway, on_postgresql: Any, postgres: Postgres
) -> None:
    gateway = start_gateway(**on_postgresql())
    url = gateway.env["AUTHGATE_DATABASE_URL"]
    name = psycopg.conninfo.conninfo_to_dict(url)["dbname"]
    with psycopg.connect(f"{url}&dbname=postgres", autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
    wait_for(gateway, not_ready("the database cannot be used"))
    assert str(postgres.directory) in gateway.output


def test_a_revision_that_is_not_valid_is_not_quoted(start_gateway: StartGateway) -> None:
    gateway = start_gateway()
    execute(
        gateway,
        "UPDATE authgate_policyrevision SET document = replace(document, '\"public\"', '\"open\"')",
        "UPDATE authgate_stateversion SET value = value + 1 WHERE name = 'policy'",
    )
    wait_for(gateway, not_ready("the newest revision of the policy is not valid"))
    assert "must be one of" in gateway.output


def test_a_key_that_no_longer_opens_is_not_named(start_gateway: StartGateway) -> None:
    gateway = start_gateway()
    execute(
        gateway,
        "UPDATE authgate_signingkey SET private_key = 'AAAA'",
        "UPDATE authgate_stateversion SET value = value + 1 WHERE name = 'trust'",
    )
    wait_for(gateway, not_ready("a signing key cannot be used"))
    assert "cannot be unsealed" in gateway.output
