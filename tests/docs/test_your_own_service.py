"""docs/your-own-service.md, typed as it is printed, in a copy of what a clone holds."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.agent import Agent
from tests.support.gateway import ROOT, environment, free_port
from tests.support.oidc import OpenIdProvider, ProviderUnavailable
from tests.support.terminal import Terminal

PAGE = ROOT / "docs" / "your-own-service.md"
PASSWORD = "a pass phrase of somebody"


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """Files that Git knows, as they are now, and the virtual environment that `make setup` makes."""
    directory = tmp_path_factory.mktemp("clone") / "authgate"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, check=True, text=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file() and not name.startswith(".venv"):
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, directory / name)
    (directory / ".venv").symlink_to(ROOT / ".venv")
    return directory


def blocks(**values: str) -> list[list[str]]:
    """The lines of each block, with what the page asks a reader to put in; where a port is busy here, another."""
    text = PAGE.read_text()
    for written in values:
        assert written in text
    found = re.findall(r"^```\n(.+?)\n```$", text, re.DOTALL | re.MULTILINE)
    return [_replace(block, values).split("\n") for block in found]


def _replace(text: str, values: dict[str, str]) -> str:
    for written, meant in values.items():
        text = text.replace(written, meant)
    return text


@pytest.fixture(scope="module")
def typed(clone, session_upstream, tmp_path_factory):
    """The terminal in which the gateway runs, what the second block printed, and the gateway's URL."""
    home, port = tmp_path_factory.mktemp("home"), free_port()
    url = f"http://localhost:{port}"
    env = {**environment(home), "AUTHGATE_DATA_DIR": "", "HOME": str(home), "LC_ALL": "C.UTF-8"}
    del env["DJANGO_SETTINGS_MODULE"]
    try:
        provider = OpenIdProvider()
        client_id, secret = provider.client(url)
        provider.start()
    except ProviderUnavailable as error:
        pytest.skip(f"needs the OpenID provider: {error}")
    first, second = blocks(**{
        "http://127.0.0.1:3000": session_upstream.target, "https://login.example.com": provider.issuer,
        "--client-id ID": f"--client-id {client_id}", "--client-secret SECRET": f"--client-secret '{secret}'",
        "you@example.com": "root@example.com", "http://localhost:8000": url,
        "manage.py serve": f"manage.py serve --bind 127.0.0.1:{port}",
    })  # fmt: skip
    served_at = {**env, "AUTHGATE_PUBLIC_URL": url}
    with Terminal(clone, served_at) as terminal, Terminal(clone, env) as other:
        for line in first:
            terminal.type(line)
            if "createsuperuser" in line:
                answer_the_questions(terminal)
        terminal.wait_for("serving on")
        printed = [other.run(line) for line in second]
        yield terminal, printed, url
    provider.remove()


def answer_the_questions(terminal: Terminal) -> None:
    for question, answer in (
        ("sername", "ann"), ("mail address:", "ann@example.com"), ("Password:", PASSWORD),
        ("Password (again):", PASSWORD),
    ):  # fmt: skip
        terminal.wait_for(question)
        terminal.type(answer)
    terminal.wait_for("Superuser created successfully.")


def test_nobody_is_refused(typed):
    _, printed, _ = typed
    assert "HTTP/1.1 401 " in printed[1]
    assert '"reason": "no_credential"' in printed[1]


def test_a_minted_token_reaches_the_service(typed):
    _, printed, _ = typed
    assert '{"ok": true}' in printed[2]


def test_the_provider_passes_its_test(typed):
    _, printed, _ = typed
    assert "ok  " in printed[3]
    assert "FAIL" not in printed[3]


def test_nothing_is_left_open(typed):
    _, printed, _ = typed
    assert "System check identified no issues" in printed[4]


def test_a_person_of_the_provider_reaches_the_page_asked_for(typed, session_upstream):
    _, _, url = typed
    page = Agent().sign_in(f"{url}/orders?page=2", "alice")
    assert (page.url, page.status, json.loads(page.text)) == (f"{url}/orders?page=2", 200, {"ok": True})
    arrived = [request for request in session_upstream.requests if request.target == b"/orders?page=2"]
    assert arrived[-1].header("X-Auth-User-Email") == "alice@example.com"


def test_who_is_named_in_the_policy_is_let_in_to_the_admin(typed):
    _, _, url = typed
    agent = Agent()
    agent.sign_in(f"{url}/dashboard", "root")
    assert agent.open(f"{url}/admin/").status == 200


def test_readme_links_the_page_right_after_the_demo():
    readme = (ROOT / "README.md").read_text()
    demo, after = readme.index("## First five minutes"), readme.index("## In production")
    assert "docs/your-own-service.md" in readme[demo:after]
