"""Whole systems in containers of systemd-nspawn: with the real systemd where they are booted."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import ROOT

# What is fetched once and kept: roots and wheels. Root's, who runs these tests.
CACHE = Path("/var/cache/authgate-test-install")
PYTHONS = {"bookworm": "3.11", "trixie": "3.13"}
# systemd, which minbase leaves out; nothing of what the installer itself must bring.
BASE = "systemd,systemd-sysv,dbus"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
START_SECONDS = 60


@dataclass(frozen=True)
class Root:
    path: Path
    release: str

    def copy(self, path: Path) -> Root:
        subprocess.run(["cp", "-a", self.path, path], check=True)
        return Root(path, self.release)

    def files(self) -> set[str]:
        """Everything but what any run of a system leaves."""
        left = ("dev/", "proc/", "run/", "sys/", "tmp/", "var/cache/", "var/log/", "var/lib/systemd/", "var/lib/dbus/")
        found = (str(path.relative_to(self.path)) for path in self.path.rglob("*"))
        return {path for path in found if not path.startswith(left)}


def make_root(release: str) -> Root:
    kept = CACHE / release
    if not kept.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        draft = CACHE / f"{release}.new"
        shutil.rmtree(draft, ignore_errors=True)
        subprocess.run(["mmdebstrap", "--quiet", "--variant=minbase", f"--include={BASE}", release, draft], check=True)
        for mount_point in ("source", "wheels"):
            (draft / mount_point).mkdir()
        draft.rename(kept)
    return Root(kept, release)


def wheels(release: str) -> Path:
    """The pinned packages for the Python of this system."""
    requirements = ROOT / "requirements.txt"
    directory = CACHE / f"wheels-{release}-{hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]}"
    if not directory.exists():
        draft = directory.with_suffix(".new")
        options = ("--require-hashes", "--no-deps", "--only-binary", ":all:", "--python-version", PYTHONS[release])
        command = [sys.executable, "-m", "pip", "download", "--quiet", *options, "--dest", draft, "-r", requirements]
        subprocess.run(command, check=True)
        draft.rename(directory)
    return directory


def copy_source(path: Path) -> Path:
    """The files of the project as they are now: what a release has, without what work on it leaves."""
    for name in subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).splitlines():
        if (ROOT / name).is_file():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, path / name)
    return path


class Machine:
    """Without `boots`, each command is a container of its own and its changes stay in the root.

    `boots`: systemd is the first process, nothing outside can be reached, and what is changed is forgotten.
    """

    def __init__(self, root: Root, source: Path, *, boots: bool = False) -> None:
        self.root, self.boots, self.source = root, boots, source
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._leader = 0

    def __enter__(self) -> Machine:
        if self.boots:
            self._nspawn = subprocess.Popen(
                [*self._container(), "--volatile=overlay", "--private-network", "--boot"],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
                # Newer versions of systemd start on no other one.
                env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
            )  # fmt: skip
            self._wait(self._has_booted)
        return self

    def __exit__(self, *exc: object) -> None:
        if self._nspawn is None:
            return
        self._nspawn.send_signal(signal.SIGTERM)
        try:
            self._nspawn.wait(30)
        except subprocess.TimeoutExpired:
            self._nspawn.send_signal(signal.SIGTERM)
            self._nspawn.wait(30)

    def run(self, *command: str, check: bool = True, stdin: str = "", timeout: float = 600) -> str:
        """What it printed, on both streams."""
        result = subprocess.run(
            [*self._inside(), *command], input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=timeout, check=False,
        )  # fmt: skip
        if check and result.returncode:
            raise AssertionError(f"{' '.join(command)} → {result.returncode}\n{result.stdout}\n{self.journal()}")
        return result.stdout

    def install(self, *options: str, source: str = "/source", check: bool = True) -> str:
        """As a root whose new files nobody else may read."""
        script = f'umask 077 && exec sh {source}/deploy/install.sh "$@"'
        return self.run("sh", "-c", script, "install.sh", "--wheels", "/wheels", *options, check=check)

    def python(self, code: str) -> str:
        return self.run("/opt/authgate/current/.venv/bin/python", "-c", code)

    def show(self, unit: str, name: str) -> str:
        return self.run("systemctl", "show", "--property", name, "--value", unit).strip()

    def journal(self) -> str:
        return (
            self.run("journalctl", "--no-pager", "--output=cat", "--unit=authgate", check=False) if self.boots else ""
        )

    def _container(self) -> list[str]:
        binds = [f"--bind-ro={self.source}:/source", f"--bind-ro={wheels(self.root.release)}:/wheels"]
        return [
            "systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--console=pipe",
            f"--directory={self.root.path}", f"--machine=authgate-{os.getpid()}", *binds,
        ]  # fmt: skip

    def _inside(self) -> list[str]:
        if not self.boots:
            proxies = [f"--setenv={name}={value}" for name, value in os.environ.items() if name.endswith("_proxy")]
            return [*self._container(), *proxies]
        environment = ["env", "-i", f"PATH={PATH}"]
        return ["nsenter", f"--target={self._leader}", "-m", "-u", "-i", "-p", "-n", "-r", "-w", *environment]

    def _has_booted(self) -> bool:
        assert self._nspawn is not None
        assert self._nspawn.poll() is None, "systemd-nspawn ended"
        for pid in Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children").read_text().split():
            if Path(f"/proc/{pid}/comm").read_text().strip() == "systemd":
                self._leader = int(pid)
                return "running" in self.run("systemctl", "is-system-running", check=False)
        return False

    def _wait(self, is_done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not is_done():
            assert time.monotonic() < deadline, "systemd did not start"
            time.sleep(0.2)
