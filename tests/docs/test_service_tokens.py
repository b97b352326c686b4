"""docs/service-tokens.md, done as it says: real git and real pip, through the policy that it prints."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from authgate.authn.service_tokens import has_checksum
from tests.support.gateway import ROOT, Gateway

PAGE = (ROOT / "docs" / "service-tokens.md").read_text()
POLICY = re.search(r"```yaml\n(.+?)```", PAGE, re.DOTALL)[1]
HELPER = re.search(r"\.helper '(.+?)'\n", PAGE)[1]
METADATA = "Metadata-Version: 2.1\nName: tool\nVersion: 1.0\n"
WHEEL = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


class Files(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A repository for git's plain HTTP, and a package index, both as files."""
    root = tmp_path_factory.mktemp("site")
    work, bare, index = root / "work", root / "git" / "tool.git", root / "simple" / "tool"
    run("git", "init", "-q", work)
    (work / "README").write_text("hello")
    run("git", "-C", work, "add", ".")
    run("git", "-C", work, "-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "-qm", "first")
    run("git", "clone", "-q", "--bare", work, bare)
    run("git", "-C", bare, "update-server-info")
    index.mkdir(parents=True)
    with zipfile.ZipFile(index / "tool-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tool.py", "")
        wheel.writestr("tool-1.0.dist-info/METADATA", METADATA)
        wheel.writestr("tool-1.0.dist-info/WHEEL", WHEEL)
        wheel.writestr("tool-1.0.dist-info/RECORD", "")
    (index / "index.html").write_text('<a href="tool-1.0-py3-none-any.whl">tool-1.0-py3-none-any.whl</a>')
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Files, directory=root))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def gateway(gateway_template, site, tmp_path_factory):
    policy = re.sub(r"http://127\.0\.0\.1:\d+", site, POLICY)
    with Gateway(tmp_path_factory.mktemp("tokens") / "data", template=gateway_template, policy=policy) as gateway:
        yield gateway.start()


@pytest.fixture(scope="module")
def token(gateway):
    return gateway.manage("service_token", "create", "ci", "--role", "developer", "--quiet").strip()


def run(*command, home=None, **env):
    """Its output; with nothing of this machine's settings."""
    kept = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
    alone = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0", "HOME": str(home or "/nonexistent")}
    done = subprocess.run(
        [*map(str, command)], env={**kept, **alone, **env}, capture_output=True, text=True, timeout=120
    )
    return done.returncode, done.stdout + done.stderr


def url(gateway, path, password=""):
    return f"http://{password and f'ci:{password}@'}{gateway.host}:{gateway.port}{path}"


def pip(gateway, target, index):
    options = ("--no-deps", "--no-cache-dir", "--disable-pip-version-check", "--no-input", "--isolated")
    return run(sys.executable, "-m", "pip", "install", *options, "--target", target, "--index-url", index, "tool")


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_git_clones_with_a_service_token_as_its_password(gateway, token, tmp_path):
    status, output = run("git", "clone", "-q", url(gateway, "/git/tool.git", token), tmp_path / "clone")
    assert (status, (tmp_path / "clone" / "README").read_text()) == (0, "hello"), output


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_git_asks_a_helper_for_it_as_the_page_says(gateway, token, tmp_path):
    run("git", "config", "--global", f"credential.{url(gateway, '')}.helper", HELPER, home=tmp_path)
    status, output = run(
        "git", "clone", "-q", url(gateway, "/git/tool.git"), tmp_path / "clone", home=tmp_path, TOKEN=token
    )
    assert (status, (tmp_path / "clone" / "README").read_text()) == (0, "hello"), output
    assert token not in (tmp_path / "clone" / ".git" / "config").read_text()


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_git_is_refused_with_another_password(gateway, tmp_path):
    status, output = run("git", "clone", "-q", url(gateway, "/git/tool.git", "wrong"), tmp_path / "clone")
    assert status != 0
    assert "Authentication failed" in output


def test_pip_installs_from_an_index_with_it(gateway, token, tmp_path):
    index = url(gateway, "/simple/", token).replace("ci:", "__token__:")
    status, output = pip(gateway, tmp_path, index)
    assert (status, (tmp_path / "tool.py").exists()) == (0, True), output


def test_pip_is_refused_without_it(gateway, tmp_path):
    assert pip(gateway, tmp_path, url(gateway, "/simple/"))[0] != 0


def test_the_token_on_the_page_has_the_form():
    assert has_checksum(re.search(r"^agt_\w+$", PAGE, re.MULTILINE)[0].encode())
