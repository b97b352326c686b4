"""docs/mcp.md, done as it says."""

from __future__ import annotations

import re
import subprocess
import sys

from tests.support.gateway import ROOT, Gateway
from tests.support.mcp_server import McpServer

PAGE = (ROOT / "docs" / "mcp.md").read_text()


def block(language):
    """The first of this language."""
    return re.search(rf"```{language}\n(.+?)```", PAGE, re.DOTALL)[1]


def test_the_recipe(gateway_template, tmp_path):
    server = McpServer("events")
    try:
        policy = block("yaml").replace("http://127.0.0.1:3001", server.target)
        with Gateway(tmp_path / "data", template=gateway_template, policy=policy) as gateway:
            gateway.start()
            token = gateway.manage("mint_token", "alice", "--role", "analyst", "--quiet").strip()
            code = block("python").replace("TOKEN", token).replace("http://localhost:8000", gateway.url)
            ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    finally:
        server.stop()
    assert ran.stdout.splitlines() == ["['list_tables', 'read_row']", "tool_not_allowed"], ran.stderr
