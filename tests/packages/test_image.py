from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packages.image import BASE, IMAGE, Container, build, buildah, make_base
from tests.support import raw
from tests.support.gateway import free_port

if os.geteuid() != 0:
    pytest.skip("mounting the image needs root", allow_module_level=True)


@pytest.fixture(scope="module")
def image(source: Path) -> Iterator[None]:
    make_base()
    build(source)
    yield
    buildah("rmi", "--force", IMAGE, BASE)


@pytest.fixture(scope="module")
def container(image: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    container = Container(tmp_path_factory.mktemp("container") / "volume")
    migrated = container.run("authgate", "migrate", "--verbosity=0")
    assert migrated.returncode == 0, migrated.stderr
    yield container
    container.remove()


def test_it_names_its_user_its_volume_and_commands_without_a_shell(image):
    config = json.loads(buildah("inspect", "--type=image", IMAGE))["Docker"]["config"]
    assert (config["User"], list(config["Volumes"])) == ("10001:10001", ["/var/lib/authgate"])
    assert config["Entrypoint"] == ["authgate"]
    assert config["Healthcheck"]["Test"][0] == "CMD"


def test_no_pip_and_nothing_of_the_build_is_in_it(container):
    assert container.run("python", "-c", "import pip").returncode == 1
    assert not (container.root / "src").exists()
    assert not (container.root / "build").exists()


def test_it_serves_from_a_root_that_is_read_only_and_drains_at_term(container):
    assert container.run("touch", "/opt/authgate/here").returncode == 1
    address = ("127.0.0.1", free_port())
    health = ("python", "/opt/authgate/healthy.py", f"http://127.0.0.1:{address[1]}/health")
    assert container.run(*health).returncode == 1
    command = container.command("authgate", "serve", "--bind", f"127.0.0.1:{address[1]}", "--workers", "1")
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 30
        while container.run(*health).returncode and time.monotonic() < deadline:
            assert process.poll() is None
        request = raw.request("GET", "/auth/static/admin/css/base.css", host="localhost:8000")
        assert raw.exchange(address, request).status == 200
        process.send_signal(signal.SIGTERM)
        log = process.communicate(timeout=20)[1]
    assert process.returncode == 0, log


def test_its_data_are_its_users_alone(container):
    listed = container.run("find", "/var/lib/authgate", "-name", "secret_key", "-printf", "%m %U").stdout
    assert listed == "600 10001"
    assert "no issues" in container.run("authgate", "check").stdout
