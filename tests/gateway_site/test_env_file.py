"""The settings file: one for all commands, and the environment wins."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.support.gateway import environment, manage

SHOW = ("shell", "--no-imports", "-c", "from django.conf import settings as s; print(s.AUTHGATE_PUBLIC_URL)")


@pytest.fixture
def data_dir(gateway_template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(gateway_template, tmp_path / "data"))


@pytest.fixture
def file(data_dir: Path) -> Path:
    """In the data directory, where every command looks."""
    path = data_dir / "authgate.env"
    path.touch(mode=0o600)
    return path


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    path = tmp_path / "settings"
    path.touch(mode=0o600)
    return path


def public_url(data_dir: Path, **values: str) -> str:
    result = manage(environment(data_dir, **values), *SHOW)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout.strip()


def refusal(data_dir: Path, **values: str) -> str:
    result = manage(environment(data_dir, **values), "policy", "history")
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr.removeprefix("authgate: ").rstrip("\n")


def test_a_file_in_the_data_directory_is_read_by_every_command(data_dir, file):
    file.write_text("# what people type\nAUTHGATE_PUBLIC_URL=http://localhost:9000\n\nAUTHGATE_LOG_LEVEL=warning\n")
    assert public_url(data_dir) == "http://localhost:9000"


def test_the_environment_wins_over_the_file(data_dir, file):
    file.write_text("AUTHGATE_PUBLIC_URL=http://localhost:9000\n")
    assert public_url(data_dir, AUTHGATE_PUBLIC_URL="http://localhost:7000") == "http://localhost:7000"


def test_an_empty_variable_leaves_what_the_file_says(data_dir, file):
    file.write_text("AUTHGATE_PUBLIC_URL=http://localhost:9000\n")
    assert public_url(data_dir, AUTHGATE_PUBLIC_URL="") == "http://localhost:9000"


def test_a_variable_wins_over_a_file_that_the_settings_file_names_for_it(data_dir, file):
    file.write_text("AUTHGATE_PUBLIC_URL_FILE=/nowhere\n")
    assert public_url(data_dir, AUTHGATE_PUBLIC_URL="http://localhost:7000") == "http://localhost:7000"


def test_a_named_file_stands_in_for_the_one_of_the_data_directory(data_dir, file, elsewhere):
    file.write_text("AUTHGATE_PUBLIC_URL=http://localhost:9000\n")
    elsewhere.write_text("AUTHGATE_PUBLIC_URL='http://localhost:9001'\n")
    assert public_url(data_dir, AUTHGATE_ENV_FILE=str(elsewhere)) == "http://localhost:9001"


def test_a_named_file_may_say_where_the_data_are(data_dir, elsewhere):
    elsewhere.write_text(f"AUTHGATE_DATA_DIR={data_dir}\n")
    env = environment(data_dir, AUTHGATE_DATA_DIR="", AUTHGATE_ENV_FILE=str(elsewhere))
    assert manage(env, "policy", "history").returncode == 0


def test_a_gateway_is_served_as_the_file_says(start_gateway, data_dir, file):
    file.write_text("AUTHGATE_ACCESS_LOG=off\nAUTHGATE_LOG_LEVEL=info\n")
    gateway = start_gateway(template=data_dir)
    assert gateway.get("/api/public").status == 200
    gateway.stop()
    assert gateway.log_lines() == []


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("AUTHGATE_PUBLIC_URL", "must be AUTHGATE_NAME=value, or begin with #"),
        ("export AUTHGATE_PUBLIC_URL=x", "must be AUTHGATE_NAME=value, or begin with #"),
        ("PATH=s3cret", "must be AUTHGATE_NAME=value, or begin with #"),
        ("AUTHGATE_PUBLIC_URL = s3cret", "must be AUTHGATE_NAME=value, or begin with #"),
        ('AUTHGATE_SECRET_KEY="s3cret', 'a value that begins with " must end with it'),
        ("AUTHGATE_LOG_LEVEL=debug", "AUTHGATE_LOG_LEVEL is already set in line 1"),
        ("AUTHGATE_DATA_DIR=/s3cret", "AUTHGATE_DATA_DIR says where this file is, so it cannot stand in it"),
        ("AUTHGATE_REDIS_URL=x\rAUTHGATE_X=s3cret", "a control character ('\\r'); lines end with LF or CR LF"),
        ("AUTHGATE_REDIS_URL_FILE=/a\0s3cret", "a control character ('\\x00'); lines end with LF or CR LF"),
        ("AUTHGATE_PUBLIC_URI=s3cret", "AUTHGATE_PUBLIC_URI: is not a setting; the nearest is AUTHGATE_PUBLIC_URL"),
        ("AUTHGATE_SECRET_KEY=s3cret", "AUTHGATE_SECRET_KEY: must have at least 32 characters, has 6"),
        ("AUTHGATE_REDIS_URL_FILE=/nowhere", "AUTHGATE_REDIS_URL_FILE: cannot read '/nowhere': No such file"),
    ],
)  # fmt: skip
def test_a_bad_line_stops_every_command_and_is_named(data_dir, file, line, problem):
    file.write_text(f"AUTHGATE_LOG_LEVEL=info\n\n{line}\n")
    assert refusal(data_dir).startswith(f"{file}:3: {problem}")


def test_a_named_file_that_is_not_there_is_refused(data_dir):
    line = refusal(data_dir, AUTHGATE_ENV_FILE="/nowhere/settings")
    assert line == "AUTHGATE_ENV_FILE: cannot read '/nowhere/settings': No such file or directory"


def test_a_file_that_is_no_text_is_refused_without_repeating_it(data_dir, file):
    file.write_bytes(b"AUTHGATE_SECRET_KEY=s3cret\xff\n")
    assert refusal(data_dir) == f"{file}: cannot read '{file}': is not UTF-8 text"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is somebody whom others could make read a file")
@pytest.mark.parametrize(("owner", "mode"), [(65534, 0o600), (0, 0o620), (0, 0o602)])
def test_root_reads_no_settings_that_others_could_have_written(data_dir, file, owner, mode):
    file.write_text("AUTHGATE_LOG_LEVEL_FILE=/etc/shadow\n")
    os.chown(file, owner, -1)
    file.chmod(mode)
    assert (
        refusal(data_dir) == f"{file}: others may write to '{file}', so root does not read it: chown root, chmod go-w"
    )


@pytest.mark.parametrize(
    ("mode", "text", "found"),
    [
        (0o644, "AUTHGATE_SECRET_KEY=" + "s3cret" * 6, "holds secrets and is open to other users of this machine."),
        (0o640, "AUTHGATE_SECRET_KEY=" + "s3cret" * 6, ""),
        (0o644, "AUTHGATE_LOG_LEVEL=info", ""),
    ],
)
def test_check_says_that_others_may_read_secrets_in_it(data_dir, elsewhere, mode, text, found):
    elsewhere.write_text(f"{text}\n")
    elsewhere.chmod(mode)
    checked = manage(environment(data_dir, AUTHGATE_ENV_FILE=str(elsewhere)), "check").stderr
    assert ("authgate.W070" in checked) == bool(found)
    assert found in checked
    assert "s3cret" not in checked


def test_check_says_that_others_may_write_to_it(settings, elsewhere):
    from gateway_site.checks import check_env_file

    settings.AUTHGATE_ENV_FILE = elsewhere
    elsewhere.chmod(0o620)
    (found,) = check_env_file(None)
    assert (found.id, found.msg) == (
        "authgate.W070", f"Other users of this machine may write to {str(elsewhere)!r}: they can set this gateway up.",
    )  # fmt: skip
