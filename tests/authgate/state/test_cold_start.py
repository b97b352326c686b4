"""`serve` starts while the database is away, with the last good state on disk."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.authgate.state.test_outages_database import AWAY, USUAL, jti_of, statuses
from tests.authgate.state.test_ready import readiness
from tests.support.gateway import Gateway
from tests.support.sessions import run
from tests.support.streams import wait_until

StartGateway = Callable[..., Gateway]
FILES = ("last_policy", "last_trust")
UNKNOWN = [200, 503, 401, 404]  # no credential is taken


def kept(gateway: Gateway) -> bool:
    return all((gateway.data_dir / name).exists() for name in FILES)


@pytest.fixture
def stopped(start_gateway: StartGateway, on_postgresql: Any) -> tuple[Gateway, str]:
    """A gateway that has served, and a token of it."""
    gateway = start_gateway(workers=2, **on_postgresql())
    token = gateway.mint("alice")
    assert wait_until(lambda: kept(gateway), 15)
    gateway.stop()
    return gateway, token


@contextmanager
def without_database(gateway: Gateway) -> Iterator[None]:
    url = gateway.env["AUTHGATE_DATABASE_URL"]
    name = psycopg.conninfo.conninfo_to_dict(url)["dbname"]
    with psycopg.connect(f"{url}&dbname=postgres", autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        try:
            yield
        finally:
            connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")


def recovers_to(gateway: Gateway, token: str, usual: list[int]) -> bool:
    """Every worker looks for the database by itself."""

    def agree() -> bool:
        try:
            return statuses(gateway, token) == usual
        except AssertionError:
            return False

    return wait_until(lambda: readiness(gateway) == {"ready": True} and agree(), 20)


def start_cold(gateway: Gateway) -> None:
    """Not ready: the database is away."""
    gateway.start(ready=False)
    assert wait_until(lambda: gateway.get("/api/public/x").status == 200, 15)


def seen_last(gateway: Gateway, seconds: int) -> None:
    """As if the database had last agreed so long ago."""
    gateway.shell.run(f"""
import time
from authgate.state import on_disk
now = time.time
for part in (on_disk.policy, on_disk.trust):
    state, _ = part.load()
    time.time = lambda: now() - {seconds}
    part.save(state)
    time.time = now
