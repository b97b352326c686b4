"""One run: the servers that take part, how they are visited in turns, and what came out."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from benchmarks import tokens, transfer, wrk
from benchmarks.apache import Apache
from benchmarks.envoy import Envoy
from benchmarks.gateway import Gateway
from benchmarks.haproxy import HAProxy
from benchmarks.nginx import PlainProxy, Upstream
from benchmarks.processes import PeerMissing, busy_share


class Invalid(RuntimeError):
    """A measurement that does not measure what it says. The run fails, and says so."""


class Peer(Protocol):
    name: str
    url: str
    version: str
    verifies: bool

    def pids(self) -> list[int]: ...
    def stop(self) -> None: ...


@dataclass
class Options:
    rounds: int
    seconds: int
    quick: bool


@dataclass
class Series:
    """What one peer did in one scenario: a list of numbers for each metric, one number a round."""

    rounds: dict[str, list[float]] = field(default_factory=dict)

    def add(self, **metrics: float) -> None:
        for name, value in metrics.items():
            self.rounds.setdefault(name, []).append(value)

    def median(self, metric: str) -> float | None:
        values = self.rounds.get(metric)
        return statistics.median(values) if values else None


Results = dict[str, Series]


class Bench:
    def __init__(self, directory: Path, options: Options) -> None:
        self.directory, self.options = directory, options
        self.signer = tokens.make_signer()
        self.peers: dict[str, Peer] = {}
        self.missing: dict[str, str] = {}
        self.problems: list[str] = []
        self._began = time.monotonic()
        self.busy = busy_share()
        self.say(f"the machine is {self.busy:.0%} busy before the run")

    def start_peers(self) -> None:
        """Without the service behind them nobody can be measured; without a peer the others can."""
        self.upstream = Upstream(self.room("upstream"))
        self.peers["direct"] = self.upstream
        self.start("nginx", lambda room: PlainProxy(room, self.upstream))
        self.start("envoy", lambda room: Envoy(room, self.upstream, self.signer))
        self.start("haproxy", lambda room: HAProxy(room, self.upstream, self.signer))
        self.start("apache", lambda room: Apache(room, self.upstream, self.signer))
        self.start("gateway", lambda room: Gateway(room, self.upstream))

    def start(self, name: str, build: Callable[[Path], Peer]) -> None:
        self.say(f"starting {name}")
        try:
            peer = build(self.room(name))
        except (PeerMissing, OSError) as error:
            self.missing[name] = str(error)
            self.say(f"{name} is MISSING: {error}")
            return
        self.peers[name] = peer
        try:
            check_verification(peer)
            wrk.run(f"{peer.url}/small", 1, token=token_of(peer))
        except (Invalid, transfer.TransferFailed, OSError) as error:
            peer.stop()
            del self.peers[name]
            self.missing[name] = str(error)
            self.problems.append(f"{name}: {error}")
            self.say(f"{name} is MISSING: {error}")

    def present(self, names: list[str]) -> list[Peer]:
        return [self.peers[name] for name in names if name in self.peers]

    def in_turns(self, names: list[str], rounds: int = 0) -> Iterator[tuple[int, Peer]]:
        """Each peer once a round, another one first in each round, so that drift of the machine hits all alike."""
        present = self.present(names)
        for number in range(rounds or self.options.rounds):
            shift = number % max(1, len(present))
            for peer in present[shift:] + present[:shift]:
                yield number, peer

    def say(self, text: str) -> None:
        print(f"[{time.monotonic() - self._began:5.0f} s] {text}", flush=True)

    def room(self, name: str) -> Path:
        path = self.directory / name
        path.mkdir(mode=0o755)
        return path

    def stop(self) -> None:
        for peer in reversed(self.peers.values()):
            peer.stop()
        self.peers.clear()

    def versions(self) -> dict[str, str]:
        return {"wrk": wrk.version(), **{name: peer.version for name, peer in self.peers.items()}}


@contextmanager
def open_bench(options: Options) -> Iterator[Bench]:
    wrk.binary()
    with tempfile.TemporaryDirectory(prefix="authgate-bench-") as name:
        os.chmod(name, 0o755)  # a peer started by root runs as another user
        bench = Bench(Path(name), options)
        try:
            yield bench
        finally:
            bench.stop()


def check_verification(peer: Peer) -> None:
    """A peer that lets a forged token through would be measured doing nothing."""
    good = token_of(peer)
    forged = good[:-12] + ("A" * 12 if not good.endswith("A" * 12) else "B" * 12)
    expected = (200, 401, 401) if peer.verifies else (200, 200, 200)
    answers = tuple(transfer.status_of(f"{peer.url}/small", token) for token in (good, forged, ""))
    if answers != expected:
        raise Invalid(f"answers {answers} to a good, a forged and no token instead of {expected}")


def token_of(peer: Any) -> str:
    # A server that verifies nothing still receives as many bytes.
    return getattr(peer, "token", "") or "x" * 600
