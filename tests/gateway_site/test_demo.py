"""`manage.py demo`, as it prints, starts again and ends. Each demo here is started for several tests."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.gateway_site.test_served import said
from tests.support import raw
from tests.support.agent import Agent
from tests.support.demo import Demo, start
from tests.support.gateway import MANAGE, ROOT, Gateway, environment, free_port, manage

PROVIDER, KEYS = "demo-provider.json", "demo-provider-keys.json"


def run(line: str, **values: str) -> str:
    env = {**os.environ, **values}
    return subprocess.run(["bash", "-c", line], cwd=ROOT, env=env, capture_output=True, text=True, check=True).stdout


def password_in(text: str) -> str:
    found = re.search(r"Password: +(.+)", text)
    assert found
    return found[1]


def provider_port(data_dir: Path) -> int:
    return int(json.loads((data_dir / PROVIDER).read_text())["port"])


class Ended(NamedTuple):
    """A demo that is no more: what it said, its exit status, how long its end took, and what still ran then."""

    demo: Demo
    text: str
    status: int
    seconds: float
    left: list[str]


def end(demo: Demo, number: int) -> Ended:
    began = time.monotonic()
    status = demo.stop(number)
    return Ended(demo, demo.text, status, time.monotonic() - began, demo.processes())


class First(NamedTuple):
    """A first start, on an empty directory, at which root opened /admin/ and alice signed in; TERM has ended it."""

    ended: Ended
    alice: Agent
    token: str
    provider_port: int
    keys: bytes
    data: Path

    def copy(self, directory: Path) -> Path:
        """What it has left behind."""
        return Path(shutil.copytree(self.data, directory))


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> First:
    demo = start(tmp_path_factory.mktemp("demo") / "data", cold=True)
    alice = demo.sign_in("alice")
    assert demo.sign_in("root").open(f"{demo.url}/admin/").status == 200
    token = manage({**demo.env, "AUTHGATE_PUBLIC_URL": demo.url}, "mint_token", "bob", "--quiet").stdout.strip()
    ended = end(demo, signal.SIGTERM)
    data = Path(shutil.copytree(demo.data_dir, demo.data_dir.with_name("left")))
    return First(ended, alice, token, provider_port(data), (data / KEYS).read_bytes(), data)


@pytest.fixture(scope="module")
def demo(first: First) -> Iterator[Demo]:
    """Its second start."""
    demo = start(first.ended.demo.data_dir, port=first.ended.demo.port)
    yield demo
    demo.stop()


@pytest.fixture
def data_dir(first: First, tmp_path: Path) -> Path:
    return first.copy(tmp_path / "data")


# --- what the printed lines do ------------------------------------------------------------------------------
def test_the_first_curl_line_reaches_the_demo_service(demo):
    assert json.loads(run(demo.curl_lines()[0]))["path"] == "/api/public/hello"


def test_the_second_curl_line_is_refused(demo):
    assert run(demo.curl_lines()[1]).startswith("HTTP/1.1 401 ")


def test_the_third_curl_line_arrives_as_alice(demo):
    identity = json.loads(run(demo.curl_lines()[2]))["identity"]
    assert (identity["id"], identity["email"], identity["roles"]) == ("alice", "alice@example.com", ["admin", "user"])
    assert identity["assertion"]["sub"] == "alice"


# --- what README's first five minutes print -----------------------------------------------------------------
@pytest.fixture(scope="module")
def readme(demo, tmp_path_factory):
    """What each line of it prints, in order, when it is typed beside this demo."""
    section = (ROOT / "README.md").read_text().partition("## First five minutes")[2].partition("\n## ")[0]
    lines = re.findall(r"^(?:curl|\.venv/bin/python) .+$", section, re.MULTILINE)
    url, directory = demo.url, tmp_path_factory.mktemp("readme")
    here = {"http://localhost:8000": url, ".venv/bin/python manage.py": f"{sys.executable} {MANAGE}"}
    printed = []
    for line in lines:
        for written, meant in here.items():
            line = line.replace(written, meant)
        env = {**demo.env, "AUTHGATE_PUBLIC_URL": url}
        done = subprocess.run(["bash", "-c", line], cwd=directory, env=env, capture_output=True, text=True)
        assert done.returncode == 0, (line, done.stderr)
        printed.append(done.stdout)
    return printed


def test_anyone_reaches_the_service_by_the_first_line_of_the_readme_as_nobody(readme):
    answer = json.loads(readme[0])
    assert (answer["path"], answer["identity"]["id"]) == ("/api/public", "")


def test_nobody_is_refused_by_the_second(readme):
    assert readme[1].startswith("HTTP/1.1 401 ")
    assert '"reason": "no_credential"' in readme[1]


def test_alice_is_let_in_where_she_may_and_root_further(readme):
    alice, refused, root = map(json.loads, readme[2:5])
    assert (alice["headers"]["x-auth-user-id"], refused["reason"], root["identity"]["id"]) == (
        "alice", "missing_role", "root",
    )  # fmt: skip


def test_the_policy_goes_out_and_comes_in_again(readme):
    exported, imported, history = readme[5:]
    assert "REVISION" in history
    assert (exported, imported) != ("", "")


@pytest.mark.parametrize("path", ["/", "/dashboard", "/auth/me", "/.well-known/jwks.json", "/health", "/admin/"])
def test_every_printed_url_answers(demo, path):
    assert demo.url + path in demo.text
    assert demo.request(path).status in (200, 302, 401)


def test_the_password_that_a_first_start_prints_signs_in_to_the_admin(first, demo):
    password = password_in(first.ended.text)
    code = f"from django.contrib.auth import authenticate as a; print(a(username='admin', password={password!r}))"
    assert manage(demo.env, "shell", "--no-imports", "-c", code).stdout == "admin\n"


def test_its_port_is_known_to_commands_beside_it(demo):
    minted = manage(environment(demo.data_dir), "mint_token", "alice", "--quiet")
    assert minted.stderr == said(demo.url)
    assert demo.request("/api/protected", token=minted.stdout.strip()).status == 200


# --- what was set for it ------------------------------------------------------------------------------------
class Configured(NamedTuple):
    secret: str
    told: str  # by its third line
    ended: Ended


@pytest.fixture(scope="module")
def configured(tmp_path_factory: pytest.TempPathFactory) -> Configured:
    """With a secret of its own, and the public URL in a file; Ctrl-C has ended it while it streamed."""
    directory, port, key = tmp_path_factory.mktemp("configured"), free_port(), {"AUTHGATE_SECRET_KEY": "s3cret" * 6}
    (directory / "url").write_text(f"http://127.0.0.1:{port}")
    demo = start(directory / "data", port=port, AUTHGATE_PUBLIC_URL_FILE=str(directory / "url"), **key)
    told = run(demo.curl_lines()[2], **key)
    with raw.RawClient(("127.0.0.1", port)) as client:
        client.send(raw.request(target="/api/public/stream?count=1000", host=f"127.0.0.1:{port}"))
        assert client.read_head().status == 200
        return Configured(key["AUTHGATE_SECRET_KEY"], told, end(demo, signal.SIGINT))


def test_the_public_url_may_be_named_by_a_file(configured):
    ended = configured.ended
    assert f"Gateway      http://127.0.0.1:{ended.demo.port}/\n" in ended.text
    assert json.loads(configured.told)["identity"]["id"] == "alice"


def test_a_secret_is_named_and_not_printed(configured):
    text = configured.ended.text
    assert "s3cret" in configured.secret and "s3cret" not in text
    assert f"from {ROOT}, with AUTHGATE_SECRET_KEY set as here:\n" in text


def test_control_c_stops_everything_quietly_and_soon_whatever_is_streaming(configured):
    ended = configured.ended
    assert (ended.status, ended.left) == (0, [])
    assert ended.seconds < 10
    assert "Traceback" not in ended.text


# --- when others are to come --------------------------------------------------------------------------------
def test_the_data_of_a_demo_are_refused_for_others_until_they_are_removed(data_dir, tmp_path):
    here = environment(data_dir)
    for setting in ({"AUTHGATE_PUBLIC_URL": "https://gateway.example.com"}, {"AUTHGATE_ALLOWED_HOSTS": "10.0.0.1"}):
        refused = manage({**here, **setting}, "serve", "--bind", f"127.0.0.1:{free_port()}")
        assert refused.returncode == 1
        assert re.search(
            r"^CommandError: the database holds a demo's .+ AUTHGATE_DATA_DIR to a new", refused.stderr, re.M
        )
    env = {**here, "AUTHGATE_PUBLIC_URL": "https://gateway.example.com"}
    assert {"authgate.E004", "authgate.E005"} <= set(re.findall(r"authgate\.E\d+", manage(env, "check").stderr))
    removed = manage(env, "demo", "--remove").stdout
    assert re.findall(r"^removed the (.+?)[;,\n]", removed, re.M) == [
        "account admin", "account sso:demo|root", "identity provider demo", "demo policy",
    ]  # fmt: skip
    assert re.findall(r"\(authgate\.\w+\)", manage(env, "check").stderr) == ["(authgate.I071)", "(authgate.I074)"]
    assert not list(data_dir.glob("demo-*"))
    public = {"AUTHGATE_PUBLIC_URL": env["AUTHGATE_PUBLIC_URL"]}
    with Gateway(tmp_path / "copy", env=public, template=data_dir) as gateway:
        gateway.start()
        assert gateway.request("/api/public", host="gateway.example.com").json()["reason"] == "no_route"


def test_the_data_of_a_demo_from_before_they_were_marked_are_recognised(data_dir):
    with sqlite3.connect(data_dir / "authgate.sqlite3") as database:
        assert database.execute("DELETE FROM authgate_stateversion WHERE name = 'demo'").rowcount == 1
    database.close()
    refused = manage(environment(data_dir, AUTHGATE_PUBLIC_URL="https://gateway.example.com"), "serve")
    assert "the database holds a demo's accounts" in refused.stderr


# --- signing in -------------------------------------------------------------------------------------------
def test_it_says_where_and_as_whom_to_sign_in(demo):
    assert re.search(rf"Sign in: +http://localhost:{demo.port}/dashboard as alice, or as root", demo.text)


def test_alice_signs_in_and_sees_the_protected_page(demo):
    page = demo.sign_in("alice").open(f"{demo.url}/api/protected/hello")
    assert "alice@example.com" in page.text


def test_root_signs_in_as_an_administrator(demo):
    assert demo.sign_in("root").open(f"{demo.url}/api/admin/hello").status == 200


def test_the_provider_s_secrets_are_readable_by_nobody_else(demo):
    for name in ("demo-provider.json", "demo-provider-keys.json"):
        assert (demo.data_dir / name).stat().st_mode & 0o777 == 0o600


# --- the demo service ---------------------------------------------------------------------------------------
def test_it_shows_what_it_received(demo):
    shown = demo.request(
        "/api/public/x?a=1", method="POST", headers=[("X-Two", "1"), ("X-Two", "2")], body=b"12345"
    ).json()
    assert (shown["method"], shown["path"], shown["query"], shown["body_bytes"]) == (
        "POST", "/api/public/x", "a=1", 5,
    )  # fmt: skip
    assert shown["headers"]["x-two"] == ["1", "2"]


def test_it_shows_a_browser_a_page_that_escapes(demo):
    page = demo.request("/api/public/x?<b>", headers=[("Accept", "text/html"), ("X-Evil", "<script>")])
    assert page.header("content-type") == "text/html; charset=utf-8"
    assert "&lt;script&gt;" in page.text
    assert "<script>" not in page.text


def test_its_stream_arrives_event_by_event(demo):
    with raw.RawClient(("127.0.0.1", demo.port)) as client:
        client.send(raw.request(target="/api/public/stream?count=3&seconds=0.3", host=f"localhost:{demo.port}"))
        assert client.read_head().header("content-type") == "text/event-stream"
        times = []
        while client.read_chunk():
            times.append(time.monotonic())
    assert len(times) == 3
    assert times[2] - times[0] > 0.5


def test_its_echo_answers_before_the_body_is_complete(demo):
    head = f"POST /api/public/echo HTTP/1.1\r\nHost: localhost:{demo.port}\r\nContent-Length: 10\r\n\r\n"
    with raw.RawClient(("127.0.0.1", demo.port)) as client:
        client.send(head.encode() + b"12345").read_head()
        assert client.read_chunk() == b"12345"
        assert client.send(b"67890").read_chunk() == b"67890"


def test_it_is_as_slow_as_asked(demo):
    started = time.monotonic()
    assert demo.request("/api/public/slow?seconds=0.5").status == 200
    assert time.monotonic() - started >= 0.5


# --- starting and stopping ----------------------------------------------------------------------------------
def test_term_stops_everything_quietly(first):
    assert (first.ended.status, first.ended.left) == (0, [])
    assert "Traceback" not in first.ended.text


def test_a_second_start_keeps_the_data(first, demo):
    assert password_in(demo.text).startswith("printed at the first start")
    assert "revision 1 is live" in demo.text
    assert demo.request("/api/protected", token=first.token).json()["identity"]["id"] == "bob"


def test_a_second_start_keeps_who_is_signed_in_and_where_they_sign_in(first, demo):
    assert first.alice.send(f"{demo.url}/api/protected/x").status == 200
    assert provider_port(demo.data_dir) == first.provider_port
    assert (demo.data_dir / KEYS).read_bytes() == first.keys
    demo.sign_in("root")


class Moved(NamedTuple):
    ports: tuple[int, int]
    left: list[str]


@pytest.fixture(scope="module")
def moved(first: First, tmp_path_factory: pytest.TempPathFactory) -> Moved:
    """A later start, when somebody else has its provider's port; it was killed once alice had signed in."""
    data_dir = first.copy(tmp_path_factory.mktemp("moved") / "data")
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        taken = somebody.getsockname()[1]
        file = data_dir / PROVIDER
        file.write_text(json.dumps({**json.loads(file.read_text()), "port": taken}))
        demo = start(data_dir)
        demo.sign_in("alice")
    demo.stop(signal.SIGKILL)
    return Moved((taken, provider_port(data_dir)), demo.wait_until_gone())


