"""The gateway as an operator runs it: two workers, roles, a limit, identity headers, assertion, access log."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks.nginx import Upstream
from benchmarks.processes import PeerMissing, Server, free_port
from benchmarks.tls import TlsFiles, origin

ROOT = Path(__file__).resolve().parent.parent
MANAGE = str(ROOT / "manage.py")


class Gateway:
    verifies = True

    def __init__(
        self,
        directory: Path,
        upstream: Upstream,
        *,
        name: str = "gateway",
        routes: int = 10,
        workers: int = 2,
        tls: TlsFiles | None = None,
        args: tuple[str, ...] = (),
        env: Mapping[str, str] | None = None,
        stdout: int | None = None,
        files: int | None = None,
    ) -> None:
        self.name = name
        self.port = free_port()
        self.url = origin(self.port, tls)
        self.version = _version()
        self._minted = 0
        self._env = {**_environment(directory / "data", self.url), **(env or {})}
        self.manage("migrate", "--verbosity=0")
        self.manage("createcachetable")
        self._policy = directory / "policy.yaml"
        self._policy.write_text(_policy(upstream, routes))
        self.manage("policy", "import", str(self._policy))
        self.token = self.manage(
            "mint_token", "alice", "--email", "alice@example.com", "--name", "Alice Example",
            "--role", "bench", "--ttl", "7200", "--quiet",
        ).strip()  # fmt: skip
        command = [
            sys.executable,
            MANAGE,
            "serve",
            "--bind",
            f"127.0.0.1:{self.port}",
            "--workers",
            str(workers),
            *args,
        ]
        command += ["--tls-cert", str(tls.cert), "--tls-key", str(tls.key)] if tls else []
        log = directory / "output.log"
        self._server = Server(command, self.port, log, env=self._env, wait=60, stdout=stdout, files=files)

    def sign_many(self, count: int) -> list[str]:
        """Distinct tokens, never the same twice, made on both cores."""
        half = (count + 1) // 2
        command = [sys.executable, "-m", "benchmarks.mint"]
        processes = []
        for first in (self._minted, self._minted + half):
            full = [*command, str(first), str(half)]
            processes.append(subprocess.Popen(full, env=self._env, cwd=ROOT, stdout=subprocess.PIPE, text=True))
        self._minted += 2 * half
        minted = [token for process in processes for token in process.communicate()[0].split()]
        if len(minted) < count:
            raise PeerMissing("minting many tokens failed")
        return minted[:count]

    def sign_in_many(self, count: int) -> list[str]:
        """A session cookie for each of so many people."""
        command = [sys.executable, "-m", "benchmarks.sign_in", str(count)]
        result = subprocess.run(command, env=self._env, cwd=ROOT, capture_output=True, text=True, timeout=300)
        if result.returncode:
            raise PeerMissing(f"making sessions failed: {''.join(result.stderr.splitlines()[-1:])}")
        return result.stdout.split()

    def add_provider(self, slug: str, issuer: str) -> None:
        self.manage("provider", "add", slug, "--issuer", issuer, "--client-id", "bench", "--client-secret", "bench")

    def change_policy(self) -> None:
        """By a role that nobody asks for."""
        policy = json.loads(self._policy.read_text())
        policy["roles"][f"unused{len(policy['roles'])}"] = {}
        self._policy.write_text(json.dumps(policy))
        self.manage("policy", "import", str(self._policy))

    def pids(self) -> list[int]:
        return self._server.pids()

    def stop(self) -> None:
        self._server.stop()

    def manage(self, *args: str) -> str:
        command = [sys.executable, MANAGE, *args]
        result = subprocess.run(command, env=self._env, cwd=ROOT, capture_output=True, text=True, timeout=300)
        if result.returncode:
            last = (result.stderr.strip() or result.stdout.strip()).splitlines()[-1:]
            raise PeerMissing(f"manage.py {args[0]} failed: {''.join(last)}")
        return result.stdout


def _version() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.strip() or "unknown"
    except OSError:
        return "unknown"


def _environment(data_dir: Path, url: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AUTHGATE_")}
    return {
        **inherited,
        "DJANGO_SETTINGS_MODULE": "gateway_site.settings",
        "AUTHGATE_DATA_DIR": str(data_dir),
        "AUTHGATE_PUBLIC_URL": url,
        "AUTHGATE_SIGN_IN_RATE": "1000/s",  # all clients here have one address
    }


def _policy(upstream: Upstream, routes: int) -> str:
    """The routes that are measured, and so many others like them. YAML reads JSON."""
    measured = [
        ("small", "/small", "bench", "small"), ("download", "/download", "bench", "small"),
        ("upload", "/upload", "bench", "sink"), ("varied", "/varied", "bench", "small"),
        ("ws", "/ws", "bench", "talker"), ("events", "/events", "bench", "talker"),
        ("ended", "/ended", "user", "small"), ("asked", "/asked", "user", "small"),
    ]  # fmt: skip
    others = [
        (f"route{number}", f"/service/{number}/api", "bench", "small") for number in range(routes - len(measured))
    ]
    return json.dumps(
        {
            "version": 1,
            "upstreams": {"small": {"targets": [upstream.url]}, "sink": {"targets": [upstream.sink_url]},
                          "talker": {"targets": [upstream.talker_url], "timeouts": {"idle": 3600}}},
            "roles": {"bench": {}, "user": {}},
            "grants": [{"role": "user", "when": {"authenticated": True}}],
            "rate_limits": {"bench": {"rate": "1000000/s", "burst": 1000000, "per": "client"}},
            "routes": [
                {
                    "name": name, "path": path, "access": "roles", "roles": [role],
                    "upstream": target, "rate_limit": "bench",
                }
                for name, path, role, target in measured + others
            ],
        }
    )  # fmt: skip
