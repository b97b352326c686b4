"""What commands know of the gateway whose data directory they are given."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.gateway import ROOT, Gateway, environment, manage
from tests.support.policies import demo_policy

COMMANDS = (
    ("mint_token", "alice"), ("serve",), ("policy", "history"), ("policy", "export"), ("provider", "list"),
    ("sessions", "end", "--all"), ("createsuperuser",), ("changepassword", "ann"), ("check",), ("dbshell",),
    ("clearsessions",), ("migrate", "--check"), ("migrate", "--plan"), ("demo", "--remove"),
    ("makemigrations", "--check"),
)  # fmt: skip


@pytest.fixture
def data_dir(gateway_template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(gateway_template, tmp_path / "data"))


def said(url: str) -> str:
    return f"authgate: AUTHGATE_PUBLIC_URL is not set: using {url}, as this gateway was last served\n"


@pytest.fixture(scope="module", params=[(), ("--http2",)], ids=["http1", "http2"])
def served(request, gateway_template, session_upstream, tmp_path_factory):
    data_dir, policy = tmp_path_factory.mktemp("served") / "data", demo_policy(session_upstream.target)
    with Gateway(data_dir, template=gateway_template, policy=policy, args=request.param) as gateway:
        yield gateway.start()


@pytest.fixture(scope="module")
def served_by_default(gateway_template, session_upstream, tmp_path_factory):
    """First by another URL."""
    data_dir, policy = tmp_path_factory.mktemp("default") / "data", demo_policy(session_upstream.target)
    with Gateway(data_dir, template=gateway_template, policy=policy) as gateway:
        gateway.start()
        gateway.stop()
        gateway.env |= {"AUTHGATE_PUBLIC_URL": "", "AUTHGATE_ALLOWED_HOSTS": "gateway.example.com"}
        yield gateway.start()


# --- the public URL -----------------------------------------------------------------------------------------
def test_a_command_without_a_public_url_mints_for_the_gateway_that_is_served(served):
    minted = manage(environment(served.data_dir), "mint_token", "alice", "--quiet")
    assert minted.stderr == said(served.url)
    assert served.get("/api/protected", token=minted.stdout.strip()).status == 200
    assert "is not set: using" not in served.output


def test_a_public_url_that_is_set_wins_over_the_one_that_was_served(gateway):
    env = environment(gateway.data_dir, AUTHGATE_PUBLIC_URL="http://localhost:7000")
    minted = manage(env, "mint_token", "alice")
    assert "http://localhost:7000/" in minted.stdout
    assert re.fullmatch(r"jti \S+, expires \S+\n", minted.stderr)


def test_nothing_is_said_of_a_gateway_that_was_served_by_the_default_url(served_by_default):
    assert manage(environment(served_by_default.data_dir), "policy", "history").stderr == ""


def test_a_gateway_is_called_by_its_settings_and_not_as_it_was_last_served(served_by_default):
    gateway = served_by_default
    token = manage(environment(gateway.data_dir), "mint_token", "alice", "--quiet").stdout.strip()
    assert gateway.get("/api/protected", token=token).status == 200
    assert json.loads((gateway.data_dir / "served.json").read_text())["public_url"] == "http://localhost:8000"


def test_a_port_that_is_not_the_public_url_s_is_named_at_the_start(start_gateway, gateway):
    asks = "sign-in, links and tokens are for http://localhost:1, but the gateway listens on port"
    assert asks in start_gateway(env={"AUTHGATE_PUBLIC_URL": "http://localhost:1"}).output
    behind = {"AUTHGATE_PUBLIC_URL": "http://localhost:1", "AUTHGATE_TRUSTED_PROXIES": "127.0.0.1/32"}
    others = [start_gateway(env=env) for env in ({"AUTHGATE_PUBLIC_URL": "http://gateway.test"}, behind)]
    for started in (gateway, *others):
        assert "sign-in, links and tokens are for" not in started.output


@pytest.mark.parametrize("args", [(), ("--http2",)], ids=["http1", "http2"])
def test_a_second_gateway_that_finds_the_port_taken_is_not_the_one_that_is_served(gateway, args):
    env = environment(gateway.data_dir, AUTHGATE_PUBLIC_URL="http://localhost:8000")
    second = manage(env, "serve", "--bind", f"127.0.0.1:{gateway.port}", *args)
    assert "Address already in use" in second.stderr
    assert json.loads((gateway.data_dir / "served.json").read_text())["public_url"] == gateway.url


@pytest.mark.parametrize("content", ["", "\0" * 40, "[]", "{}", '{"public_url": "s3cret", "tls": false}'])
def test_a_damaged_note_of_the_public_url_is_one_line_that_does_not_repeat_it(data_dir, content):
    (data_dir / "served.json").write_text(content)
    refused = manage(environment(data_dir), "policy", "history")
    problem = f"AUTHGATE_PUBLIC_URL: not set, and '{data_dir}/served.json' is damaged: remove it"
    assert (refused.returncode, refused.stderr) == (1, f"authgate: {problem}\n")
    assert manage(environment(data_dir, AUTHGATE_PUBLIC_URL="http://localhost"), "policy", "history").returncode == 0


def test_the_note_is_for_the_gateway_s_user_alone(gateway):
    assert (gateway.data_dir / "served.json").stat().st_mode & 0o777 == 0o600


def test_a_gateway_that_cannot_write_the_note_serves_all_the_same(start_gateway, gateway_template, tmp_path):
    shutil.copytree(gateway_template, tmp_path / "template")
    (tmp_path / "template" / "served.json").mkdir()
    gateway = start_gateway(template=tmp_path / "template")
    assert gateway.get("/api/public").status == 200
    assert "commands will not know the public URL: cannot write" in gateway.output


# --- a mistyped data directory ------------------------------------------------------------------------------
@pytest.mark.parametrize("args", COMMANDS, ids=" ".join)
def test_with_a_mistyped_data_directory_a_command_names_the_database_and_makes_nothing(tmp_path, args):
    typo = tmp_path / "typo"
    result = manage(environment(typo), *args)
    if args[0] != "makemigrations":  # compares files, and asks no database for more than its history
        assert f"'{typo}/authgate.sqlite3' is not there; put it back, or run manage.py migrate" in result.stderr
    assert "Traceback" not in result.stderr
    assert not typo.exists()


@pytest.mark.parametrize("args", COMMANDS, ids=" ".join)
def test_in_an_empty_directory_a_command_makes_nothing_either(tmp_path, args):
    manage(environment(tmp_path), *args)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("args", [("mint_token", "alice"), ("serve",), ("check",)], ids=" ".join)
def test_with_a_database_server_a_mistyped_data_directory_costs_no_new_secret_key(tmp_path, args):
    typo = tmp_path / "typo"
    refused = manage(environment(typo, AUTHGATE_DATABASE_URL="postgresql://gate@127.0.0.1:1/gate"), *args)
    problem = f"not set, and '{typo}/secret_key' is not there: see AUTHGATE_DATA_DIR; manage.py migrate makes it"
    assert (refused.returncode, refused.stderr) == (1, f"authgate: AUTHGATE_SECRET_KEY: {problem}\n")
    assert not typo.exists()


def test_a_data_directory_of_which_nothing_is_kept_there_is_made_as_before(postgres, tmp_path):
    env = environment(tmp_path / "a", AUTHGATE_DATABASE_URL=postgres.create_database(), AUTHGATE_SECRET_KEY="k" * 32)
    assert manage(env, "migrate", "--verbosity=0").returncode == 0
    assert manage({**env, "AUTHGATE_DATA_DIR": str(tmp_path / "b")}, "mint_token", "alice").returncode == 0
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o700


def test_migrate_makes_a_gateway(tmp_path):
    assert manage(environment(tmp_path / "new"), "migrate", "--verbosity=0").returncode == 0
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["authgate.sqlite3", "secret_key"]


# --- without the virtual environment ------------------------------------------------------------------------
def bare(*args: str, manage_py: Path = ROOT / "manage.py", cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """As with a Python that has nothing installed."""
    command = [sys.executable, "-E", "-s", "-S", str(manage_py), *args]
    return subprocess.run(command, cwd=cwd, text=True, capture_output=True)


def test_without_the_virtual_environment_one_line_says_which_python_to_use(tmp_path):
    shutil.copy(ROOT / "manage.py", tmp_path)
    for name in ("gateway_site", "authgate"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)
    refused = bare("check", manage_py=Path("manage.py"), cwd=tmp_path)
    assert refused.returncode == 1
    assert refused.stderr == (
        f"authgate: django is not installed for {sys.executable}: use .venv/bin/python manage.py\n"
    )


def test_before_setup_one_line_says_how_to_set_up(tmp_path):
    shutil.copy(ROOT / "manage.py", tmp_path)
    for name in ("gateway_site", "authgate"):
        (tmp_path / name).symlink_to(ROOT / name)
    refused = bare("check", manage_py=Path("manage.py"), cwd=tmp_path)
    assert refused.stderr.endswith(f": run `make setup` in {tmp_path} first, then .venv/bin/python manage.py\n")


# --- help and checks ----------------------------------------------------------------------------------------
def test_help_lists_the_commands_of_the_gateway_first(data_dir):
    shown = manage(environment(data_dir), "help").stdout
    ours, others = shown.split("Available subcommands:")
    for name in ("demo", "migrate", "policy", "provider", "serve", "mint_token", "sessions", "check"):
        assert f"\n    {name} " in ours
    assert "[django]" in others


def test_the_help_of_serve_shows_defaults(data_dir):
    shown = " ".join(manage(environment(data_dir), "serve", "--help").stdout.split())
    assert "--bind HOST:PORT default: 127.0.0.1:8000" in shown
    assert f"default: one for each processor, {len(os.sched_getaffinity(0))} here" in shown


@pytest.mark.parametrize("url", ["http://localhost:8000", "https://gateway.example.com"])
def test_a_deployment_check_has_no_warnings_that_are_false_here(data_dir, url):
    env = environment(data_dir, AUTHGATE_PUBLIC_URL=url, AUTHGATE_TRUSTED_PROXIES="10.0.0.1" if url[4] == "s" else "")
    checked = manage(env, "check", "--deploy", "--fail-level", "WARNING")
    assert (checked.returncode, "WARNINGS" in checked.stderr) == (0, False), checked.stderr


# --- https without TLS --------------------------------------------------------------------------------------
HTTPS = {"AUTHGATE_PUBLIC_URL": "https://gateway.example.com"}


def test_check_and_serve_warn_of_https_that_nobody_serves(start_gateway):
    gateway = start_gateway(env=HTTPS)
    assert "authgate.W071: AUTHGATE_PUBLIC_URL is https and AUTHGATE_TRUSTED_PROXIES is empty" in gateway.output
    assert "authgate.W071" in gateway.run("check").stderr


def test_before_the_first_start_check_says_what_serve_will_need(data_dir):
    checked = manage(environment(data_dir, **HTTPS), "check", "--fail-level", "WARNING")
    assert (checked.returncode, "(authgate.I071)" in checked.stderr) == (0, True)
    assert "authgate.I071" not in manage(environment(data_dir, **HTTPS), "policy", "history").stderr


def test_https_of_a_trusted_proxy_is_no_problem(start_gateway):
    gateway = start_gateway(env={**HTTPS, "AUTHGATE_TRUSTED_PROXIES": "127.0.0.1"})
    assert "071" not in gateway.output + gateway.run("check").stderr


def test_https_that_is_served_here_is_no_problem(gateway_template, tmp_path, certificates):
    tls = ("--tls-cert", str(certificates.cert_file), "--tls-key", str(certificates.key_file))
    with Gateway(tmp_path / "data", template=gateway_template, args=tls, env=HTTPS) as gateway:
        gateway.start()
        assert "W071" not in gateway.output
        assert "071" not in gateway.run("check").stderr
