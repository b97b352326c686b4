"""What users notice of edits, restarts and outages: `python -m benchmarks.faults [NAME]… [--soak MINUTES]`.

Several clients ask all the time, by tokens and by sessions, while one thing after the other happens to a gateway with a
PostgreSQL, a Valkey and two services of its own. What counts as failed is what a client could not have helped: an
answer of 400 and above, a connection refused or reset, a wait of more than five seconds. If a kept connection is closed
before a request, the request is sent on a new one, as every client does; how often is told.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.processes import Server, free_port
from tests.support.gateway import Gateway
from tests.support.postgres import Postgres
from tests.support.sessions import make_session
from tests.support.valkey import Valkey

CLIENTS = 8
WORKERS = 2
PATIENCE = 5.0
POLICY = """\
version: 1
upstreams:
  api:
    targets: [{targets}]
    timeouts: {{connect: 1, response: 2, idle: 60}}
roles: {{user: {{}}}}
grants: [{{role: user, when: {{authenticated: true}}}}]
rate_limits: {{many: {{rate: 1000000/s, burst: 1000000, per: subject}}}}
routes:
  - {{name: api, path: /api, access: roles, roles: [user], upstream: api, rate_limit: many}}
  - {{name: edited, path: /edited/{number}, access: public, upstream: api}}
"""


@dataclass
class Tally:
    asked: int = 0
    again: int = 0  # on a new connection
    slowest: float = 0.0  # seconds
    failed: Counter[str] = field(default_factory=Counter)


class Client(threading.Thread):
    """One request after the other on a kept connection; every third is a POST where `posts`."""

    def __init__(self, port: int, headers: dict[str, str], tally: Tally, *, posts: bool, pause: float) -> None:
        super().__init__(daemon=True)
        self._pause = pause
        self._port, self._headers, self._tally, self._posts = port, headers, tally, posts
        self._connection: http.client.HTTPConnection | None = None
        self._stopping = threading.Event()

    def run(self) -> None:
        for number in itertools.count():
            if self._stopping.is_set():
                return
            method = "POST" if self._posts and number % 3 == 0 else "GET"
            began = time.monotonic()
            try:
                status = self._ask(method, f"/api/{number}")
            except (OSError, http.client.HTTPException) as error:
                self._connection = None
                self._tally.failed[f"{method} {type(error).__name__}"] += 1
            else:
                if status >= 400:
                    self._tally.failed[f"{method} {status}"] += 1
            self._tally.asked += 1
            self._tally.slowest = max(self._tally.slowest, time.monotonic() - began)
            time.sleep(self._pause)

    def finish(self) -> None:
        self._stopping.set()
        self.join(PATIENCE + 1)

    def _ask(self, method: str, path: str) -> int:
        kept, self._connection = self._connection, None
        if kept is not None:
            with suppress(http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
                return self._exchange(kept, method, path)
            kept.close()
            self._tally.again += 1
        return self._exchange(http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE), method, path)

    def _exchange(self, connection: http.client.HTTPConnection, method: str, path: str) -> int:
        connection.request(method, path, body=b"x" * 100 if method == "POST" else None, headers=self._headers)
        answer = connection.getresponse()
        answer.read()
        if answer.will_close:
            connection.close()
        else:
            self._connection = connection
        return answer.status


class World:
    """A gateway and everything that it depends on."""

    def __init__(self, room: Path, stack: ExitStack) -> None:
        self.postgres, self.valkey = stack.enter_context(Postgres()), Valkey()
        stack.callback(self.valkey.stop)
        self.ports = [free_port(), free_port()]
        self.services = [self._serve(room, port) for port in self.ports]
        stack.callback(lambda: [service.stop() for service in self.services])
        self._room, self._edits = room, 0
        env = {"AUTHGATE_DATABASE_URL": self.postgres.create_database(), "AUTHGATE_REDIS_URL": self.valkey.url}
        self.gateway = Gateway(room / "data", workers=WORKERS, env=env, policy=self.policy())
        stack.callback(self.gateway.stop)
        self.gateway.start()
        session = make_session(self.gateway, "bob", provider={"session_idle": 86400})
        self.credentials = [
            {"Authorization": f"Bearer {self.gateway.mint('alice', ttl=86400)}"}, dict(session.headers),
        ]  # fmt: skip
        for headers in self.credentials:
            headers |= {"Host": f"localhost:{self.gateway.port}", "Sec-Fetch-Site": "same-origin"}

    def policy(self) -> str:
        self._edits += 1
        targets = ", ".join(f'"http://127.0.0.1:{port}"' for port in self.ports)
        return POLICY.format(targets=targets, number=self._edits)

    def master(self) -> psutil.Process:
        assert self.gateway.process is not None
        return psutil.Process(self.gateway.process.pid)

    def restart_service(self, number: int) -> None:
        self.services[number] = self._serve(self._room, self.ports[number])

    @staticmethod
    def _serve(room: Path, port: int) -> Server:
        return Server([sys.executable, "-m", "benchmarks.talker", str(port)], port, room / f"service-{port}.log")

    @contextmanager
    def load(self, *, posts: bool = True, pause: float = 0.002) -> Iterator[Tally]:
        tally = Tally()
        clients = [
            Client(self.gateway.port, self.credentials[number % 2], tally, posts=posts, pause=pause)
            for number in range(CLIENTS)
        ]
        for client in clients:
            client.start()
        try:
            yield tally
        finally:
            for client in clients:
                client.finish()


def nothing(world: World, seconds: float) -> None:
    """Nothing happens."""
    time.sleep(seconds)


def edits(world: World, seconds: float) -> None:
    """The policy is changed as often as it can be, up to ten times a second."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        began = time.monotonic()
        world.gateway.shell.command("policy", "import", "-", stdin=world.policy())
        time.sleep(max(0.0, 0.1 - (time.monotonic() - began)))


