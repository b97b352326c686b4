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
from io import StringIO
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.base import CommandError

from authgate.models.people import IdentityProvider, Person
from authgate.policy import revisions
from authgate.policy.powers import Machine
from authgate.policy.schema import PolicyDocument, Role
from gateway_site.demo import openid, traces
from gateway_site.demo.banner import banner
from gateway_site.demo.data import create_admin
from gateway_site.demo.page import render
from gateway_site.demo.processes import claim_port
from gateway_site.demo.sign_in import CONFIGURATION, prepare
from tests.support import raw
from tests.support.agent import Agent
from tests.support.browser import chromium
from tests.support.gateway import MANAGE, ROOT, Gateway, environment, free_port, manage

BANNER_END = "Behind each route:"


class Demo:
    def __init__(self, data_dir: Path, port: int | None = None, **values: str) -> None:
        self.port = port or free_port()
        self.data_dir, self.env = data_dir, environment(data_dir, **values)
        self.output = data_dir.with_name(f"{data_dir.name}.{self.port}.out")
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, MANAGE, "demo", "--port", str(self.port)],
                env=self.env, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def wait_for_banner(self) -> Demo:
        deadline = time.monotonic() + 40
        while BANNER_END not in self.text:
            assert self.process.poll() is None and time.monotonic() < deadline, self.text
            time.sleep(0.05)
        return self

    @property
    def text(self) -> str:
        return self.output.read_text()

    @property
    def password(self) -> str:
        found = re.search(r"Password: +(.+)", self.text)
        assert found
        return found[1]

    def curl_lines(self) -> list[str]:
        return re.findall(r"^  (curl .+)$", self.text, re.MULTILINE)

    def request(self, target: str, **options) -> raw.Response:
        data = raw.request(target=target, host=f"localhost:{self.port}", **options)
        return raw.exchange(("127.0.0.1", self.port), data)

    def stop(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(20)

    def processes(self) -> list[str]:
        """Command lines of everything that runs on this data directory."""
        mark = f"AUTHGATE_DATA_DIR={self.data_dir}\0".encode()
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (path / "environ").read_bytes() + b"\0":
                    found.append((path / "cmdline").read_text().replace("\0", " "))
            except OSError:
                continue
        return [line for line in found if line]


def start(data_dir: Path, **options) -> Demo:
    return Demo(data_dir, **options).wait_for_banner()


def wait_until_gone(demo: Demo) -> list[str]:
    deadline = time.monotonic() + 10
    while demo.processes() and time.monotonic() < deadline:
        time.sleep(0.1)
    return demo.processes()


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    demo = start(tmp_path_factory.mktemp("demo") / "data")
    yield demo
    demo.stop()


def run(line: str, **values: str) -> str:
    env = {**os.environ, **values}
    return subprocess.run(["bash", "-c", line], cwd=ROOT, env=env, capture_output=True, text=True, check=True).stdout


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
    url, directory = f"http://localhost:{demo.port}", tmp_path_factory.mktemp("readme")
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
    assert f"http://localhost:{demo.port}{path}" in demo.text
    assert demo.request(path).status in (200, 302, 401)


def test_the_printed_password_signs_in_to_the_admin(demo):
    code = f"from django.contrib.auth import authenticate as a; print(a(username='admin', password={demo.password!r}))"
    assert manage(demo.env, "shell", "--no-imports", "-c", code).stdout == "admin\n"


# --- what was set for it ------------------------------------------------------------------------------------
def test_the_public_url_may_be_named_by_a_file(data_dir):
    port, file = free_port(), data_dir.with_name("url")
    file.write_text(f"http://127.0.0.1:{port}")
    demo = start(data_dir, port=port, AUTHGATE_PUBLIC_URL_FILE=str(file))
    assert f"Gateway      http://127.0.0.1:{port}/\n" in demo.text
    assert json.loads(run(demo.curl_lines()[2]))["identity"]["id"] == "alice"
    assert demo.stop() == 0


def test_a_secret_is_named_and_not_printed(tmp_path):
    key = {"AUTHGATE_SECRET_KEY": "s3cret" * 6}
    demo = start(tmp_path / "data", **key)
    assert "s3cret" not in demo.text
    assert f"from {ROOT}, with AUTHGATE_SECRET_KEY set as here:\n" in demo.text
    assert json.loads(run(demo.curl_lines()[2], **key))["identity"]["id"] == "alice"
    assert demo.stop() == 0


def test_no_password_in_a_url_is_printed(monkeypatch, tmp_path):
    monkeypatch.setenv("AUTHGATE_DATABASE_URL", "postgresql://gate:s3cret@db.example.com/gate")
    monkeypatch.setenv("AUTHGATE_REDIS_URL", "redis://:s3cret@redis.example.com/0")
    url = "http://localhost:8000"
    text = banner(url=url, auth_prefix="/auth", data_dir=tmp_path, root=ROOT, password=None, sign_in="")
    assert "s3cret" not in text
    assert ", with AUTHGATE_DATABASE_URL set as here:" in text


def test_a_new_password_is_set_in_the_database_of_this_demo(tmp_path):
    text = banner(url="http://a", auth_prefix="/auth", data_dir=tmp_path, root=ROOT, password=None, sign_in="")
    assert re.search(rf"to set a new one: AUTHGATE_DATA_DIR={tmp_path} .+ manage.py changepassword admin", text)


# --- when others are to come ----------------------------------------------------------------------------------
def test_the_data_of_a_demo_are_refused_for_others_until_they_are_removed(tmp_path):
    demo = start(tmp_path / "data")
    assert sign_in(demo, "root").open(f"http://localhost:{demo.port}/admin/").status == 200
    assert demo.stop() == 0
    for setting in ({"AUTHGATE_PUBLIC_URL": "https://gateway.example.com"}, {"AUTHGATE_ALLOWED_HOSTS": "10.0.0.1"}):
        refused = manage({**demo.env, **setting}, "serve", "--bind", f"127.0.0.1:{demo.port}")
        assert refused.returncode == 1
        assert re.search(
            r"^CommandError: the database holds a demo's .+ AUTHGATE_DATA_DIR to a new", refused.stderr, re.M
        )
    env = {**demo.env, "AUTHGATE_PUBLIC_URL": "https://gateway.example.com"}
    assert {"authgate.E004", "authgate.E005"} <= set(re.findall(r"authgate\.E\d+", manage(env, "check").stderr))
    removed = manage(env, "demo", "--remove").stdout
    assert re.findall(r"^removed the (.+?)[;,\n]", removed, re.M) == [
        "account admin", "account sso:demo|root", "identity provider demo", "demo policy",
    ]  # fmt: skip
    assert re.findall(r"\(authgate\.\w+\)", manage(env, "check").stderr) == ["(authgate.I071)", "(authgate.I074)"]
    assert not list(demo.data_dir.glob("demo-*"))
    here = {"AUTHGATE_PUBLIC_URL": env["AUTHGATE_PUBLIC_URL"]}
    with Gateway(tmp_path / "copy", env=here, template=demo.data_dir) as gateway:
        gateway.start()
        assert gateway.request("/api/public", host="gateway.example.com").json()["reason"] == "no_route"


def test_the_data_of_a_demo_from_before_they_were_marked_are_recognised(tmp_path):
    demo = start(tmp_path / "data")
    assert demo.stop() == 0
    with sqlite3.connect(demo.data_dir / "authgate.sqlite3") as database:
        assert database.execute("DELETE FROM authgate_stateversion WHERE name = 'demo'").rowcount == 1
    database.close()
    refused = manage({**demo.env, "AUTHGATE_PUBLIC_URL": "https://gateway.example.com"}, "serve")
    assert "the database holds a demo's accounts" in refused.stderr


@pytest.mark.django_db
def test_the_removal_of_a_demo_takes_those_who_were_kept_out_with_it(tmp_path):
    issuer = {"issuer": "http://127.0.0.1:9000", "client_id": traces.CLIENT_ID}
    provider = IdentityProvider.objects.create(slug=traces.PROVIDER, name="Demo", **issuer)
    Person.objects.create(provider=provider, provider_subject="root", is_active=False)
    User.objects.create(username="sso:demo|root", is_active=False)
    assert [what.partition(",")[0] for what in traces.remove(tmp_path)] == [
        "the account sso:demo|root", "the identity provider demo",
    ]  # fmt: skip
    assert traces.remove(tmp_path) == []


@pytest.mark.django_db
def test_the_policy_of_a_demo_is_removed_once_and_nobody_else_s_is(tmp_path):
    revisions.replace(PolicyDocument(roles={"a": Role()}), Machine(traces.AUTHOR), traces.COMMENT)
    assert len(traces.remove(tmp_path)) == 1
    assert traces.remove(tmp_path) == []
    revisions.replace(PolicyDocument(roles={"b": Role()}), Machine("demo"), "added role b")  # an account of that name
    assert traces.remove(tmp_path) == []


@pytest.mark.django_db
def test_the_policy_of_a_demo_that_was_edited_is_kept_and_said_to_be(tmp_path):
    revisions.replace(PolicyDocument(roles={"a": Role()}), Machine(traces.AUTHOR), traces.COMMENT)
    revisions.replace(PolicyDocument(roles={"b": Role()}), Machine("ann"), "edited")
    out = StringIO()
    call_command("demo", "--remove", stdout=out)
    assert "kept the policy, revision 2: it was changed since the demo" in out.getvalue()
    assert "manage.py policy show" in out.getvalue()


@pytest.mark.django_db
def test_a_demo_policy_that_is_removed_is_not_said_to_be_kept(tmp_path):
    revisions.replace(PolicyDocument(roles={"a": Role()}), Machine(traces.AUTHOR), traces.COMMENT)
    traces.remove(tmp_path)
    assert traces.kept() == []


@pytest.mark.django_db
@pytest.mark.parametrize("email", [traces.ADMIN_EMAIL, "ann@example.com"])
def test_an_account_of_the_demo_s_name_that_somebody_else_made_stays(tmp_path, email):
    traces.mark()
    theirs = User.objects.create_superuser("first", "a@example.com", "x")
    traces.note_account(theirs)
    theirs.delete()
    User.objects.create_superuser(traces.ADMIN, email, "a password")
    traces.remove(tmp_path)
    assert User.objects.filter(username=traces.ADMIN).exists()


@pytest.mark.django_db
def test_an_account_of_the_demo_s_name_makes_no_demo_of_a_gateway():
    User.objects.create_superuser(traces.ADMIN, traces.ADMIN_EMAIL, "a password")
    assert not traces.is_marked()


@pytest.mark.django_db
def test_the_account_that_the_demo_made_goes_with_it(tmp_path):
    traces.mark()
    assert create_admin()
    assert traces.remove(tmp_path) == ["the account admin"]


def test_its_page_fits_a_telephone():
    received = {
        "method": "GET", "path": "/" + "a" * 200, "query": "q" * 200, "identity": {"assertion": {"claim": "c" * 300}},
        "headers": {"x-a-header-with-quite-a-long-name-as-some-proxies-send-it": "v" * 300},
    }  # fmt: skip
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 390, "height": 800})
        page.set_content(render(received))
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_demo_that_others_could_reach_does_not_start_and_leaves_nothing(tmp_path):
    env = environment(tmp_path / "data", AUTHGATE_PUBLIC_URL="https://gateway.example.com")
    refused = manage(env, "demo", "--port", str(free_port()))
    assert "gateway.example.com: the demo is for this machine alone" in refused.stderr
    assert not (tmp_path / "data" / "authgate.sqlite3").exists()


