"""`python -m benchmarks`: the gateway beside its peers, in turns, on this machine."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from pathlib import Path

from benchmarks.bench import Bench, Invalid, Options, Results, open_bench
from benchmarks.processes import PeerMissing
from benchmarks.report import as_json, as_table
from benchmarks.scenarios import SCENARIOS


def main() -> int:
    arguments = parse_arguments()
    # So that a terminated run stops what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    rounds, seconds = (1, 1) if arguments.quick else (5, 4)
    options = Options(arguments.rounds or rounds, seconds, arguments.quick)
    try:
        with open_bench(options) as bench:
            bench.start_peers()
            results = measure(bench, arguments.scenario or list(SCENARIOS))
            print(as_table(bench, results))
            arguments.json.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            arguments.json.write_text(as_json(bench, results))
            return 1 if bench.problems else 0
    except PeerMissing as missing:
        print(f"cannot measure: {missing}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def measure(bench: Bench, names: list[str]) -> dict[str, Results]:
    results = {}
    for name in names:
        bench.say(f"{name}: {SCENARIOS[name].__doc__}")
        try:
            results[name] = SCENARIOS[name](bench)
        except (Invalid, PeerMissing, OSError, subprocess.SubprocessError, RuntimeError) as error:
            bench.problems.append(f"{name}: {error}")
            bench.say(f"INVALID {name}: {error}")
    return results


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round of one second each")
    parser.add_argument("--rounds", type=int, help="how often each peer is measured (5; 1 with --quick)")
    parser.add_argument("--scenario", action="append", choices=list(SCENARIOS), help="only this one (repeatable)")
    parser.add_argument("--json", type=Path, default=Path("var/benchmark.json"), metavar="FILE")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
