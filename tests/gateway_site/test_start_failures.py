"""What stops a start: one clear line, a status that says so, and nothing half done."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.gateway import environment, free_port, manage

OTHER_KEY = "another secret, also of 32 characters"


@pytest.fixture
def data_dir(gateway_template: Path, tmp_path: Path) -> Path:
    return shutil.copytree(gateway_template, tmp_path / "data")


def run(data_dir: Path, *args: str, file_bytes: int | None = None, **values: str) -> subprocess.CompletedProcess[str]:
    """`manage.py ARGS` to its end."""
    return manage(environment(data_dir, **values), *args, file_bytes=file_bytes)


def problem(result: subprocess.CompletedProcess[str]) -> str:
    """The one line there is."""
    assert (result.returncode, result.stdout) == (1, ""), result
    assert result.stderr.startswith("authgate: "), result.stderr
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr.removeprefix("authgate: ").rstrip("\n")


@pytest.fixture(params=["demo", "migrate"])
def command(request: pytest.FixtureRequest) -> tuple[str, ...]:
    return {"demo": ("demo", "--port", str(free_port())), "migrate": ("migrate", "--verbosity=0")}[request.param]


def content(data_dir: Path) -> list[str]:
    with closing(sqlite3.connect(data_dir / "authgate.sqlite3")) as database:
        return list(database.iterdump())


@pytest.fixture
def locked(data_dir: Path) -> Iterator[Path]:
    """By somebody who writes for longer than anyone waits."""
    with closing(sqlite3.connect(data_dir / "authgate.sqlite3", isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        yield data_dir


def test_a_locked_database_is_one_line(locked: Path, command: tuple[str, ...]) -> None:
    before = content(locked)
    assert problem(run(locked, *command)) == "database: database is locked"
    assert content(locked) == before


def test_a_file_that_is_no_database_is_one_line_and_stays(tmp_path: Path, command: tuple[str, ...]) -> None:
    (tmp_path / "data").mkdir(mode=0o700)
    file = tmp_path / "data" / "authgate.sqlite3"
    file.touch(mode=0o600)
    file.write_bytes(b"nonsense" * 1000)
    line = problem(run(tmp_path / "data", *command, AUTHGATE_SECRET_KEY=OTHER_KEY))
    assert line == (f"database: file is not a database: '{file}' is damaged, or no database; restore it from a backup")
    assert file.read_bytes() == b"nonsense" * 1000


def test_a_full_disk_is_one_line_and_with_room_again_all_is_well(tmp_path: Path, command: tuple[str, ...]) -> None:
    assert problem(run(tmp_path / "data", *command, file_bytes=64 * 1024)).startswith("database: disk I/O error")
    assert run(tmp_path / "data", "migrate", "--verbosity=0").returncode == 0
    assert run(tmp_path / "data", "migrate", "--check").returncode == 0


def test_keys_sealed_with_another_secret_stop_the_demo_with_one_line(data_dir: Path) -> None:
    before = content(data_dir)
    line = problem(run(data_dir, "demo", "--port", str(free_port()), AUTHGATE_SECRET_KEY=OTHER_KEY))
    assert "AUTHGATE_SECRET_KEY is not the one it was made with" in line
    assert content(data_dir) == before


def test_a_demo_whose_gateway_cannot_start_has_not_yet_made_the_account_whose_password_it_would_show(
    data_dir: Path,
) -> None:
    result = run(data_dir, "demo", "--port", str(free_port()), file_bytes=512 * 1024)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (
        "authgate: rate limits: cannot get 4 MiB of memory: File too large\n"
        "CommandError: the gateway ended with status 1\n"
    )
    with closing(sqlite3.connect(data_dir / "authgate.sqlite3")) as database:
        assert database.execute("SELECT count(*) FROM auth_user").fetchone() == (0,)


@pytest.mark.parametrize(
    "args", [("clearsessions",), ("mint_token", "alice"), ("provider", "list")], ids=lambda a: a[0]
)
def test_before_migrate_every_command_says_what_to_run(tmp_path: Path, args: tuple[str, ...]) -> None:
    line = problem(run(tmp_path / "data", *args))
    file = tmp_path / "data" / "authgate.sqlite3"
    missing = f"'{file}' is not there; put it back, or run manage.py migrate for a new one"
    assert line == f"database: unable to open database file: {missing}"
    assert not file.exists()


@pytest.mark.parametrize("args", [("clearsessions",), ("mint_token", "alice")], ids=lambda a: a[0])
def test_on_an_empty_database_every_command_says_what_to_run(tmp_path: Path, args: tuple[str, ...]) -> None:
    (tmp_path / "data").mkdir(mode=0o700)
    (tmp_path / "data" / "authgate.sqlite3").touch(mode=0o600)
    line = problem(run(tmp_path / "data", *args))
    assert line.startswith("database: no such table: ")
    assert line.endswith("; run manage.py migrate first")


def test_whoever_asks_for_the_traceback_gets_it(tmp_path: Path) -> None:
    result = run(tmp_path / "data", "clearsessions", "--traceback")
    assert (result.returncode, "Traceback (most recent call last)" in result.stderr) == (1, True)


@pytest.fixture(params=[(), ("--http2",)], ids=["http1", "http2"])
def serve(request: pytest.FixtureRequest) -> tuple[str, ...]:
    return ("serve", "--bind", f"127.0.0.1:{free_port()}", "--workers", "2", *request.param)


def test_keys_sealed_with_another_secret_stop_the_server_with_one_line(data_dir: Path, serve: tuple[str, ...]) -> None:
    line = problem(run(data_dir, *serve, AUTHGATE_SECRET_KEY=OTHER_KEY))
    assert "AUTHGATE_SECRET_KEY is not the one it was made with" in line


def test_no_room_for_the_rate_limits_stops_the_server_with_one_line(data_dir: Path, serve: tuple[str, ...]) -> None:
    line = problem(run(data_dir, *serve, file_bytes=512 * 1024))
    assert line == "rate limits: cannot get 4 MiB of memory: File too large"


def test_a_changed_secret_key_is_told_by_check_and_named_as_it_was_given(data_dir: Path) -> None:
    (data_dir / "secret_key").write_text(OTHER_KEY)
    for args in (("check",), ("mint_token", "alice")):
        assert f"the key in '{data_dir}/secret_key' is not the one it was made with" in run(data_dir, *args).stderr
    checked = run(data_dir, "check", AUTHGATE_SECRET_KEY=OTHER_KEY)
    assert "authgate.W073" in checked.stderr
    assert "AUTHGATE_SECRET_KEY is not the one it was made with" in checked.stderr


def test_a_check_before_the_first_start_makes_no_key(tmp_path: Path) -> None:
    run(tmp_path / "data", "migrate")
    assert "authgate.W073" not in run(tmp_path / "data", "check").stderr
    with closing(sqlite3.connect(tmp_path / "data" / "authgate.sqlite3")) as database:
        assert database.execute("SELECT count(*) FROM authgate_signingkey").fetchone() == (0,)


def test_a_damaged_database_is_named_with_what_to_do(data_dir: Path) -> None:
    file = data_dir / "authgate.sqlite3"
    file.write_bytes(b"no database" * 1000)
    advice = f"'{file}' is damaged, or no database; restore it from a backup"
    assert problem(run(data_dir, "mint_token", "alice")).endswith(advice)
    assert advice in run(data_dir, "policy", "show").stderr
    checked = run(data_dir, "check").stderr
    assert "authgate.W012" in checked and advice in checked
    assert "AUTHGATE_DATABASE_URL" not in checked