def test_a_demo_does_not_start_on_the_database_of_a_gateway_in_use(tmp_path):
    env = environment(tmp_path / "data", DJANGO_SUPERUSER_PASSWORD="a long pass phrase")
    manage(env, "migrate")
    assert manage(env, "createsuperuser", "--noinput", "--username=ann", "--email=ann@example.com").returncode == 0
    refused = manage(env, "demo", "--port", str(free_port()))
    assert refused.returncode == 1
    assert "CommandError: The database here is that of a gateway in use" in refused.stderr
    with sqlite3.connect(tmp_path / "data" / "authgate.sqlite3") as database:
        assert database.execute("SELECT count(*) FROM authgate_policyrevision").fetchone() == (0,)
        assert database.execute("SELECT count(*) FROM authgate_stateversion WHERE name = 'demo'").fetchone() == (0,)
    database.close()


# --- signing in -------------------------------------------------------------------------------------------
def sign_in(demo: Demo, account: str, path: str = "/dashboard") -> Agent:
    agent = Agent()
    page = agent.sign_in(f"http://localhost:{demo.port}{path}", account)
    assert (page.url, page.status) == (f"http://localhost:{demo.port}{path}", 200), page
    return agent


def test_it_says_where_and_as_whom_to_sign_in(demo):
    assert re.search(rf"Sign in: +http://localhost:{demo.port}/dashboard as alice, or as root", demo.text)