def test_the_provider_s_port_taken_since_is_another_port(moved):
    assert moved.ports[0] != moved.ports[1]


def test_a_killed_demo_leaves_no_process_behind(moved):
    assert moved.left == []


def test_the_demo_ends_when_its_service_dies(data_dir):
    demo = start(data_dir)
    os.kill(demo.children()[0], signal.SIGKILL)
    assert demo.process.wait(20) == 1
    assert demo.text.endswith("CommandError: the demo service ended with status -9\n")
    assert demo.processes() == []


@pytest.mark.parametrize(
    ("address", "family"), [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)], ids=["IPv4", "IPv6"]
)
def test_a_busy_port_is_one_line_and_starts_nothing(tmp_path, address, family):
    try:
        taken = socket.create_server((address, 0), family=family)
    except OSError as error:
        pytest.skip(f"needs {address}: {error}")
    with taken:
        port = taken.getsockname()[1]
        demo = Demo(tmp_path / "data", port=port)
        assert demo.process.wait(20) == 1
    assert demo.text == f"CommandError: port {port}: Address already in use; choose another: make run PORT={port + 1}\n"
    assert not (tmp_path / "data" / "authgate.sqlite3").exists()


def test_two_demos_do_not_share_a_data_directory(demo):
    second = Demo(demo.data_dir)
    assert second.process.wait(20) == 1
    assert second.text == f"CommandError: another demo is running on {demo.data_dir}\n"
    assert demo.request("/api/public").status == 200


def test_a_data_directory_too_deep_for_a_socket_is_one_line(tmp_path):
    demo = Demo(tmp_path / ("d" * 120))
    assert demo.process.wait(20) == 1
    assert demo.text.startswith("CommandError: AUTHGATE_DATA_DIR: too long a path for a Unix socket")
