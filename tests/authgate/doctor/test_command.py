"""What people and scripts get of `manage.py doctor`."""

from __future__ import annotations

import json

import pytest

from tests.support.gateway import Gateway
from tests.support.policies import demo_policy


@pytest.fixture
def running(start_gateway):
    return start_gateway()


def test_a_gateway_that_is_well_ends_with_0(running):
    result = running.run("doctor")
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0] == "configuration"
    assert lines[1] == f"  ok       public URL: {running.url}"
    assert lines[-1] == "0 errors, 0 warnings"
    assert all(line.startswith("  ok       ") for line in lines if line.startswith(" "))


def test_subjects_come_in_one_order(running):
    headings = [line for line in running.run("doctor").stdout.splitlines() if not line.startswith(" ")]
    assert headings[:-1] == [
        "configuration", "files", "database", "Redis", "signing keys", "upstreams", "public URL",
    ]  # fmt: skip


def test_an_error_ends_with_1_and_says_what_to_do(running):
    running.stop()
    result = running.run("doctor")
    assert (result.returncode, result.stderr) == (1, "CommandError: 1 error, 0 warnings\n")
    assert "  error    reach: the public URL at " in result.stdout
    assert "           to do: Is the gateway running?" in result.stdout


def test_warnings_count_if_the_caller_says_so(running):
    (running.data_dir / "secret_key").chmod(0o644)
    assert running.run("doctor").returncode == 0
    result = running.run("doctor", "--fail-level", "warning")
    assert (result.returncode, result.stderr) == (1, "CommandError: 0 errors, 1 warning\n")


def test_json_is_json_alone(running):
    report = json.loads(running.run("doctor", "--json").stdout)
    assert report.keys() == {"errors", "warnings", "findings"}
    assert report["findings"][0] == {
        "subject": "configuration", "level": "ok", "name": "public URL", "text": running.url, "remedy": "",
    }  # fmt: skip


def test_colours_are_for_terminals(running):
    assert "\x1b[" not in running.run("doctor").stdout
    assert "\x1b[" in running.run("doctor", "--force-color").stdout


def test_before_the_first_migration_it_says_what_to_do_first(tmp_path):
    with Gateway(tmp_path / "data", policy=demo_policy("http://127.0.0.1:9")) as gateway:
        for file in gateway.data_dir.glob("authgate.sqlite3*"):
            file.unlink()
        result = gateway.run("doctor")
    assert result.returncode == 1
    assert "run manage.py migrate for a new one" in result.stdout
    assert "Traceback" not in result.stdout + result.stderr


def test_nothing_is_changed_or_made(running):
    before = sorted(path.name for path in running.data_dir.iterdir())
    running.run("doctor")
    assert sorted(path.name for path in running.data_dir.iterdir()) == before
