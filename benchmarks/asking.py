"""Callers whose opaque tokens the gateway has to ask an issuer about, each token once, and always as many waiting."""

from __future__ import annotations

import secrets
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from benchmarks import wrk
from benchmarks.gateway import Gateway
from benchmarks.processes import Server, free_port
from benchmarks.slow_issuer import AUDIENCE

AT_ONCE = 1000
LATENCY_SECONDS = 0.2
# More than an issuer of this latency can be asked about by two workers.
_TOKENS_A_SECOND = 1000


class SlowIssuer:
    def __init__(self, directory: Path) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}/introspect"
        command = [sys.executable, "-m", "benchmarks.slow_issuer", str(port), str(LATENCY_SECONDS)]
        self._server = Server(command, port, directory / "slow_issuer.log")

    def stop(self) -> None:
        self._server.stop()


class Callers:
    """`with Callers(gateway, room, seconds) as callers:` and `callers.load()` once they have had their seconds."""

    def __init__(self, gateway: Gateway, room: Path, seconds: int) -> None:
        tokens = room / "opaque_tokens"
        count = AT_ONCE + _TOKENS_A_SECOND * seconds
        tokens.write_text("\n".join(secrets.token_urlsafe(24) for _ in range(count)))
        self._tokens, self._url, self._seconds = str(tokens), f"{gateway.url}/asked", seconds

    def __enter__(self) -> Callers:
        self._thread = ThreadPoolExecutor(1)
        self._result: Future[wrk.Load] = self._thread.submit(self._run)
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()

    def load(self) -> wrk.Load:
        return self._result.result()

    def _run(self) -> wrk.Load:
        args = (self._tokens, str(wrk.THREADS))
        return wrk.run(self._url, self._seconds, connections=AT_ONCE, script="tokens.lua", args=args, timeout=20)


def add_issuer(gateway: Gateway, issuer: SlowIssuer) -> None:
    gateway.manage(
        "issuer", "add", "slow", "--issuer", "https://issuer.bench.test", "--audience", AUDIENCE,
        "--strategy", "introspection", "--introspection-endpoint", issuer.url,
        "--client-id", "gateway", "--client-secret", "bench",
    )  # fmt: skip
