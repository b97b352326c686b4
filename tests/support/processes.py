"""Processes of manage.py. Most are forked by one that has loaded Python's packages (tests/support/starter.py)."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent.parent.parent
MANAGE = str(ROOT / "manage.py")
# A test run that is killed tears nothing down: the kernel ends its gateways (util-linux).
DIE_WITH_US = ("setpriv", "--pdeathsig", "TERM", "--") if shutil.which("setpriv") else ()
# What Python reads before any module of ours does. No fork can obey another value of it.
_PYTHONS_OWN = ("PYTHON", "LC_", "LANG")


class Process:
    """As much of subprocess.Popen as the tests ask of a child of the starter."""

    def __init__(self, report: socket.socket) -> None:
        self._report = report
        self._lines = report.makefile("r")
        self.pid = int(self._lines.readline())
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self._report], [], [], 0)[0]:
            self._take_status()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Raises subprocess.TimeoutExpired."""
        if self.returncode is None:
            if not select.select([self._report], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("manage.py", timeout or 0)
            self._take_status()
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def _take_status(self) -> None:
        self.returncode = int(self._lines.readline())
        self._lines.close()
        self._report.close()


class Starter:
    """The starter of this test process, which ends with it."""

    def __init__(self) -> None:
        self._orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        not_ours = {key: value for key, value in os.environ.items() if not key.startswith(("AUTHGATE_", "DJANGO_"))}
        with theirs:
            self._process = subprocess.Popen(
                [*DIE_WITH_US, sys.executable, "-m", "tests.support.starter", str(theirs.fileno())],
                env=not_ours, cwd=ROOT, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip

    def start(
        self,
        args: Sequence[str],
        env: Mapping[str, str],
        streams: Sequence[int],
        *,
        session: bool,
        file_bytes: int | None,
        program: str,
    ) -> Process:
        ours, theirs = socket.socketpair()
        order = {
            "arguments": [program, *args], "environment": dict(env), "directory": str(ROOT), "session": session,
            "file_bytes": file_bytes,
        }  # fmt: skip
        with theirs:
            socket.send_fds(self._orders, [json.dumps(order).encode()], [*streams, theirs.fileno()])
        return Process(ours)

    def end(self) -> None:
        self._orders.close()
        self._process.wait(10)


starter = cache(Starter)


def start(
    env: Mapping[str, str],
    args: Sequence[str],
    streams: Sequence[int],
    *,
    session: bool = False,
    file_bytes: int | None = None,
    program: str = MANAGE,
) -> subprocess.Popen[bytes] | Process:
    """`manage.py ARGS`, or another program's.

    `streams`: descriptors of its standard input, output and error. No file may grow beyond
    `file_bytes`: a full disk without filling one.
    """
    if _pythons_own(env) == _pythons_own(os.environ):
        return starter().start(args, env, streams, session=session, file_bytes=file_bytes, program=program)
    stdin, stdout, stderr = streams
    limited = () if file_bytes is None else ("prlimit", f"--fsize={file_bytes}")
    return subprocess.Popen(
        [*DIE_WITH_US, *limited, sys.executable, program, *args],
        env=env, cwd=ROOT, stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=session,
    )  # fmt: skip


def run(
    env: Mapping[str, str], *args: str, stdin: str = "", timeout: float = 60, file_bytes: int | None = None
) -> subprocess.CompletedProcess[str]:
    """`manage.py ARGS` with this text on standard input; what it printed, and its exit status."""
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as error:
        given.write(stdin.encode())
        given.seek(0)
        process = start(env, args, [given.fileno(), output.fileno(), error.fileno()], file_bytes=file_bytes)
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        return subprocess.CompletedProcess(args, process.wait(), _text(output), _text(error))


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


def _pythons_own(env: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in env.items() if key.startswith(_PYTHONS_OWN)}
