"""The OpenAPI document is valid and true of the gateway, and its page needs nothing from elsewhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.support.browser import CHROMIUM, chromium
from tests.support.gateway import Gateway
from tests.support.policies import demo_policy
from tests.support.rest import Rest, account, robot, with_api

SCHEMA = "/auth/api/schema"
# The policy refuses what no schema says: names that nothing has, two routes for one path.
CONFIG = """\
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "304", "401", "403", "404", "409", "412", "422"]
"""
RETIRE = "/v1/keys/{kid}/retire"  # of the key that has signed the credential, too: nothing would be let in after it


@pytest.fixture(scope="module")
def api_gateway(gateway_template, session_upstream, tmp_path_factory):
    policy = with_api(demo_policy(session_upstream.target))
    with Gateway(tmp_path_factory.mktemp("openapi") / "data", template=gateway_template, policy=policy) as gateway:
        yield gateway.start()


@pytest.fixture(scope="module")
def document(api_gateway) -> dict:
    return Rest(api_gateway).get(SCHEMA).body


def test_the_document_is_openapi_3_1(document):
    from openapi_spec_validator import OpenAPIV31SpecValidator, validate  # slow, and not for every worker of the suite

    assert document["openapi"] == "3.1.0"
    validate(document, cls=OpenAPIV31SpecValidator)


def test_every_operation_has_a_name_of_its_own_and_words(document):
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations) > 40
    assert all(operation["summary"].endswith(".") for operation in operations)


def test_no_answer_shows_a_secret(document):
    shown = {name for name in document["components"]["schemas"] if not name.endswith("Input")}
    fields = {field for name in shown for field in document["components"]["schemas"][name]["properties"]}
    words = ("secret", "private", "sealed", "poll_token")
    assert {field for field in fields if any(word in field for word in words)} == {
        "has_client_secret",
        "has_poll_token",
    }


@pytest.mark.parametrize(
    ("by", "options", "seconds"),
    [
        ("token", ["--exclude-path", RETIRE], 25),
        ("superuser", ["--exclude-path", RETIRE], 25),
        ("token", ["--include-path", RETIRE], 5),
    ],
    ids=["token", "superuser", "retiring"],
)
def test_schemathesis_finds_nothing(start_gateway, upstream, tmp_path: Path, by, options, seconds):
    gateway = start_gateway(policy=with_api(demo_policy(upstream.target)))
    caller = robot(gateway) if by == "token" else account(gateway, "root", is_superuser=True)
    sent = {"authorization": f"Bearer {caller.token}"} if caller.token else caller.headers
    headers = [option for name, value in sent.items() for option in ("-H", f"{name.title()}: {value}")]
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    program = [sys.executable, "-m", "schemathesis.cli", "--config-file", "schemathesis.toml", "run"]
    limits = ["--max-time", str(seconds), "--no-color", "--continue-on-failure"]
    found = subprocess.run(
        [*program, gateway.url + SCHEMA, *headers, *limits, *options], cwd=tmp_path, capture_output=True, text=True
    )
    assert found.returncode == 0, found.stdout[-20_000:] + found.stderr
    assert "Traceback" not in gateway.output
    assert "--include-path" in options or caller.get("/policy").status == 200  # it was let in until the end


@pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium")
def test_the_page_shows_the_api_and_asks_nobody_else(api_gateway):
    asked, said = [], []
    with chromium() as browser:
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(f"{api_gateway.url}/auth/api/docs")
        expect(page.get_by_text("Replace the policy, whole or not at all.")).to_be_visible()
        page.get_by_text("Replace the policy, whole or not at all.").click()
        expect(page.get_by_role("button", name="Try it out").first).to_be_visible()
    assert {url for url in asked if not url.startswith((api_gateway.url, "data:"))} == set()
    assert said == []
