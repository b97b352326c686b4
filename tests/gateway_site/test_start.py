"""What start-up makes, and what it refuses."""

from __future__ import annotations

import sqlite3
import stat
from pathlib import Path

import pytest

from authgate.checks.files import check_data_dir
from gateway_site import database, env
from tests.support.gateway import environment, manage

PLAIN = {"ENGINE": "django.db.backends.sqlite3"}
POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}


def modes(directory: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir() if path.is_file()}


def test_a_new_database_and_what_lies_beside_it_are_for_this_user_alone(tmp_path: Path) -> None:
    database.make_file({**PLAIN, "NAME": str(tmp_path / "a.db")})
    with sqlite3.connect(tmp_path / "a.db") as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE t (x)")
        connection.commit()
        found = modes(tmp_path)
    connection.close()
    assert found == {"a.db": 0o600, "a.db-wal": 0o600, "a.db-shm": 0o600}


def test_the_first_command_makes_the_database_private(tmp_path: Path) -> None:
    assert manage(environment(tmp_path / "data"), "migrate", "--verbosity=0").returncode == 0
    assert {mode & 0o077 for mode in modes(tmp_path / "data").values()} == {0}


def test_an_existing_database_keeps_its_content_and_mode(tmp_path: Path) -> None:
    file = tmp_path / "a.db"
    file.write_bytes(b"content")
    file.chmod(0o640)
    database.make_file({**PLAIN, "NAME": str(file)})
    assert (file.read_bytes(), modes(tmp_path)) == (b"content", {"a.db": 0o640})


@pytest.mark.parametrize("engine", ["django.db.backends.postgresql", "django.db.backends.sqlite3"])
def test_a_database_that_cannot_be_made_is_left_to_the_connection(tmp_path: Path, engine: str) -> None:
    database.make_file({"ENGINE": engine, "NAME": str(tmp_path / "missing" / "a.db")})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore:Overriding setting DATABASES")
@pytest.mark.parametrize(("mode", "ids"), [(0o600, []), (0o640, ["authgate.W003"]), (0o604, ["authgate.W003"])])
def test_a_database_open_to_others_is_reported(settings, tmp_path: Path, mode: int, ids: list[str]) -> None:
    (tmp_path / "a.db").touch()
    (tmp_path / "a.db").chmod(mode)
    settings.DATABASES = {"default": {**PLAIN, "NAME": str(tmp_path / "a.db")}}
    assert [message.id for message in check_data_dir(None)] == ids


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("AUTHGATE_TRUSTED_PROXY", "AUTHGATE_TRUSTED_PROXIES"),
        ("AUTHGATE_REDIS", "AUTHGATE_REDIS_URL"),
        ("AUTHGATE_SECRET_KEY_FIEL", "AUTHGATE_SECRET_KEY"),
        ("AUTHGATE_PUBLIC_ULR_FILE", "AUTHGATE_PUBLIC_URL"),
        ("AUTHGATE_", "AUTHGATE_"),
    ],
)
def test_a_misspelt_setting_stops_every_command(tmp_path: Path, name: str, nearest: str) -> None:
    result = manage(environment(tmp_path / "data", **{name: ""}), "check")
    assert result.returncode == 1
    assert result.stderr.startswith(f"authgate: {name}: is not a setting; the nearest is {nearest}")
    assert result.stderr.count("\n") == 1


def test_every_setting_may_be_named_by_a_file(tmp_path: Path) -> None:
    (tmp_path / "level").write_text("debug")
    values = {"AUTHGATE_LOG_LEVEL_FILE": str(tmp_path / "level"), "AUTHGATE_REDIS_URL_FILE": ""}
    assert manage(environment(tmp_path / "data", **values), "check").returncode == 0


SERVICE = ("SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "PORT", "PORT_8000_TCP", "PORT_8000_TCP_ADDR")


@pytest.mark.parametrize("ending", SERVICE)
@pytest.mark.parametrize("service", ["AUTHGATE", "AUTHGATE_BLUE"])
def test_what_kubernetes_says_of_a_service_is_no_setting(service: str, ending: str) -> None:
    env.refuse_unknown("AUTHGATE_", {**POD, f"{service}_{ending}": "x"})
    with pytest.raises(env.EnvError):
        env.refuse_unknown("AUTHGATE_", {f"{service}_{ending}": "x"})


def test_in_a_pod_a_misspelt_setting_is_refused_too() -> None:
    with pytest.raises(env.EnvError, match="AUTHGATE_TRUSTED_PROXY: is not"):
        env.refuse_unknown("AUTHGATE_", {**POD, "AUTHGATE_TRUSTED_PROXY": "10.0.0.0/8"})
