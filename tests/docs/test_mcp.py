"""docs/mcp.md, done as it says."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.support.gateway import ROOT, Gateway
from tests.support.mcp_server import McpServer

PAGE = (ROOT / "docs" / "mcp.md").read_text()
SERVER, CLIENT = re.findall(r"```python\n(.+?)```", PAGE, re.DOTALL)
POLICY = re.search(r"```yaml\n(.+?)```", PAGE, re.DOTALL)[1]


@pytest.fixture(scope="module")
def gateway(gateway_template, tmp_path_factory):
    server = McpServer(code=SERVER)
    try:
        policy = POLICY.replace("http://127.0.0.1:3001", server.target)
        with Gateway(tmp_path_factory.mktemp("mcp") / "data", template=gateway_template, policy=policy) as gateway:
            yield gateway.start()
    finally:
        server.stop()


def printed_token(command):
    """The arguments of the page's command that begins like this."""
    return re.search(rf"`manage\.py ({command} .+? --quiet)`", PAGE)[1].split()


@pytest.mark.parametrize("command", ["mint_token", "service_token"])
def test_the_client_calls_the_server_with_a_token(gateway, command):
    token = gateway.manage(*printed_token(command)).strip()
    code = CLIENT.replace("TOKEN", token).replace("http://localhost:8000", gateway.url)
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert ran.stdout.splitlines() == ["['list_tables', 'read_row']", "tool_not_allowed"], ran.stderr


def test_the_page_names_the_version_that_is_tested():
    wanted = re.search(r"`pip install (mcp==.+?)`", PAGE)[1]
    assert wanted in (ROOT / "requirements-dev.in").read_text().splitlines()
