"""`python -m benchmarks.attacks`: what 25 other people see while strangers try to stop the gateway, and its memory."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import signal
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.gateway import ROOT, Gateway
from benchmarks.logouts import LogoutProvider
from benchmarks.nginx import Upstream
from benchmarks.processes import PeerMissing, resident_kib
from benchmarks.report import machine
from benchmarks.strangers import ATTACKS, Attack, Target

SERVERS = {"http1": (), "http2": ("--http2",)}
# As much as one process gets on many a machine: nobody needs more to see who is left without a connection.
_FILES = 4096
KINDS = ("proxied", "sign_in", "admin", "logout")
_SLUG = "bench"
_SETTLE_SECONDS = 4.0
_RECOVER_SECONDS = 2.0


def main() -> int:
    arguments = _parse_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    results: dict[str, dict[str, Any]] = {}
    try:
        with tempfile.TemporaryDirectory(prefix="authgate-attacks-") as name, LogoutProvider() as provider:
            os.chmod(name, 0o755)
            room = Path(name)
            upstream = Upstream(_made(room / "upstream"))
            try:
                for server in arguments.server or SERVERS:
                    results[server] = _measure(_made(room / server), server, upstream, provider, arguments)
            finally:
                upstream.stop()
    except PeerMissing as missing:
        print(f"cannot measure: {missing}", file=sys.stderr)
        return 1
    arguments.json.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps({"machine": machine(), "servers": results}, indent=2))
    print(table(results))
    return 1 if any(refused(one) for server in results.values() for one in server.values()) else 0


def _measure(
    room: Path, server: str, upstream: Upstream, provider: LogoutProvider, arguments: argparse.Namespace
) -> dict[str, Any]:
    log = _LogReader(room / "access.log")
    env = {"AUTHGATE_SIGN_IN_RATE": "5/s"}
    gateway = Gateway(room, upstream, args=SERVERS[server], stdout=log.writer, env=env, files=_FILES)
    try:
        for slug, issuer in ((_SLUG, provider.issuer), ("another", f"{provider.issuer}/another")):
            gateway.add_provider(slug, issuer)
        target = Target(
            gateway.port, gateway.token, f"/auth/backchannel-logout/{_SLUG}", provider.tokens(50, genuine=False),
            log.stop, log.go_on,
        )  # fmt: skip
        results = {}
        for name in ("nothing", *(arguments.attack or ATTACKS)):
            tokens = provider.tokens(4 * arguments.seconds, genuine=True)
            results[name] = asyncio.run(_one(gateway, target, ATTACKS.get(name), tokens, arguments.seconds))
            _say(server, name, results[name])
        return results
    finally:
        gateway.stop()
        log.close()


async def _one(
    gateway: Gateway, target: Target, attack: Attack | None, tokens: list[str], seconds: int
) -> dict[str, Any]:
    target.got.clear()
    before = _memory(gateway)
    attacking = asyncio.ensure_future(attack(target)) if attack is not None else None
    await asyncio.sleep(_SETTLE_SECONDS)
    people = asyncio.create_task(_people(target, tokens, seconds))
    most = before
    while not people.done():
        most = max(most, _memory(gateway))
        if attacking is not None and attacking.done():
            attacking.result()  # raises: strangers never end by themselves
        await asyncio.sleep(0.2)
    if attacking is not None:
        attacking.cancel()
        with suppress(asyncio.CancelledError):
            await attacking
        await asyncio.sleep(_RECOVER_SECONDS)
    return {"extra_mib": round((most - before) / 1024, 1), "people": people.result(), "strangers": dict(target.got)}


async def _people(target: Target, tokens: list[str], seconds: int) -> Any:
    wanted = {
        "port": target.port, "token": target.token, "seconds": seconds, "logout_path": target.logout_path,
        "logout_tokens": tokens,
    }  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.bystanders", cwd=ROOT,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, _ = await process.communicate(json.dumps(wanted).encode())
    return json.loads(output)


class _LogReader:
    """Keeps the access log like any collector, until it stops."""

    def __init__(self, path: Path) -> None:
        self._reader, self.writer = os.pipe()
        self._path = path
        self._reading = threading.Event()
        self._reading.set()
        self.stop, self.go_on = self._reading.clear, self._reading.set
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with self._path.open("wb") as file:
            while data := os.read(self._reader, 65536):
                file.write(data)
                self._reading.wait()

    def close(self) -> None:
        os.close(self.writer)
        self._thread.join(5)
        os.close(self._reader)


def _memory(gateway: Gateway) -> int:
    """KiB resident in all processes of the gateway together."""
    return sum(resident_kib(pid) for pid in gateway.pids())


def refused(one: dict[str, Any]) -> int:
    return sum(sum(seen["refused"].values()) for seen in one["people"].values())


def _say(server: str, name: str, one: dict[str, Any]) -> None:
    print(f"{server} {name}: {refused(one)} refused, {one['extra_mib']} MiB; strangers {one['strangers']}", flush=True)


def table(results: dict[str, dict[str, Any]]) -> str:
    lines = ["", "served/refused and ms p50/p95 of what other people asked for meanwhile", ""]
    for server, attacks in results.items():
        lines.append(f"{server:<26}{'MiB':>8}" + "".join(f"{kind:>28}" for kind in KINDS))
        for name, one in attacks.items():
            cells = [_cell(one["people"][kind]) for kind in KINDS]
            lines.append(f"  {name:<24}{one['extra_mib']:>8.1f}" + "".join(f"{cell:>28}" for cell in cells))
        lines.append("")
    return "\n".join(lines)


def _cell(seen: dict[str, Any]) -> str:
    return f"{seen['served']}/{sum(seen['refused'].values())}  {seen['p50_ms']:.0f}/{seen['p95_ms']:.0f}"


def _made(path: Path) -> Path:
    path.mkdir(mode=0o755)
    return path


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.attacks", description=__doc__)
    parser.add_argument("--attack", action="append", choices=list(ATTACKS), help="only this one (repeatable)")
    parser.add_argument("--server", action="append", choices=list(SERVERS), help="only this one (repeatable)")
    parser.add_argument("--seconds", type=int, default=5, help="how long the others are watched, each time (5)")
    parser.add_argument("--json", type=Path, default=Path("var/attacks.json"), metavar="FILE")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
