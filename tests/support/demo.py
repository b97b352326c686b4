"""A demo as `manage.py demo` runs it: its gateway, its service and its OpenID provider."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.support import processes, raw
from tests.support.agent import Agent
from tests.support.gateway import MANAGE, ROOT, environment, free_port

BANNER_END = "Behind each route:"


class Demo:
    """`cold`: by a Python of its own, as a person starts it. What it starts is always cold."""

    def __init__(self, data_dir: Path, port: int | None = None, *, cold: bool = False, **values: str) -> None:
        self.port = port or free_port()
        self.data_dir, self.env = data_dir, environment(data_dir, **values)
        self.output = data_dir.with_name(f"{data_dir.name}.{self.port}.out")
        self.process: subprocess.Popen[bytes] | processes.Process
        with self.output.open("wb") as output, open("/dev/null") as nothing:
            streams = (nothing.fileno(), output.fileno(), output.fileno())
            if cold:
                self.process = subprocess.Popen(
                    [sys.executable, MANAGE, *self._args], env=self.env, cwd=ROOT,
                    stdin=streams[0], stdout=streams[1], stderr=streams[2],
                )  # fmt: skip
            else:
                self.process = processes.start(self.env, self._args, streams)

    @property
    def _args(self) -> tuple[str, ...]:
        return "demo", "--port", str(self.port)

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
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    def curl_lines(self) -> list[str]:
        return re.findall(r"^  (curl .+)$", self.text, re.MULTILINE)

    def request(self, target: str, **options) -> raw.Response:
        data = raw.request(target=target, host=f"localhost:{self.port}", **options)
        return raw.exchange(("127.0.0.1", self.port), data)

    def sign_in(self, account: str, path: str = "/dashboard") -> Agent:
        agent = Agent()
        page = agent.sign_in(self.url + path, account)
        assert (page.url, page.status) == (self.url + path, 200), page
        return agent

    def children(self) -> list[int]:
        """Its service is the first."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in path.read_text().split()]

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

    def wait_until_gone(self) -> list[str]:
        deadline = time.monotonic() + 10
        while self.processes() and time.monotonic() < deadline:
            time.sleep(0.1)
        return self.processes()


def start(data_dir: Path, **options) -> Demo:
    return Demo(data_dir, **options).wait_for_banner()
