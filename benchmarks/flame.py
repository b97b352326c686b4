"""`python -m benchmarks.flame`: where a worker of the gateway spends its time under `varied`, drawn and as a table."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import wrk
from benchmarks.bench import Invalid
from benchmarks.flame_svg import draw
from benchmarks.gateway import Gateway
from benchmarks.nginx import Upstream
from benchmarks.processes import PeerMissing, Times, times_of
from benchmarks.scenarios import VARIED_CALLERS, run_varied
from benchmarks.stacks import as_table, read_stacks

_RATE = 50  # samples a second
_WARM_SECONDS = 4


@dataclass(frozen=True)
class Run:
    stacks: str
    undisturbed: wrk.Load
    sampled: wrk.Load
    used: Times  # by the worker, undisturbed


def main() -> int:
    arguments = _parse_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with tempfile.TemporaryDirectory(prefix="authgate-flame-") as name:
            os.chmod(name, 0o755)
            run = _measure(Path(name), arguments.seconds)
    except (PeerMissing, Invalid) as problem:
        print(f"cannot measure: {problem}", file=sys.stderr)
        return 1
    stacks = read_stacks(run.stacks)
    count = sum(stack.count for stack in stacks)
    title = f"One worker of the gateway under `varied`, {count:,} samples"
    report = f"{title}\n{_facts(run)}\n\n{as_table(stacks)}\n"
    print(report)
    arguments.svg.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    arguments.svg.write_text(draw(stacks, title))
    arguments.svg.with_suffix(".txt").write_text(report)
    return 0


def _measure(room: Path, seconds: int) -> Run:
    """The worker has a processor of its own, if there are two: so no other process makes it wait in a system call."""
    everywhere = sorted(os.sched_getaffinity(0))
    own, others = everywhere[-1:], everywhere[:-1] or everywhere
    with _on(others):
        upstream = Upstream(_made(room / "upstream"))
        try:
            with _on(own):
                gateway = Gateway(_made(room / "gateway"), upstream, workers=1)
            try:
                return _sample(gateway, room, seconds)
            finally:
                gateway.stop()
        finally:
            upstream.stop()


def _sample(gateway: Gateway, room: Path, seconds: int) -> Run:
    tokens = room / "tokens"
    tokens.write_text("\n".join(gateway.sign_many(VARIED_CALLERS)))
    worker = gateway.pids()[-1]
    run_varied(gateway, 1, str(tokens), seed=0)
    before = times_of(worker)
    undisturbed = run_varied(gateway, _WARM_SECONDS, str(tokens), seed=1)
    used = times_of(worker) - before
    output = room / "stacks"
    sampler = subprocess.Popen(
        [_sampler(), "record", "--native", "--full-filenames", "--nolineno", "--pid", str(worker),
         "--rate", str(_RATE), "--duration", str(seconds), "--format", "raw", "--output", str(output)],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        sampled = run_varied(gateway, seconds + 1, str(tokens), seed=2)
        _, said = sampler.communicate(timeout=60)
    finally:
        sampler.kill()
    if sampler.returncode or not output.exists():
        raise PeerMissing(f"py-spy: {' '.join(said.split())[-300:]}")
    return Run(output.read_text(), undisturbed, sampled, used)


def _sampler() -> str:
    found = shutil.which("py-spy", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
    if not found:
        raise PeerMissing("py-spy is not installed (requirements-dev.txt)")
    return found


def _facts(run: Run) -> str:
    in_kernel = run.used.system / sum(run.used)
    return (
        f"{run.undisturbed.rate:,.0f} requests/s, {run.sampled.rate:,.0f} while it was sampled. "
        f"The kernel itself counts {in_kernel:.0%} of the processor time as its own."
    )


@contextmanager
def _on(processors: list[int]) -> Iterator[None]:
    """What is started inside stays on these."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, processors)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _made(path: Path) -> Path:
    path.mkdir(mode=0o755)
    return path


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.flame", description=__doc__)
    parser.add_argument("--seconds", type=int, default=30, help="how long the worker is sampled (30)")
    parser.add_argument("--svg", type=Path, default=Path("var/flame.svg"), metavar="FILE", help="the table: FILE.txt")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
