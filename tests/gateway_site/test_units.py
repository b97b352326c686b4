"""deploy/: units that systemd takes, that are closed enough, and that start what `serve` takes; scripts in plain sh."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from gateway_site.management.commands import serve
from tests.support.gateway import ROOT

DEPLOY = ROOT / "deploy"
UNITS = DEPLOY / "systemd"
EXPOSURE = 2.0
SCRIPTS = ("install.sh", "authgate", "certbot-deploy-hook.sh")


def tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"needs {name}")
    return path


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_systemd_finds_no_fault_with_the_units(tmp_path):
    analyze = tool("systemd-analyze")
    for unit in UNITS.glob("authgate*"):
        # Programs of an installation, which must exist.
        text = unit.read_text().replace("/opt/authgate/current/.venv/bin/python", "/bin/sh")
        (tmp_path / unit.name).write_text(text.replace("/opt/authgate/current\n", "/\n"))
    found = run(analyze, "verify", "--man=no", *sorted(tmp_path.iterdir()))
    ours = [line for line in (found.stdout + found.stderr).splitlines() if "authgate" in line]
    assert ours == []


def test_the_service_is_closed_to_most_of_the_machine():
    found = run(tool("systemd-analyze"), "security", "--offline=true", "--no-pager", UNITS / "authgate.service")
    level = re.search(r"exposure level for authgate.service: ([0-9.]+)", found.stdout)
    assert level is not None, found.stderr
    assert float(level[1]) < EXPOSURE


@pytest.mark.parametrize("script", SCRIPTS)
def test_shellcheck_finds_no_fault_with_the_scripts(script):
    found = run(tool("shellcheck"), DEPLOY / script)
    assert found.returncode == 0, found.stdout


def test_the_units_start_what_serve_takes():
    unit = (UNITS / "authgate.service").read_text()
    installer = (DEPLOY / "install.sh").read_text()
    assert re.search(r"^ExecStart=\S+ manage.py serve \$SERVE_OPTIONS$", unit, re.MULTILINE)
    (options,) = re.findall(r'options="(--tls-cert .+)"', installer)
    serve.Command().create_parser("manage.py", "serve").parse_args(options.split())
    names = {
        re.findall(r"^FileDescriptorName=(.+)$", file.read_text(), re.MULTILINE)[0] for file in UNITS.glob("*.socket")
    }
    assert names == {"https", "redirect"}


def test_the_service_may_drain_for_as_long_as_it_does_by_default():
    unit = (UNITS / "authgate.service").read_text()
    assert int(re.search(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)[1]) > 30 + 5


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_the_installer_explains_itself_without_being_root(shell):
    found = run(shell, DEPLOY / "install.sh", "--help")
    assert found.returncode == 0
    for word in ("--public-url", "--behind-proxy", "--firewall", "--purge", "--dry-run", "uninstall"):
        assert word in found.stdout


def test_what_the_installer_needs_is_part_of_the_project():
    installer = (DEPLOY / "install.sh").read_text()
    contents = re.search(r"CONTENTS='([^']+)'", installer)[1].split()
    assert all((ROOT / name).exists() for name in contents)
    assert "--require-hashes" in installer
