"""Starts the demo's processes together and ends them together."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import FrameType, TracebackType

from django.core.management.base import CommandError

PR_SET_PDEATHSIG = 1
START_SECONDS = 30.0
DRAIN_SECONDS = 2.0
STOP_SECONDS = 5.0
LIBC = ctypes.CDLL(None)


def claim_port(port: int) -> None:
    """Raises when the port cannot be had, before anything was started or written."""
    another = f"choose another: make run PORT={port + 1 if 1024 <= port < 65535 else 8001}"
    if not 0 < port < 65536:
        raise CommandError(f"port {port}: there is no such port; {another}")
    # Also ::1, which the gateway does not use: `localhost` would lead to whoever listens there.
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        try:
            with socket.socket(family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((address, port))
        except OSError as error:
            if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                raise CommandError(f"port {port}: {error.strerror}; {another}") from error


def claim_directory(data_dir: Path) -> int:
    """A lock held while this process lives: two demos on one directory would take each other's socket."""
    descriptor = os.open(data_dir / "demo.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise CommandError(f"another demo is running on {data_dir}") from error
    return descriptor


class Processes:
    """Ctrl-C, TERM or the end of one process ends them all, the last started first."""

    def __init__(self) -> None:
        self._running: list[tuple[str, subprocess.Popen[bytes]]] = []
        self._stop = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for _, process in reversed(self._running):
            _end(process)

    def start(self, name: str, command: list[str], *, cwd: Path, env: Mapping[str, str]) -> None:
        # A session of its own, so that Ctrl-C reaches only this process and the others end in order.
        process = subprocess.Popen(
            command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=_die_with_us
        )
        self._running.append((name, process))

    def wait_for_url(self, url: str) -> bool:
        """True once it answers 200; False when told to stop meanwhile."""
        deadline = time.monotonic() + START_SECONDS
        while not self._stop.wait(0.05):
            self._raise_if_one_ended()
            if _answers(url):
                return True
            if time.monotonic() > deadline:
                raise CommandError(f"the gateway did not answer {url} in {START_SECONDS:.0f} seconds")
        return False

    def wait(self) -> None:
        while not self._stop.wait(0.3):
            self._raise_if_one_ended()

    def _raise_if_one_ended(self) -> None:
        for name, process in self._running:
            if process.poll() is not None:
                raise CommandError(f"{name} ended with status {process.returncode}")

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._stop.set()


def _answers(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2) as response:
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def _end(process: subprocess.Popen[bytes]) -> None:
    """Politely; then at once, as someone who stops a demo does not wait for streams still open in a browser."""
    try:
        for number, seconds in ((signal.SIGTERM, DRAIN_SECONDS), (signal.SIGINT, STOP_SECONDS)):
            process.send_signal(number)
            with suppress(subprocess.TimeoutExpired):
                process.wait(seconds)
                break
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _die_with_us() -> None:
    """Even a demo that is killed leaves no process behind (Linux)."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
