"""What stays open: WebSockets and event streams, how fast they are and what each costs while it says nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import defaultdict
from typing import Any

from benchmarks.bench import Bench, Invalid, Peer, Results, Series, token_of
from benchmarks.gateway import Gateway
from benchmarks.processes import CpuWatch, resident_kib

SOCKETS = 64  # each with one message on its way
STREAMS = 1000
IDLE = 5000


def websocket(bench: Bench) -> Results:
    """Messages of 100 bytes echoed over 64 WebSockets."""
    return _measure(bench, "websocket", "echo", "/ws", SOCKETS)


def events(bench: Bench) -> Results:
    """Events of 100 bytes sent to 1,000 event streams."""
    return _measure(bench, "events", "events", "/events", STREAMS)


def _measure(bench: Bench, scenario: str, kind: str, path: str, count: int) -> Results:
    results: Results = defaultdict(Series)
    for _, peer in bench.in_turns(["direct", "nginx", "gateway"]):
        watch = CpuWatch(peer.pids())
        port = bench.upstream.talker_port if peer is bench.upstream else int(peer.url.rpartition(":")[2])
        done = subprocess.run(
            _command(kind, port, path, count, bench.options.seconds, token_of(peer)), capture_output=True, text=True
        )
        if done.returncode:
            raise Invalid(f"{peer.name}: {done.stderr.strip().splitlines()[-1:]}")
        said = json.loads(done.stdout)
        if said["lost"]:
            raise Invalid(f"{peer.name}: {said['lost']} of {count} were lost")
        cpu = watch.microseconds_each(int(said["messages"]))
        results[peer.name].add(rate=said["rate"], **({} if peer is bench.upstream else {"cpu_us": cpu}))
        bench.say(f"{scenario}: {peer.name} {said['rate']:,.0f}/s, {cpu:.1f} µs of processor each")
    return results


def idle(bench: Bench) -> Results:
    """5,000 WebSockets that say nothing, on one worker, past a change of policy; and as many event streams."""
    count = 500 if bench.options.quick else IDLE
    results: Results = defaultdict(Series)
    for name, path in (("sockets", "/ws"), ("streams", "/events")):
        # Each on a gateway that is new: memory that another one's connections have left would be used again.
        bench.start(name, lambda room, name=name: Gateway(room, bench.upstream, name=name, workers=1))
        peer = bench.peers.get(name)
        if isinstance(peer, Gateway):
            results[name].add(**_held(bench, peer, path, count))
    return results


def _held(bench: Bench, peer: Gateway, path: str, count: int) -> dict[str, float]:
    before = _resident(peer)
    command = _command("idle", int(peer.url.rpartition(":")[2]), path, count, 0, peer.token)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as listeners:
        said: Any = json.loads(listeners.stdout.readline() or "{}") if listeners.stdout else {}
        if said.get("open") != count:
            raise Invalid(f"{path}: not all of {count} were opened")
        each = (_resident(peer) - before) / count
        peer.change_policy()
        time.sleep(2)
        watch = CpuWatch(peer.pids())
        time.sleep(2)
        busy = watch.microseconds_each(1) / 2e6
        lost = json.loads(listeners.communicate("\n")[0])["lost"]
    bench.say(f"idle: {count} at {path}, {each:.1f} KiB each, {busy:.1%} of a processor, {lost} lost")
    return {"kib_each": each, "busy": busy, "lost": lost}


def _command(kind: str, port: int, path: str, count: int, seconds: float, token: str) -> list[str]:
    return [sys.executable, "-m", "benchmarks.listeners", kind, str(port), path, str(count), str(seconds), token]


def _resident(peer: Peer) -> int:
    """KiB."""
    return sum(resident_kib(pid) for pid in peer.pids())