def test_alice_signs_in_and_sees_the_protected_page(demo):
    page = sign_in(demo, "alice").open(f"http://localhost:{demo.port}/api/protected/hello")
    assert "alice@example.com" in page.text


def test_root_signs_in_as_an_administrator(demo):
    assert sign_in(demo, "root").open(f"http://localhost:{demo.port}/api/admin/hello").status == 200


def test_the_provider_s_secrets_are_readable_by_nobody_else(demo):
    for name in ("demo-provider.json", "demo-provider-keys.json"):
        assert (demo.data_dir / name).stat().st_mode & 0o777 == 0o600


NAMES = ["127.0.0.1", "[::1]", "app.localhost", "localhost"]


@pytest.mark.django_db
@pytest.mark.parametrize("public", NAMES)
@pytest.mark.parametrize("port", ["", ":8000"])
def test_sign_in_comes_back_to_every_name_of_this_machine(settings, tmp_path, public, port):
    settings.AUTHGATE_PUBLIC_URL, settings.AUTHGATE_ALLOWED_HOSTS = f"http://{public}{port}", ("app.localhost",)
    prepare(tmp_path, settings.AUTHGATE_PUBLIC_URL, "/auth")
    client = json.loads((tmp_path / CONFIGURATION).read_text())["clients"][0]
    names = [public, *(name for name in NAMES if name != public)]
    assert client["redirect_uris"] == [f"http://{name}{port}/auth/callback/demo" for name in names]


