"""Runs wrk and reads what it says."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import PeerMissing

HERE = Path(__file__).resolve().parent
THREADS = 2
CONNECTIONS = 64


@dataclass(frozen=True)
class Load:
    rate: float  # responses per second
    p50_ms: float
    p90_ms: float
    p99_ms: float
    responses: int
    refused: int  # neither 2xx nor 3xx
    broken: int  # connect, read, write errors and time-outs
    repeated: int  # tokens sent more than once, when each should be new
    from_due: int  # how many responses have a latency that is counted from when the request was due


def run(
    url: str,
    seconds: float,
    *,
    token: str = "",
    connections: int = CONNECTIONS,
    script: str = "",
    args: tuple[str, ...] = (),
    timeout: int = 2,
) -> Load:
    command = [binary(), "-t", str(THREADS), "-c", str(connections), "-d", f"{max(1, round(seconds))}s", "--latency"]
    command += ["--timeout", f"{timeout}s"]
    if token:
        command += ["-H", f"Authorization: Bearer {token}"]
    if script:
        command += ["-s", str(HERE / script)]
    command += [url, *(("--", *args) if args else ())]
    result = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60)
    if result.returncode:
        raise RuntimeError(f"wrk failed: {result.stderr.strip() or result.stdout.strip()}")
    return parse(result.stdout)


def parse(text: str) -> Load:
    _, counted, from_due = text.partition("Counted from when they were due: ")
    latencies = from_due if counted else text
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    return Load(
        rate=_number(r"Requests/sec: +([\d.]+)", text),
        p50_ms=_milliseconds("50%", latencies),
        p90_ms=_milliseconds("90%", latencies),
        p99_ms=_milliseconds("99%", latencies),
        responses=int(_number(r"(\d+) requests in ", text)),
        refused=int(_number(r"Non-2xx or 3xx responses: (\d+)", text)),
        broken=sum(map(int, errors.groups())) if errors else 0,
        repeated=int(_number(r"Tokens sent twice: (\d+)", text)),
        from_due=int(_number(r"^(\d+)\n", from_due)),
    )


def _number(pattern: str, text: str) -> float:
    found = re.search(pattern, text)
    return float(found[1]) if found else 0.0


def _milliseconds(percentile: str, text: str) -> float:
    found = re.search(rf"{percentile} +([\d.]+)(us|ms|s|m)\b", text)
    scale = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60000.0}
    return float(found[1]) * scale[found[2]] if found else 0.0


def binary() -> str:
    found = shutil.which("wrk")
    if not found:
        raise PeerMissing("wrk is not installed (Debian package wrk)")
    return found


def version() -> str:
    text = subprocess.run([binary(), "-v"], capture_output=True, text=True)
    return (text.stdout + text.stderr).split("Copyright")[0].strip()
