"""`serve` as root: it takes its ports and its key, and is somebody else from then on."""

from __future__ import annotations

import functools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import processes, raw
from tests.support.certificates import Certificates
from tests.support.gateway import DIE_WITH_US, MANAGE, ROOT, environment, free_port, manage

NOBODY = pwd.getpwnam("nobody")
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


# Where the interpreter lies below a directory of root's alone (/root), that directory is replaced, for this process and
# its children, by one with nothing else in it.
OPENED = """
set -e
top=$1 prefix=$2
shift 2
kept=$(mktemp -d)
mount --bind "$prefix" "$kept"
mount -t tmpfs -o mode=755 none "$top"
mkdir -p "$prefix"
mount --bind "$kept" "$prefix"
exec "$@"
"""


@functools.cache
def for_everybody() -> tuple[str, ...]:
    """What to begin a command with, so that other users may run this interpreter."""
    as_nobody = ["setpriv", f"--reuid={NOBODY.pw_uid}", "--clear-groups", sys.executable, "-c", "import django, redis"]
    prefix = Path(sys.base_prefix).resolve()
    closed = next((path for path in reversed(prefix.parents) if not path.stat().st_mode & 0o001), prefix)
    for before in ((), ("unshare", "-m", "sh", "-c", OPENED, "sh", str(closed), str(prefix))):
        if subprocess.run([*before, *as_nobody], capture_output=True, check=False, cwd=ROOT).returncode == 0:
            return before
    pytest.skip("needs a Python that other users may run")


def privileged_port() -> int:
    for port in range(1023, 600, -1):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port
    pytest.skip("needs a free port below 1024")


def uids(pid: int) -> set[int]:
    """Real, effective, saved and of files."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {int(uid) for line in lines if line.startswith("Uid:") for uid in line.split()[1:]}


class Served:
    """`cold`: what is imported once root was given up is read by the other user."""

    def __init__(self, data_dir: Path, *args: str, port: int, cold: bool = True) -> None:
        self.port = port
        env = environment(data_dir, AUTHGATE_PUBLIC_URL="https://gateway.example.com")
        command = ("serve", "--bind", f"127.0.0.1:{port}", "--workers", "1", *args)
        self._log = data_dir.with_name("log")
        self.process: subprocess.Popen[bytes] | processes.Process
        with self._log.open("wb") as log, open(os.devnull) as nothing:
            if cold or for_everybody():
                self.process = subprocess.Popen(
                    [*DIE_WITH_US, *for_everybody(), sys.executable, MANAGE, *command],
                    env=env, cwd=ROOT, stdin=nothing, stdout=log, stderr=log, start_new_session=True,
                )  # fmt: skip
            else:
                streams = (nothing.fileno(), log.fileno(), log.fileno())
                self.process = processes.start(env, command, streams, session=True)

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace")

    def wait(self, answers: Callable[[], bool]) -> Served:
        deadline = time.monotonic() + 30
        while True:
            assert self.process.poll() is None, self.output
            try:
                if answers():
                    return self
            except OSError:
                pass
            assert time.monotonic() < deadline, self.output
            time.sleep(0.1)

    def children(self) -> list[int]:
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in path.read_text().split()]

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(15)
        finally:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait(5)


@pytest.fixture
def data_dir(gateway_template: Path) -> Iterator[Path]:
    """Nobody's, and where nobody can reach it."""
    above = Path(tempfile.mkdtemp(prefix="authgate-root-"))
    above.chmod(0o755)
    shutil.copytree(gateway_template, above / "data")
    for path in (above / "data", *(above / "data").rglob("*")):
        os.chown(path, NOBODY.pw_uid, NOBODY.pw_gid)
    yield above / "data"
    shutil.rmtree(above)


@pytest.fixture
def tls(certificates: Certificates, data_dir: Path) -> tuple[str, str, str, str]:
    """The key for root's eyes alone."""
    files = [data_dir.with_name(name) for name in ("cert.pem", "key.pem")]
    for source, copy in zip((certificates.cert_file, certificates.key_file), files, strict=True):
        shutil.copy(source, copy)
        copy.chmod(0o644 if copy.name == "cert.pem" else 0o600)
    return "--tls-cert", str(files[0]), "--tls-key", str(files[1])


def healthy(port: int, certificates: Certificates) -> Callable[[], bool]:
    context = certificates.client_context()
    return lambda: raw.exchange(("127.0.0.1", port), raw.request(target="/health"), tls=context).status == 200


@pytest.mark.parametrize("http2", [(), ("--http2",)], ids=["http1", "http2"])
def test_no_process_is_root_s_once_it_serves(data_dir, tls, certificates, http2):
    if http2:
        os.chown(tls[3], NOBODY.pw_uid, NOBODY.pw_gid)
    redirect = free_port()
    served = Served(data_dir, *tls, *http2, "--redirect-http", f"127.0.0.1:{redirect}", port=privileged_port())
    try:
        is_healthy = healthy(served.port, certificates)
        served.wait(is_healthy)
        assert raw.exchange(("127.0.0.1", redirect), raw.request()).status == 308
        assert {uid for pid in (served.process.pid, *served.children()) for uid in uids(pid)} == {NOBODY.pw_uid}
        before = served.children()
        os.kill(before[-1], signal.SIGKILL)
        served.wait(lambda: before[-1] not in served.children() and is_healthy())
        assert {uid for pid in served.children() for uid in uids(pid)} == {NOBODY.pw_uid}
        assert {path.stat().st_uid for path in data_dir.iterdir()} == {NOBODY.pw_uid}
    finally:
        served.stop()


