"""What is damaged, cut short, removed or cannot be written in the data directory while two workers run on it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.authgate.state.test_outages_database import USUAL, answers, replace_workers, statuses
from tests.authgate.state.test_ready import not_ready, readiness
from tests.support.gateway import Gateway
from tests.support.streams import wait_until

StartGateway = Callable[..., Gateway]


def nulls(file: Path) -> None:
    overwrite(file, bytes(file.stat().st_size))


def noise(file: Path) -> None:
    overwrite(file, os.urandom(file.stat().st_size))


def overwrite(file: Path, content: bytes) -> None:
    """In place: whoever has it open or mapped sees it."""
    with file.open("r+b") as opened:
        opened.write(content)


def cut(file: Path) -> None:
    os.truncate(file, 0)


DAMAGES = {
    "authgate.sqlite3": (nulls, noise, cut, Path.unlink),
    "authgate.sqlite3-wal": (noise, cut),
    "authgate.sqlite3-shm": (nulls, cut),
    "secret_key": (nulls, Path.unlink),
}
CASES = [
    pytest.param(name, damage, id=f"{name} {damage.__name__}")
    for name, damages in DAMAGES.items()
    for damage in damages
]


def restore(kept: dict[str, bytes], data_dir: Path) -> None:
    """As a careful operator would: another file in the place of the old one."""
    for name, content in kept.items():
        draft = data_dir / f"{name}.restored"
        draft.touch(mode=0o600)
        draft.write_bytes(content)
        draft.rename(data_dir / name)


@pytest.mark.parametrize(("name", "damage"), CASES)
def test_routes_go_on_whatever_becomes_of_a_file_and_all_is_well_when_it_is_back(
    start_gateway: StartGateway, name: str, damage: Callable[[Path], None]
) -> None:
    gateway = start_gateway(workers=2)
    token = gateway.mint("alice")
    file = gateway.data_dir / name
    kept = {name: file.read_bytes()}
    damage(file)
    time.sleep(1.5)  # the watchers look at it
    assert wait_until(lambda: answers(gateway), 15)
    assert statuses(gateway, token) == USUAL
    assert gateway.get("/admin/login/").status in (200, 503)
    replace_workers(gateway, "HUP")
    assert statuses(gateway, token) == USUAL
    if name in ("authgate.sqlite3", "secret_key"):
        restore(kept, gateway.data_dir)
    assert wait_until(lambda: readiness(gateway) == {"ready": True}, 15), gateway.output
    assert gateway.get("/admin/login/").status == 200
    assert statuses(gateway, token) == USUAL
    assert "Traceback" not in gateway.output


@pytest.mark.parametrize("damage", [nulls, noise, Path.unlink], ids=lambda damage: damage.__name__)
def test_a_database_that_is_damaged_or_gone_makes_readiness_red(
    start_gateway: StartGateway, damage: Callable[[Path], None]
) -> None:
    gateway = start_gateway(workers=2)
    damage(gateway.data_dir / "authgate.sqlite3")
    replace_workers(gateway, "KILL")
    assert wait_until(lambda: readiness(gateway) == not_ready("the database cannot be used"), 15)
    assert gateway.output.count(" ERROR authgate.state.watcher policy: database: ") <= 4


def test_limits_count_on_whatever_is_done_to_the_data_directory(start_gateway: StartGateway, upstream: object) -> None:
    policy = f"""\
version: 1
upstreams:
  api: {{targets: ["{upstream.target}"]}}
rate_limits:
  hourly: {{rate: 5/h, burst: 5, per: client}}
routes:
  - {{name: limited, path: /limited, access: public, upstream: api, rate_limit: hourly}}
"""  # type: ignore[attr-defined]
    gateway = start_gateway(workers=2, policy=policy)
    assert [gateway.get("/limited").status for _ in range(6)] == [200] * 5 + [429]
    workers = gateway.worker_pids()
    for file in gateway.data_dir.iterdir():
        if file.name not in DAMAGES:
            cut(file)
    assert {gateway.get("/limited").status for _ in range(12)} == {429}
    assert gateway.worker_pids() == workers
    replace_workers(gateway, "HUP")
    assert {gateway.get("/limited").status for _ in range(12)} == {429}
