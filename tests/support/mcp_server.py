"""An MCP server by the public SDK, in a process of its own."""

from __future__ import annotations

import socket
import subprocess
import sys
import time

from tests.support.gateway import DIE_WITH_US, free_port
from tests.support.processes import ROOT


class McpServer:
    def __init__(self, form: str = "events", code: str = "") -> None:
        """`form` of its answers: json or events. `code`: of another server, for port 3001."""
        self.port = free_port()
        self.target = f"http://127.0.0.1:{self.port}"
        tables = ["-m", "tests.support.mcp_tables", str(self.port), form]
        self._process = subprocess.Popen(
            [*DIE_WITH_US, sys.executable, *(["-c", code.replace("3001", str(self.port))] if code else tables)],
            cwd=ROOT, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert self._process.poll() is None, "the MCP server ended"
                assert time.monotonic() < deadline, "the MCP server does not listen"
                time.sleep(0.05)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait(5)