def test_a_key_that_only_root_reads_is_kept_over_hup_and_said_to_be(data_dir, tls, certificates):
    served = Served(data_dir, *tls, port=free_port())
    try:
        is_healthy = healthy(served.port, certificates)
        served.wait(is_healthy)
        assert f"the certificate cannot be renewed: {tls[3]} cannot be read by the user nobody" in served.output
        before = served.children()
        served.process.send_signal(signal.SIGHUP)
        served.wait(lambda: set(before).isdisjoint(served.children()) and is_healthy())
        assert "keeping the certificate in use: --tls-key: cannot read" in served.output
    finally:
        served.stop()


def refusal(data_dir: Path, *args: str) -> str:
    served = Served(data_dir, *args, port=free_port(), cold=False)
    assert served.process.wait(30) == 1, served.output
    lines = [line for line in served.output.splitlines() if line.startswith("CommandError: ")]
    assert len(lines) == 1, served.output
    return lines[0]


def test_with_http2_a_key_that_only_root_reads_is_refused(data_dir, tls):
    assert "Permission denied; with --http2 each worker reads it, and root was given up" in refusal(
        data_dir, *tls, "--http2"
    )


def test_a_file_of_the_data_directory_that_is_still_root_s_is_refused_in_one_line(data_dir):
    os.chown(data_dir / "secret_key", 0, 0)
    found = f"as the user nobody the gateway cannot write to {data_dir}/secret_key: chown -R {data_dir} to that user"
    assert found in refusal(data_dir)


def test_a_user_who_may_not_use_the_data_directory_is_refused_in_one_line(data_dir):
    os.chown(data_dir, 0, 0)
    assert "cannot write to AUTHGATE_DATA_DIR: chown -R" in refusal(data_dir, "--user", "nobody")


def test_an_unknown_user_is_refused(data_dir):
    assert "--user no-such-user: there is no such user" in refusal(data_dir, "--user", "no-such-user")


def test_only_root_becomes_another(data_dir):
    as_nobody = ["setpriv", f"--reuid={NOBODY.pw_uid}", "--clear-groups", sys.executable, MANAGE]
    command = [*for_everybody(), *as_nobody, "serve", "--user", "root"]
    done = subprocess.run(command, env=environment(data_dir), cwd=ROOT, capture_output=True, text=True, check=False)
    assert "CommandError: --user root: only root becomes another user" in done.stderr


def as_nobody(data_dir, *args, **values):
    command = [*for_everybody(), "setpriv", f"--reuid={NOBODY.pw_uid}", "--clear-groups", sys.executable, MANAGE, *args]
    env = environment(data_dir, **values)
    return subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, check=False).stderr


@pytest.mark.parametrize("values", [{}, {"AUTHGATE_SECRET_KEY": "k" * 32}], ids=["key in it", "key elsewhere"])
def test_a_data_directory_of_somebody_else_is_not_said_to_be_missing(data_dir, values):
    os.chown(data_dir, 0, 0)
    data_dir.chmod(0o700)
    said = as_nobody(data_dir, "mint_token", "alice", **values)
    problem = f"cannot use '{data_dir}': Permission denied for the user nobody; run this as its owner"
    assert said.splitlines() == [f"authgate: AUTHGATE_DATA_DIR: {problem}"]


def test_a_database_of_somebody_else_is_not_said_to_be_missing(data_dir):
    os.chown(data_dir / "authgate.sqlite3", 0, 0)
    (data_dir / "authgate.sqlite3").chmod(0o600)
    for args in (("mint_token", "alice"), ("serve",), ("check",)):
        said = as_nobody(data_dir, *args)
        assert f"'{data_dir}/authgate.sqlite3': Permission denied for the user nobody" in said, said
        assert "is not there" not in said and "Traceback" not in said


def test_where_others_can_connect_root_is_pointed_out_whatever_the_gateway_is_called(data_dir):
    os.chown(data_dir, 0, 0)
    asked = [sys.executable, MANAGE, "serve", "--bind", f"0.0.0.0:{free_port()}"]
    with subprocess.Popen(asked, env=environment(data_dir), cwd=ROOT, stderr=subprocess.PIPE, text=True) as served:
        said = ""
        while "serving as root" not in said and (line := served.stderr.readline()):
            said += line
        served.terminate()
    assert "serving as root: name another user by --user" in said


@pytest.mark.parametrize("args", [(), ("--user", "root")], ids=["by default", "as it was told"])
def test_root_stays_root_where_the_data_are_root_s_and_says_so_unless_told(start_gateway, args):
    gateway = start_gateway(env={"AUTHGATE_ALLOWED_HOSTS": "gateway.example.com"}, args=args)
    gateway.settle()
    assert uids(gateway.worker_pids()[0]) == {0}
    assert ("serving as root: name another user by --user" in gateway.output) is (not args)


def test_the_gateway_on_this_machine_alone_says_nothing_of_root(start_gateway):
    assert "as root" not in start_gateway().output


def test_checks_before_the_start_leave_nothing_of_root_s(data_dir):
    assert manage(environment(data_dir), "check").returncode == 0
    assert {path.stat().st_uid for path in data_dir.iterdir()} == {NOBODY.pw_uid}
