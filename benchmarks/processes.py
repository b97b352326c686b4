"""Servers as child processes: each in a process group of its own, stopped as it was started."""

from __future__ import annotations

import functools
import os
import random
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple


class PeerMissing(RuntimeError):
    """It cannot take part; the message is the reason that the report prints."""


def free_port() -> int:
    """Below the ephemeral range, so that no outgoing connection takes it first."""
    while True:
        port = random.randint(20000, 31999)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Server:
    def __init__(
        self,
        command: list[str],
        port: int,
        log: Path,
        *,
        env: Mapping[str, str] | None = None,
        wait: float = 20,
        stdout: int | None = None,
        files: int | None = None,
    ) -> None:
        """`files`: how many it may open, if fewer than this process."""
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output if stdout is None else stdout, stderr=output,
                env=env, start_new_session=True, preexec_fn=functools.partial(_limit_files, files),
            )  # fmt: skip
        try:
            self._wait_for(port, wait)
        except BaseException:
            self.stop()
            raise

    def _wait_for(self, port: int, wait: float) -> None:
        deadline = time.monotonic() + wait
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise PeerMissing(f"ended with status {self.process.returncode}: {self.last_words()}")
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            time.sleep(0.05)
        raise PeerMissing(f"did not listen within {wait:.0f} s: {self.last_words()}")

    def last_words(self) -> str:
        lines = [line.strip() for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return " | ".join(lines[-3:])[-400:]

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(8)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(5)

    def pids(self) -> list[int]:
        found, todo = [], [self.process.pid]
        while todo:
            pid = todo.pop()
            found.append(pid)
            with suppress(OSError):
                todo += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        return found


def _limit_files(files: int | None) -> None:
    if files is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))


class Times(NamedTuple):
    """Seconds of processor time."""

    user: float
    system: float

    def __sub__(self, other: Times) -> Times:
        return Times(self.user - other.user, self.system - other.system)


def times_of(pid: int) -> Times:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    ticks = os.sysconf("SC_CLK_TCK")
    return Times(int(fields[11]) / ticks, int(fields[12]) / ticks)


class CpuWatch:
    """Processor time that a server used, all its processes together. Says more than a rate when others are busy."""

    def __init__(self, pids: list[int]) -> None:
        self._pids = pids
        self._before = self._used()

    def microseconds_each(self, responses: int) -> float:
        return (self._used() - self._before) * 1e6 / responses

    def _used(self) -> float:
        return sum(sum(times_of(pid)) for pid in self._pids)


def busy_share(seconds: float = 1.0) -> float:
    """How much of the processors is in use before anything is measured."""
    before = _cpu_times()
    time.sleep(seconds)
    idle, total = (after - earlier for after, earlier in zip(_cpu_times(), before, strict=True))
    return 1 - idle / total


def _cpu_times() -> tuple[int, int]:
    fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return fields[3] + fields[4], sum(fields)


class MemoryWatch:
    """The most that one process of a server grew by, told by the kernel's own high-water mark."""

    def __init__(self, pids: list[int]) -> None:
        self._before = {}
        for pid in pids:
            Path(f"/proc/{pid}/clear_refs").write_text("5")  # the mark begins at what is resident now
            self._before[pid] = _status(pid, "VmRSS")

    def growth_mib(self) -> float:
        grown = [_status(pid, "VmHWM") - before for pid, before in self._before.items()]
        return max(grown, default=0) / 1024


def resident_kib(pid: int) -> int:
    with suppress(OSError):  # it has ended
        return _status(pid, "VmRSS")
    return 0


def _status(pid: int, field: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    return 0