""")


def test_it_decides_as_before(stopped: tuple[Gateway, str]) -> None:
    gateway, token = stopped
    with without_database(gateway):
        start_cold(gateway)
        assert statuses(gateway, token) == USUAL
        assert readiness(gateway) == AWAY
        assert "starting with the policy that was last seen, revision 1" in gateway.output
    assert recovers_to(gateway, token, USUAL)
    gateway.manage("policy", "import", "-", "--allow-empty", stdin="version: 1\n")
    assert statuses(gateway, token) == [404, 404, 404, 404]


def test_after_too_long_a_time_no_credential_is_taken(stopped: tuple[Gateway, str]) -> None:
    gateway, token = stopped
    seen_last(gateway, 901)
    with without_database(gateway):
        start_cold(gateway)
        assert statuses(gateway, token) == UNKNOWN
        assert "no credential is accepted until the database says which were revoked" in gateway.output
    assert recovers_to(gateway, token, USUAL)


def test_files_that_are_copied_are_as_old_as_before(stopped: tuple[Gateway, str]) -> None:
    gateway, token = stopped
    seen_last(gateway, 901)
    for name in FILES:
        path = gateway.data_dir / name
        path.write_bytes(path.read_bytes())
    with without_database(gateway):
        start_cold(gateway)
        assert statuses(gateway, token) == UNKNOWN


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: os.truncate(path, 0)], ids=["missing", "empty"])
def test_an_old_state_is_not_sure_because_nothing_tells_of_changes(
    stopped: tuple[Gateway, str], spoil: Callable[[Path], None]
) -> None:
    gateway, token = stopped
    seen_last(gateway, 901)
    spoil(gateway.data_dir / "generation")
    with without_database(gateway):
        start_cold(gateway)
        assert statuses(gateway, token) == UNKNOWN
    assert recovers_to(gateway, token, USUAL)


LEFT = """
from django.db.models import F
from authgate.models.policy import PolicyRevision
from authgate.models.trust import StateVersion
PolicyRevision.objects.create(number=9, author="other", document='{"version": 9}')
RevokedToken.objects.create(jti=options["jti"], expires_at=ago(-3600))
StateVersion.objects.update(value=F("value") + 1)
"""


def test_a_state_is_not_kept_as_new_that_the_database_has_left(start_gateway: StartGateway, on_postgresql: Any) -> None:
    """A newer release on another machine has published a policy that this one cannot read; then comes a revocation."""
    gateway = start_gateway(**on_postgresql())
    token = gateway.mint("alice")
    assert wait_until(lambda: kept(gateway), 15)
    run(gateway, LEFT, jti=jti_of(token))
    assert wait_until(lambda: "stays in force" in gateway.output, 15)
    gateway.settle()
    before = seen_at(gateway)
    time.sleep(6)  # it would write after five
    assert seen_at(gateway) == before


def seen_at(gateway: Gateway) -> str:
    return gateway.shell.run("from authgate.state import on_disk; print(on_disk.trust.load()[1])")


def test_a_clock_that_was_set_back_proves_nothing(stopped: tuple[Gateway, str]) -> None:
    gateway, token = stopped
    seen_last(gateway, -3600)
    with without_database(gateway):
        start_cold(gateway)
        assert statuses(gateway, token) == UNKNOWN


def test_what_was_revoked_while_it_was_stopped_is_not_let_in(stopped: tuple[Gateway, str]) -> None:
    gateway, token = stopped
    gateway.manage("revoke", "--jti", jti_of(token))
    with without_database(gateway):
        start_cold(gateway)
        assert statuses(gateway, token) == UNKNOWN
    assert recovers_to(gateway, token, [200, 401, 401, 404])


def damaged(gateway: Gateway) -> None:
    path = gateway.data_dir / "last_trust"
    path.write_bytes(path.read_bytes()[:-1] + b"x")


def of_another_version(gateway: Gateway) -> None:
    """What is in clear is sealed too."""
    path = gateway.data_dir / "last_trust"
    path.write_bytes(b"\7" * 16 + path.read_bytes()[16:])


def of_another_kind(gateway: Gateway) -> None:
    os.replace(gateway.data_dir / "last_policy", gateway.data_dir / "last_trust")


def of_another_gateway(gateway: Gateway) -> None:
    gateway.env["AUTHGATE_PUBLIC_URL"] = "http://other.localhost:8000"


def missing(gateway: Gateway) -> None:
    (gateway.data_dir / "last_policy").unlink()


@pytest.mark.parametrize("spoil", [damaged, of_another_version, of_another_kind, of_another_gateway, missing])
def test_a_state_that_cannot_be_trusted_starts_nothing(
    stopped: tuple[Gateway, str], spoil: Callable[[Gateway], None]
) -> None:
    gateway, _ = stopped
    spoil(gateway)
    with without_database(gateway):
        result = gateway.run("serve", "--bind", f"127.0.0.1:{gateway.port}")
    assert (result.returncode, "Traceback" in result.stderr) == (1, False)
    assert "is not currently accepting connections" in result.stderr


def test_the_files_are_sealed_and_for_their_user_alone(stopped: tuple[Gateway, str]) -> None:
    gateway, _ = stopped
    for name in FILES:
        path = gateway.data_dir / name
        assert path.stat().st_mode & 0o777 == 0o600
        assert b"/api/protected" not in path.read_bytes()
    assert not [path.name for path in gateway.data_dir.iterdir() if path.name.startswith("last_") and "." in path.name]


def test_it_can_be_turned_off(start_gateway: StartGateway, on_postgresql: Any) -> None:
    options = on_postgresql()
    gateway = start_gateway(**{**options, "env": options["env"] | {"AUTHGATE_COLD_START_SECONDS": "0"}})
    time.sleep(6)  # it would write after five
    assert not kept(gateway)


def test_it_follows_each_change(start_gateway: StartGateway, on_postgresql: Any) -> None:
    gateway = start_gateway(**on_postgresql())
    token = gateway.mint("alice")
    assert wait_until(lambda: kept(gateway), 15)
    before = (gateway.data_dir / "last_trust").read_bytes()
    gateway.manage("revoke", "--jti", jti_of(token))
    assert wait_until(lambda: (gateway.data_dir / "last_trust").read_bytes() != before, 15)
    gateway.stop()
    with without_database(gateway):
        start_cold(gateway)
        assert statuses(gateway, token) == [200, 401, 401, 404]
