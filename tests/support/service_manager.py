"""A service manager: it hands over sockets and hears what the service says of itself, as systemd does."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from tests.support.processes import DIE_WITH_US, MANAGE, ROOT

# The descriptors begin with 3, and LISTEN_PID is the process that becomes the service.
_BECOME = """
import os, sys
for number, descriptor in enumerate(sys.argv[1].split(",") if sys.argv[1] else ()):
    os.dup2(int(descriptor), 3 + number)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""
_CREDENTIALS = struct.Struct("3i")


class Heard(NamedTuple):
    pid: int
    state: dict[str, str]


class Ear:
    """Of a notify socket: a file, or with `@` a name in the kernel."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.heard: list[Heard] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)

    def __enter__(self) -> Ear:
        return self

    def __exit__(self, *exc: object) -> None:
        self._socket.close()

    def wait(self, name: str, value: str = "1", *, timeout: float = 20) -> dict[str, str]:
        """The next message with this; what came before it is in `heard` too."""
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            if (message := self._next(left)) is not None and message.state.get(name) == value:
                return message.state
        raise AssertionError(f"no {name}={value}: {self.heard}")

    def listen(self, seconds: float) -> list[dict[str, str]]:
        """Everything from now on."""
        while self._next(0) is not None:
            pass
        before, deadline = len(self.heard), time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._next(left)
        return [state for _, state in self.heard[before:]]

    def _next(self, timeout: float) -> Heard | None:
        self._socket.settimeout(timeout)
        with suppress(TimeoutError, BlockingIOError):
            data, credentials, *_ = self._socket.recvmsg(4096, socket.CMSG_SPACE(_CREDENTIALS.size))
            pid, _, _ = _CREDENTIALS.unpack(credentials[0][2])
            self.heard.append(Heard(pid, dict(line.split("=", 1) for line in data.decode().splitlines())))
            return self.heard[-1]
        return None


def start_with_sockets(
    env: Mapping[str, str], sockets: Sequence[tuple[str, socket.socket]], args: Sequence[str], log: Path
) -> subprocess.Popen[bytes]:
    """`manage.py serve ARGS`, as the service of these socket units, each with its FileDescriptorName."""
    descriptors = [listener.fileno() for _, listener in sockets]
    given = {"LISTEN_FDS": str(len(sockets)), "LISTEN_FDNAMES": ":".join(name for name, _ in sockets)}
    numbers = ",".join(map(str, descriptors))
    with log.open("wb") as output:
        return subprocess.Popen(
            [*DIE_WITH_US, sys.executable, "-c", _BECOME, numbers, sys.executable, MANAGE, "serve", *args],
            env={**env, **given}, cwd=ROOT, pass_fds=descriptors,
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip


def abstract_name() -> str:
    return f"@authgate-test-{os.getpid()}-{time.monotonic_ns()}"
