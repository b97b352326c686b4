"""A real gateway: its own data directory, its own processes, the commands an operator uses."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.support import processes, raw
from tests.support.processes import DIE_WITH_US, MANAGE, ROOT
from tests.support.shell import Shell

START_TIMEOUT = 30.0
_random = random.SystemRandom()  # tests seed the other one, all with the same number
# Polling interval of the watcher, and time to load a small policy.
SETTLE = 1.0
# What each worker logs when it has swapped its table.
LIVE = re.compile(r"policy revision \d+ is live")
# Data directories with a policy, by what they are made from.
_prepared: dict[tuple[object, ...], Path] = {}


def environment(data_dir: Path, **values: str) -> dict[str, str]:
    """This process's environment without any AUTHGATE_ variable but the ones given, nor a machine's authorities."""
    # Each process would read all of SSL_CERT_FILE when it starts.
    not_theirs = ("AUTHGATE_", "SSL_CERT_FILE")
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(not_theirs)}
    return {
        **inherited,
        "DJANGO_SETTINGS_MODULE": "gateway_site.settings",
        "AUTHGATE_DATA_DIR": str(data_dir),
        **values,
    }


manage = processes.run


def make_template(directory: Path) -> Path:
    """A migrated data directory with keys, made once for each test session and copied for each gateway."""
    env = environment(directory)
    for args in (("migrate", "--verbosity=0"), ("mint_token", "template", "--quiet")):
        result = manage(env, *args)
        if result.returncode:
            raise RuntimeError(f"manage.py {' '.join(args)} failed:\n{result.stdout}{result.stderr}")
    return directory


def free_port() -> int:
    """Below the ephemeral range, so that no outgoing connection takes it before the gateway does.

    Tests that run beside each other have each their own part of it.
    """
    first = 20_000 + 2_000 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    while True:
        port = first + _random.randrange(2_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


class GatewayFailed(AssertionError):
    """The gateway did not start, or a command failed; the message holds its output."""


class Gateway:
    """`template` is a prepared data directory; without one the gateway starts on an empty directory."""

    def __init__(
        self,
        data_dir: Path,
        *,
        template: Path | None = None,
        policy: str | None = None,
        workers: int = 1,
        args: tuple[str, ...] = (),
        tls: bool = False,
        env: Mapping[str, str] | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
        files: int | None = None,
        program: tuple[str, ...] = (MANAGE,),
    ) -> None:
        """`files`: the most that may be open. `program`: instead of manage.py.

        `stdout`, `stderr`: descriptors, each else a file that `output` reads.
        """
        self.data_dir, self.workers, self.args = data_dir, workers, args
        self.stdout, self.stderr = stdout, stderr
        self._program = program
        self._limited = () if files is None else ("prlimit", f"--nofile={files}")
        self.port = free_port()
        self.host = "localhost"
        self.address = ("127.0.0.1", self.port)
        self.url = f"{'https' if tls else 'http'}://{self.host}:{self.port}"
        self.env = environment(data_dir, **{"AUTHGATE_PUBLIC_URL": self.url, **(env or {})})
        self.process: subprocess.Popen[bytes] | processes.Process | None = None
        self._shell: Shell | None = None
        self._tokens: dict[tuple[str, ...], str] = {}
        self._output = data_dir.with_name(f"{data_dir.name}.out")
        if template is not None:
            self._copy(template, policy, env or {})
        else:
            data_dir.mkdir(mode=0o700)
            self.manage("migrate", "--verbosity=0")
            if policy is not None:
                self.manage("policy", "import", "-", stdin=policy)

    def _copy(self, template: Path, policy: str | None, env: Mapping[str, str]) -> None:
        """With the policy imported: by the first gateway that has this template, policy and environment."""
        made_from = (template, policy, *sorted(env.items()))
        shutil.copytree(_prepared.get(made_from, template), self.data_dir)
        if policy is not None and made_from not in _prepared:
            self.manage("policy", "import", "-", stdin=policy)
            if "AUTHGATE_DATABASE_URL" not in env:
                _prepared[made_from] = template.with_name(f"{template.name}-{len(_prepared)}")
                shutil.copytree(self.data_dir, _prepared[made_from])

    def __enter__(self) -> Gateway:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    # --- the process -------------------------------------------------------------------------------------
    def start(self, *, ready: bool = True) -> Gateway:
        """Waits for readiness, unless it is not to be had: without a database."""
        with self._output.open("ab") as output, open(os.devnull) as nothing:
            streams = (
                nothing.fileno(),
                output.fileno() if self.stdout is None else self.stdout,
                output.fileno() if self.stderr is None else self.stderr,
            )
            self.process = self._serve(*streams)
        self._wait_until_accepting()
        self._wait("start its workers", lambda: len(self.worker_pids()) >= self.workers)
        if ready and not self.args:
            self._wait_until_ready()
        return self

    def _serve(self, stdin: int, stdout: int, stderr: int) -> subprocess.Popen[bytes] | processes.Process:
        args = ("serve", "--bind", f"127.0.0.1:{self.port}", "--workers", str(self.workers), *self.args)
        if self._program == (MANAGE,) and not self._limited:
            return processes.start(self.env, args, (stdin, stdout, stderr), session=True)
        return subprocess.Popen(
            [*DIE_WITH_US, *self._limited, sys.executable, *self._program, *args],
            env=self.env, cwd=ROOT, stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True,
        )  # fmt: skip

    def stop(self, timeout: float = 10.0) -> int | None:
        """TERM and wait, then KILL what is left of the process group; the exit status if it ended itself."""
        if self._shell is not None:
            self._shell.close()
            self._shell = None
        if self.process is None:
            return None
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None
        finally:
            self.kill()

    def kill(self) -> None:
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(5)

    def worker_pids(self) -> list[int]:
        """Direct children of the serving process."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in children.read_text().split()]

    @property
    def output(self) -> str:
        return self._output.read_text(errors="replace") if self._output.exists() else ""

    def log_lines(self, *, wait_for: int = 0, timeout: float = 5.0, **fields: Any) -> list[dict[str, Any]]:
        """Access-log lines whose fields equal the given ones; waits until there are `wait_for` of them."""
        deadline = time.monotonic() + timeout
        while True:
            whole = self.output.split("\n")[:-1]  # the last one may still be written
            lines = [json.loads(line) for line in whole if line.startswith("{")]
            found = [line for line in lines if all(line.get(key) == value for key, value in fields.items())]
            if len(found) >= wait_for:
                return found
            if time.monotonic() > deadline:
                raise AssertionError(f"{len(found)} of {wait_for} access-log lines with {fields}: {lines[-5:]}")
            time.sleep(0.02)

    # --- commands ----------------------------------------------------------------------------------------
    def manage(self, *args: str, stdin: str = "") -> str:
        """Standard output of `manage.py ARGS`; a failure raises with both outputs."""
        result = self.run(*args, stdin=stdin)
        if result.returncode:
            raise GatewayFailed(f"manage.py {' '.join(args)} → {result.returncode}\n{result.stdout}{result.stderr}")
        return result.stdout

    def run(self, *args: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """`manage.py ARGS`, whatever its exit status."""
        return manage(self.env, *args, stdin=stdin)

    @property
    def shell(self) -> Shell:
        """For what is not itself the subject of the test: code and commands in one process, which goes on."""
        if self._shell is not None and self._shell.env != self.env:
            self._shell.close()
            self._shell = None
        if self._shell is None:
            self._shell = Shell(self.env)
        return self._shell

    def mint(
        self,
        subject: str,
        *,
        roles: tuple[str, ...] = (),
        email: str | None = None,
        name: str | None = None,
        ttl: int | None = None,
        audience: str | None = None,
        claims: Mapping[str, str] | None = None,
        fresh: bool = False,
    ) -> str:
        """A token from `manage.py mint_token`; the same arguments give the same token unless `fresh`."""
        args = [subject, *(part for role in roles for part in ("--role", role))]
        for option, value in (("--email", email), ("--name", name), ("--ttl", ttl), ("--audience", audience)):
            if value is not None:
                args += [option, str(value)]
        for key, value in (claims or {}).items():
            args += ["--claim", f"{key}={value}"]
        if fresh or tuple(args) not in self._tokens:
            self._tokens[tuple(args)] = self.shell.command("mint_token", *args, "--quiet").strip()
        return self._tokens[tuple(args)]

    def import_policy(self, text: str) -> None:
        """Import and wait until every worker serves it."""
        seen = len(self.output)
        self.shell.command("policy", "import", "-", stdin=text)
        deadline = time.monotonic() + SETTLE
        while self.process and len(LIVE.findall(self.output, seen)) < self.workers:
            if time.monotonic() > deadline:
                break  # the same policy again is no new revision
            time.sleep(0.02)

    def settle(self) -> None:
        """Wait until a change already committed is live in every worker."""
        time.sleep(SETTLE)

    # --- requests ----------------------------------------------------------------------------------------
    def connect(self, **options: Any) -> raw.RawClient:
        return raw.RawClient(self.address, **options)

    def send(self, data: bytes, **options: Any) -> raw.Response:
        """Exactly these bytes on a new connection, one response."""
        return raw.exchange(self.address, data, **options)

    def request(
        self,
        target: str | bytes,
        *,
        method: str = "GET",
        token: str | None = None,
        headers: raw.Headers = (),
        body: bytes | None = None,
        host: str | None = None,
    ) -> raw.Response:
        host = f"{self.host}:{self.port}" if host is None else host
        return self.send(raw.request(method, target, headers, body, host=host, token=token), method=method)

    def get(self, target: str | bytes, *, token: str | None = None, headers: raw.Headers = ()) -> raw.Response:
        return self.request(target, token=token, headers=headers)

    def _wait_until_accepting(self) -> None:
        self._wait("accept connections", lambda: not socket.create_connection(self.address, 1).close())

    def _wait_until_ready(self) -> None:
        self._wait("be ready", lambda: self.get("/health/ready").status == 200)

    def _wait(self, what: str, is_done: Any) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            assert self.process is not None
            if self.process.poll() is not None:
                raise GatewayFailed(f"the gateway ended with {self.process.returncode}:\n{self.output}")
            try:
                if is_done():
                    return
            except (OSError, AssertionError):
                pass
            if time.monotonic() > deadline:
                self.kill()
                raise GatewayFailed(f"the gateway did not {what} in {START_TIMEOUT} s:\n{self.output}")
            time.sleep(0.02)