def test_without_its_packages_the_provider_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(openid, "DIRECTORY", tmp_path)
    with pytest.raises(openid.ProviderUnavailable, match="its packages are not installed"):
        openid.command(tmp_path / "configuration")


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
@pytest.fixture
def data_dir(tmp_path, gateway_template):
    """Migrated and with keys, which is most of what a first start does."""
    return shutil.copytree(gateway_template, tmp_path / "data")


def test_term_stops_everything_quietly(data_dir):
    demo = start(data_dir)
    assert demo.stop(signal.SIGTERM) == 0
    assert demo.processes() == []
    assert "Traceback" not in demo.text


def test_control_c_stops_everything_quietly_and_soon_whatever_is_streaming(data_dir):
    demo = start(data_dir)
    with raw.RawClient(("127.0.0.1", demo.port)) as client:
        client.send(raw.request(target="/api/public/stream?count=1000", host=f"localhost:{demo.port}")).read_head()
        started = time.monotonic()
        assert demo.stop(signal.SIGINT) == 0
    assert time.monotonic() - started < 10
    assert demo.processes() == []
    assert "Traceback" not in demo.text


def test_a_killed_demo_leaves_no_process_behind(data_dir):
    demo = start(data_dir)
    demo.stop(signal.SIGKILL)
    assert wait_until_gone(demo) == []


def test_a_second_start_keeps_the_data(data_dir):
    first = start(data_dir)
    token = manage(
        {**first.env, "AUTHGATE_PUBLIC_URL": f"http://localhost:{first.port}"}, "mint_token", "bob", "--quiet"
    )
    first.stop()
    again = start(data_dir, port=first.port)
    assert again.password.startswith("printed at the first start")
    assert "revision 1 is live" in again.text
    assert again.request("/api/protected", token=token.stdout.strip()).json()["identity"]["id"] == "bob"
    again.stop()


def test_a_second_start_keeps_who_is_signed_in_and_where_they_sign_in(data_dir):
    first = start(data_dir)
    alice, kept = sign_in(first, "alice"), (data_dir / "demo-provider-keys.json").read_bytes()
    port = json.loads((data_dir / "demo-provider.json").read_text())["port"]
    first.stop()
    again = start(data_dir, port=first.port)
    assert alice.send(f"http://localhost:{again.port}/api/protected/x").status == 200
    assert json.loads((data_dir / "demo-provider.json").read_text())["port"] == port
    assert (data_dir / "demo-provider-keys.json").read_bytes() == kept
    sign_in(again, "root")
    again.stop()


def test_the_provider_s_port_taken_since_is_another_port(data_dir):
    first = start(data_dir)
    first.stop()
    port = json.loads((data_dir / "demo-provider.json").read_text())["port"]
    with socket.create_server(("127.0.0.1", port)):
        again = start(data_dir, port=first.port)
        sign_in(again, "alice")
        again.stop()


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


@pytest.mark.parametrize("port", [0, 65536, -1])
def test_a_port_that_is_none_is_one_line(port):
    with pytest.raises(CommandError, match=f"port {port}: there is no such port; choose another: make run PORT=8001"):
        claim_port(port)


def test_two_demos_do_not_share_a_data_directory(demo):
    second = Demo(demo.data_dir)
    assert second.process.wait(20) == 1
    assert second.text == f"CommandError: another demo is running on {demo.data_dir}\n"
    assert demo.request("/api/public").status == 200


def test_the_demo_ends_when_its_service_dies(data_dir):
    demo = start(data_dir)
    children = Path(f"/proc/{demo.process.pid}/task/{demo.process.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)
    assert demo.process.wait(20) == 1
    assert demo.text.endswith("CommandError: the demo service ended with status -9\n")
    assert demo.processes() == []


def test_a_data_directory_too_deep_for_a_socket_is_one_line(tmp_path):
    demo = Demo(tmp_path / ("d" * 120))
    assert demo.process.wait(20) == 1
    assert demo.text.startswith("CommandError: AUTHGATE_DATA_DIR: too long a path for a Unix socket")