def keys(world: World, seconds: float) -> None:
    """New signing keys are made, and sign."""
    for _ in range(2):
        world.gateway.shell.command("keys", "rotate", "--now")
        time.sleep(seconds / 2)


def hangup(world: World, seconds: float) -> None:
    """HUP: new workers take over from the old ones."""
    for _ in range(2):
        world.master().send_signal(signal.SIGHUP)
        time.sleep(seconds / 2)


def killed(world: World, seconds: float) -> None:
    """A worker is killed with SIGKILL: what it held is lost, and nothing else."""
    time.sleep(seconds / 3)
    os.kill(world.gateway.worker_pids()[0], signal.SIGKILL)
    time.sleep(seconds * 2 / 3)


def database(world: World, seconds: float) -> None:
    """PostgreSQL stands still, then goes on."""
    processes = [*psutil.Process(world.postgres.pid).children(recursive=True), psutil.Process(world.postgres.pid)]
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.suspend()
    time.sleep(seconds * 2 / 3)
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.resume()
    time.sleep(seconds / 3)


def redis(world: World, seconds: float) -> None:
    """Valkey is stopped and started again."""
    world.valkey.stop()
    time.sleep(seconds / 2)
    world.valkey.start()
    time.sleep(seconds / 2)


def dead_target(world: World, seconds: float) -> None:
    """One of two services dies, and comes back."""
    world.services[0].stop()
    time.sleep(seconds / 2)
    world.restart_service(0)
    time.sleep(seconds / 2)


def hanging_target(world: World, seconds: float) -> None:
    """One of two services takes connections and answers nothing. GET only: nobody may send a POST twice."""
    process = world.services[0].process
    process.send_signal(signal.SIGSTOP)
    time.sleep(seconds * 2 / 3)
    process.send_signal(signal.SIGCONT)
    time.sleep(seconds / 3)


Fault = Callable[[World, float], None]
FAULTS: dict[str, Fault] = {
    fault.__name__: fault
    for fault in (nothing, edits, keys, hangup, killed, database, redis, dead_target, hanging_target)
}
WITHOUT_POSTS = {"hanging_target"}


def run(world: World, name: str, seconds: float) -> Tally:
    with world.load(posts=name not in WITHOUT_POSTS) as tally:
        time.sleep(1)
        FAULTS[name](world, seconds)
        time.sleep(1)
    failed = ", ".join(f"{count} × {what}" for what, count in tally.failed.items()) or "none"
    print(
        f"{name:<16}{tally.asked:>8,} requests, {tally.again:>3} sent again, the slowest {tally.slowest:.2f} s; "
        f"failed: {failed}",
        flush=True,
    )
    return tally


def soak(world: World, minutes: float) -> None:
    """Requests, edits, WebSockets and event streams; memory and descriptors of the workers at each minute."""
    until = time.monotonic() + minutes * 60
    token = world.credentials[0]["Authorization"].removeprefix("Bearer ")
    with world.load(pause=0.02) as tally:
        while time.monotonic() < until:
            edits(world, 10)
            for path in ("/api/ws", "/api/events"):
                _stay(world, path, token, tally)
            print(f"{_resources(world)}, {tally.asked:,} requests, failed: {dict(tally.failed) or 'none'}", flush=True)


def _stay(world: World, path: str, token: str, tally: Tally) -> None:
    """Open for a while, past an edit."""
    command = [sys.executable, "-m", "benchmarks.listeners", "idle", str(world.gateway.port), path, "300", "0", token]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as listeners:
        assert listeners.stdout is not None
        listeners.stdout.readline()
        edits(world, 1)
        time.sleep(20)
        lost = json.loads(listeners.communicate("\n")[0] or '{"lost": 300}')["lost"]
    if lost:
        tally.failed[f"{path} lost"] += lost


def _resources(world: World) -> str:
    workers = [psutil.Process(pid) for pid in world.gateway.worker_pids()]
    memory = sum(worker.memory_info().rss for worker in workers) / (1 << 20)
    return f"{memory:.0f} MiB, {sum(worker.num_fds() for worker in workers)} descriptors"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*FAULTS, []], metavar="NAME", help=", ".join(FAULTS))
    parser.add_argument("--seconds", type=float, default=9, help="for each (9)")
    parser.add_argument("--soak", type=float, default=0, metavar="MINUTES", help="mixed traffic for so long instead")
    options = parser.parse_args()
    room = Path(tempfile.mkdtemp(prefix="authgate-faults-"))
    try:
        with ExitStack() as stack:
            world = World(room, stack)
            if options.soak:
                soak(world, options.soak)
                return 0
            tallies = [run(world, name, options.seconds) for name in options.names or FAULTS]
            return 1 if any(tally.failed for tally in tallies) else 0
    finally:
        shutil.rmtree(room, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
