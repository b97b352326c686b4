"""The wheel: what is in it, what it asks for, and the gateway that it installs."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
import zipfile
from collections.abc import Callable, Iterator
from email import message_from_bytes
from pathlib import Path

import pytest

from tests.docs.test_requirements import blocks
from tests.support import raw
from tests.support.gateway import ROOT, environment, free_port
from tests.support.wheel import PACKAGES, build, copy_source, install_beside_ours

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(copy_source(tmp_path_factory.mktemp("source")), SOURCE_DATE_EPOCH="1700000000")


@pytest.fixture(scope="module")
def authgate(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install_beside_ours(wheel, tmp_path_factory.mktemp("environment"))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def run(authgate: Path, home: Path) -> Run:
    """`authgate ARGS` of somebody who has set nothing."""

    def run(*args: str, **values: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [authgate, *args], env=_of_nobody(home, **values), cwd=home, capture_output=True, text=True, check=False
        )

    return run


def _of_nobody(home: Path, **values: str) -> dict[str, str]:
    unset = ("AUTHGATE_DATA_DIR", "DJANGO_SETTINGS_MODULE", "XDG_DATA_HOME", "PYTHONPATH")
    env = {key: value for key, value in environment(home).items() if key not in unset}
    return {**env, "HOME": str(home), **values}


# --- the file
def test_another_copy_of_the_same_source_makes_the_same_wheel(wheel, tmp_path):
    source = copy_source(tmp_path)
    for path in source.rglob("*"):
        os.utime(path, (0, 1_600_000_000))
        path.chmod(path.stat().st_mode & ~0o077)
    # Neither the zone nor what was built before.
    again = build(source, SOURCE_DATE_EPOCH="1700000000", TZ="Pacific/Apia")
    assert again.name == wheel.name
    assert again.read_bytes() == wheel.read_bytes()


def test_it_holds_every_file_of_the_packages_but_the_demos_provider(wheel):
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *PACKAGES]
    ours = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert inside == {name for name in ours if not name.startswith("gateway_site/demo/provider/")}


def test_it_asks_for_exactly_the_versions_of_the_lock(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("METADATA"))
        asked = message_from_bytes(archive.read(name)).get_all("Requires-Dist") or []
    always = {_pin(line) for line in asked if "extra ==" not in line}
    assert always == {_pin(block) for block in blocks("requirements")}
    for_spans = {_pin(line.partition(" and extra ==")[0].partition("; extra ==")[0]) for line in asked} - always
    assert for_spans == {_pin(block) for block in blocks("requirements-otlp")} - always
    assert for_spans


def _pin(line: str) -> str:
    """`name==version;marker`, however it is written."""
    return re.sub(r"\s+", "", line.partition("--hash")[0]).replace('"', "'")


# --- what it installs
def test_the_command_is_named_authgate_and_lists_the_gateways_commands(run):
    result = run("--help", DJANGO_SETTINGS_MODULE="of.another.project")
    assert result.returncode == 0, result.stderr
    assert "Type 'authgate help <subcommand>'" in result.stdout
    assert "    serve            Run the gateway: the production server." in result.stdout


def test_its_data_are_in_the_home_of_whoever_runs_it(run, home, tmp_path):
    kept = home / ".local" / "share" / "authgate"
    assert f"'{kept / 'authgate.sqlite3'}' is not there" in run("policy", "show").stderr or kept.exists()
    assert run("migrate", "--verbosity=0").returncode == 0
    assert {"authgate.sqlite3", "secret_key"} <= {path.name for path in kept.iterdir()}
    assert run("migrate", "--verbosity=0", XDG_DATA_HOME=str(tmp_path)).returncode == 0
    assert (tmp_path / "authgate" / "secret_key").exists()


@pytest.fixture
def address(run: Run, authgate: Path, home: Path) -> Iterator[tuple[str, int]]:
    """Where the installed gateway serves."""
    assert run("migrate", "--verbosity=0").returncode == 0
    address = ("127.0.0.1", free_port())
    env = _of_nobody(home, AUTHGATE_PUBLIC_URL=f"http://localhost:{address[1]}")
    command = [authgate, "serve", "--bind", f"127.0.0.1:{address[1]}", "--workers", "1"]
    with subprocess.Popen(command, env=env, cwd=home, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        try:
            _wait_for(address, process)
            yield address
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=20)
    assert process.returncode == 0


def _wait_for(address: tuple[str, int], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(address, 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError(f"it does not serve: {process.returncode}")


def test_the_installed_gateway_serves_with_its_templates_and_the_files_of_its_pages(address):
    def get(target: str) -> raw.Response:
        return raw.exchange(address, raw.request("GET", target, host=f"localhost:{address[1]}"))

    assert get("/health/ready").status == 200
    login = get("/admin/login/")
    assert (login.status, b"/auth/static/authgate/" in login.body) == (200, True)
    assert get("/nowhere").status == 404
    for file in ("admin/css/base.css", "authgate/site.css", "drf_spectacular_sidecar/swagger-ui-dist/swagger-ui.css"):
        response = get(f"/auth/static/{file}")
        assert (file, response.status, response.header("content-type")) == (file, 200, "text/css; charset=utf-8")


def test_its_demo_says_that_it_has_no_sign_in(authgate, home, tmp_path):
    port = free_port()
    with subprocess.Popen(
        [authgate, "demo", "--port", str(port)], env=_of_nobody(home, XDG_DATA_HOME=str(tmp_path)), cwd=home,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        text = ""
        while "/slow?seconds" not in text and (line := process.stdout.readline()):
            text += line
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    assert "Sign in:       not in this demo: its files are in the checkout alone" in text
    assert f"{authgate} mint_token alice" in text
    assert "terminal:\n" in text
